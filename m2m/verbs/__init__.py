"""What the verbs of `m2m` do, one function a verb; the command line parses, calls it and prints.

A verb whose room does all of it is that room's function (`merge`, `verify`, `predict`, `report`); here are
those that put several rooms together.
"""
