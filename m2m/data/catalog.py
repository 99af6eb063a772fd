"""All pinned packages by name, and the groups they are fetched by."""

from __future__ import annotations

from m2m.data import text_packages, vision_packages
from m2m.data.package import Package
from m2m.errors import DataError
from m2m.support.schema import did_you_mean

#: Package by name.
PACKAGES: dict[str, Package] = {
    package.name: package for package in (*text_packages.PACKAGES, *vision_packages.PACKAGES)
}
#: Group name to package names.
GROUPS: dict[str, tuple[str, ...]] = {**text_packages.GROUPS, **vision_packages.GROUPS}


def find(name: str) -> Package:
    """Look a package up.

    Args:
        name: Its name in the catalog.

    Returns:
        The pinned package.

    Raises:
        DataError: If there is none of that name.
    """
    if name not in PACKAGES:
        raise DataError(
            f"no pinned package {name!r}{did_you_mean(name, PACKAGES)}; there are {sorted(PACKAGES)}"
        )
    return PACKAGES[name]


def expand(name: str) -> tuple[Package, ...]:
    """Look up a group, or a single package.

    Args:
        name: A group's or a package's name.

    Returns:
        The packages; one if `name` is a package.

    Raises:
        DataError: If there is neither a group nor a package of that name.
    """
    if name in GROUPS:
        return tuple(find(member) for member in GROUPS[name])
    if name not in PACKAGES:
        known = [*GROUPS, *PACKAGES]
        raise DataError(
            f"no data group or package {name!r}{did_you_mean(name, known)}; groups: {sorted(GROUPS)}, "
            f"packages: {sorted(PACKAGES)}"
        )
    return (find(name),)
