"""MergeMix (arXiv 2601.17858) on raw text: three capabilities, none of which one dataset wins alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from analysis.papers.configuration import EXAMPLES
from analysis.papers.experiment import Size
from analysis.papers.ratio_search import Outline, SizedRatios
from analysis.papers.ratios import RatioTruth
from analysis.papers.transfer import Transfer

_PO = {"package": ["django", "djangorestframework", "django-allauth"], "read": "po"}
_CAPABILITIES = {
    "code": ("python", "cpp", "javascript"),
    "messages": ("romance", "italian", "romanian"),
    "structured": ("protobuf", "markup"),
}
_TARGETS = {
    "setup.targets.markup": {
        "package": "django",
        "files": ["django/contrib/admin/templates/**/*.html"],
    },
    "setup.targets.romanian": _PO
    | {"files": [f"{place}/ro/**/django.po" for place in ("django/conf/locale", "*/locale")]},
}
_OUTLINE = Outline(
    groups=_CAPABILITIES,
    ends=("python", "romance"),
    # As somebody would guess: licences are not asked for, so they get little.
    prior={"python": 0.3, "cpp": 0.2, "romance": 0.4, "legal": 0.1},
    halves=(("python", "cpp"), ("romance", "legal")),
)
_DATA = (
    "Python, C++, Romance messages, licences; capabilities: code (Python, C++, JavaScript), messages "
    "(Romance, Italian, Romanian), structured text (protocol buffers, HTML)"
)
_SMOLLM2 = {
    "train.learning_rate": 2e-4,
    "train.steps": 20,
    "setup.model": "smollm2-135m-instruct",
    "setup.base": {"context": 64, "trainable": [r"layers\.(28|29)\."], "cache_trunk": True},
} | {f"setup.datasets.{name}.limit": 400 for name in ("python", "cpp", "romance", "legal")}

#: Scoring hundreds of models is most of the work, so that fast sizes look at fewer examples.
_FEWER = {"train.steps": 30} | {
    f"setup.targets.{target}.{split}": 32
    for targets in _CAPABILITIES.values()
    for target in targets
    for split in ("validation", "test")
}

RATIOS = RatioTruth(
    "mergemix_ratios",
    _OUTLINE,
    {
        "fast": SizedRatios(
            EXAMPLES / "quickstart.toml",
            _TARGETS | _FEWER,
            "byte-level GPT, 0.4 M parameters, all trained",
            _DATA,
            minutes=9,
            drawn=16,
        ),
        "full": SizedRatios(
            EXAMPLES / "quickstart.toml",
            _TARGETS | _SMOLLM2,
            "SmolLM2-135M-Instruct, the last 2 of 30 blocks trained, 7.1 M parameters",
            _DATA,
            minutes=180,
        ),
    },
)

#: By size, what makes the model smaller, and the model then.
_SMALLER: dict[Size, tuple[dict[str, Any], str]] = {
    "fast": (
        {"setup.base.layers": 2, "setup.base.width": 48},
        "byte-level GPT, 0.1 M parameters, all trained",
    ),
    "full": (
        {"setup.base.trainable": [r"layers\.29\."]},
        "SmolLM2-135M-Instruct, the last of 30 blocks trained, 3.5 M parameters",
    ),
}
TRANSFER = Transfer(
    RATIOS,
    RatioTruth(
        "mergemix_transfer",
        _OUTLINE,
        {
            size: replace(sized, changes={**sized.changes, **_SMALLER[size][0]}, model=_SMALLER[size][1])
            for size, sized in RATIOS.sizes.items()
        },
    ),
    {"fast": 2, "full": 90},
)
