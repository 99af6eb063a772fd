"""Checkpoints that lie elsewhere: addresses, requests that are made again, local mirrors, uploads."""
