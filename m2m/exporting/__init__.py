"""Write a mixture the way trainers read it."""

from __future__ import annotations

from m2m.exporting.formats import FORMATS, Format, Sources, apportioned, decimals, render
from m2m.exporting.read import read_mixture

__all__ = ["FORMATS", "Format", "Sources", "apportioned", "decimals", "read_mixture", "render"]
