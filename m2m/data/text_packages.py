"""Pinned packages of the language set-up, and the groups they are fetched by."""

from __future__ import annotations

from m2m.data.package import Package

PACKAGES: tuple[Package, ...] = (
    Package(
        name="django",
        version="5.2.19",
        registry="pypi",
        file="django-5.2.19-py3-none-any.whl",
        sha256="5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00",
        licence="BSD-3-Clause",
        size=8_319_631,
        about="Python and JavaScript source, translations",
    ),
    Package(
        name="django-allauth",
        version="65.21.1",
        registry="pypi",
        file="django_allauth-65.21.1-py3-none-any.whl",
        sha256="7bdf018c9f3f0a32c80677f84e7777272d9c833b180bd6734314c4831c802a9e",
        licence="MIT",
        size=2_078_751,
        about="Python source, translations",
    ),
    Package(
        name="djangorestframework",
        version="3.18.3",
        registry="pypi",
        file="djangorestframework-3.18.3-py3-none-any.whl",
        sha256="8544bb674846731b1e3c9b309236ee1dc412905a0aa725be2ec193ca950a7d12",
        licence="BSD-3-Clause",
        size=903_986,
        about="Python source, translations",
    ),
    Package(
        name="googleapis-common-protos",
        version="1.76.0",
        registry="pypi",
        file="googleapis_common_protos-1.76.0-py3-none-any.whl",
        sha256="59e13344a9f3651aa201a03e2bee815a3bf43a4baf1f9ff8a9b62a840ce25fac",
        licence="Apache-2.0",
        size=307_707,
        about="commented protobuf definitions",
    ),
    Package(
        name="identify",
        version="2.6.20",
        registry="pypi",
        file="identify-2.6.20-py2.py3-none-any.whl",
        sha256="6a16b69b93187244e0548cbfd25b3e4a6f9a7a2ad784625c3bec2b8d27b81aaa",
        licence="MIT",
        size=99_506,
        about="full texts of software licences",
    ),
    Package(
        name="nanobind",
        version="3.1.0",
        registry="pypi",
        file="nanobind-3.1.0-py3-none-any.whl",
        sha256="96984dbe8154ffb86e653b1b60aaeed6985c710c5e75ad0279eb87943c66292d",
        licence="BSD-3-Clause",
        size=316_917,
        about="C++ headers and source",
    ),
    Package(
        name="pybind11",
        version="3.1.0",
        registry="pypi",
        file="pybind11-3.1.0-py3-none-any.whl",
        sha256="b8488090f8acffbcb6b5d6a85571a6827a0a2981ffb75e5a0b27b87c4a6b7dd0",
        licence="BSD-3-Clause",
        size=319_402,
        about="C++ headers",
    ),
)

#: Group name to package names, for `m2m data fetch GROUP`.
GROUPS: dict[str, tuple[str, ...]] = {
    "quickstart": tuple(package.name for package in PACKAGES),
}
