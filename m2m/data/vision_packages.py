"""Pinned packages of the vision set-up, and the groups they are fetched by."""

from __future__ import annotations

from m2m.data.package import Package

PACKAGES: tuple[Package, ...] = ()

#: Group name to package names, for `m2m data fetch GROUP`.
GROUPS: dict[str, tuple[str, ...]] = {}
