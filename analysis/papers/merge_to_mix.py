"""Merge to Mix (arXiv 2505.16066) on three set-ups: pictures, translations, and raw text."""

from __future__ import annotations

from analysis.papers.configuration import EXAMPLES, Sized
from analysis.papers.subsets import SubsetTruth

_SMOLLM2 = "SmolLM2-135M-Instruct, the last 2 of 30 blocks trained, 7.1 M parameters"

_THEMES = {"run.target": {"gnome": 1, "tango": 1, "mnist": 1, "fashion": 1}, "setup.targets.unseen": None}
_LITE0 = "EfficientNet-Lite0 (ImageNet), 11 of 16 blocks trained, 0.7 M parameters"
_PICTURES = "digits, clothes and four icon themes; targets: these, and two themes that are in no dataset"

VISION = SubsetTruth(
    "merge_to_mix_vision",
    "Vision",
    {
        "fast": Sized(
            EXAMPLES / "vision_icons_n6.toml", _THEMES | {"train.steps": 30}, _LITE0, _PICTURES, minutes=4
        ),
        "full": Sized(
            EXAMPLES / "vision_icons_n6.toml", _THEMES | {"run.truth_seeds": 3}, _LITE0, _PICTURES, minutes=15
        ),
    },
)

_TEMPLATE = "chatml.jinja"
_WITHOUT_CHOICES = {
    # Its questions are a file that is written first, and nothing is chosen by them.
    "setup.targets.right_translation": None,
}
_MESSAGES = "programs' messages into {} languages; targets: three languages that are in no dataset"

TRANSLATION = SubsetTruth(
    "merge_to_mix_translation",
    "Translation",
    {
        "fast": Sized(
            EXAMPLES / "translation_smollm2_n4.toml",
            _WITHOUT_CHOICES | {"train.steps": 10, "run.truth_seeds": 2},
            _SMOLLM2,
            _MESSAGES.format("four"),
            minutes=8,
            beside=(_TEMPLATE,),
        ),
        "full": Sized(
            EXAMPLES / "translation_smollm2.toml",
            _WITHOUT_CHOICES | {"run.truth_seeds": 3},
            _SMOLLM2,
            _MESSAGES.format("six"),
            minutes=60,
            beside=(_TEMPLATE,),
        ),
    },
)

_TARGETS = ("protobuf", "javascript", "italian", "python", "cpp", "romance")
_TEXTS = {"run.target": dict.fromkeys(_TARGETS, 1), "mix": None}
_LIMITS = {f"setup.datasets.{name}.limit": 400 for name in ("python", "cpp", "romance", "legal")} | {
    f"setup.targets.{name}.{split}": 48 for name in _TARGETS for split in ("validation", "test")
}
_RAW = (
    "Python, C++, Romance messages, licences; targets: three of these, and three kinds that are in no dataset"
)

RAW_TEXT = SubsetTruth(
    "merge_to_mix_raw_text",
    "Raw text",
    {
        "fast": Sized(
            EXAMPLES / "quickstart.toml",
            _TEXTS,
            "byte-level GPT, 0.4 M parameters, all trained",
            _RAW,
            minutes=4,
        ),
        "full": Sized(
            EXAMPLES / "quickstart.toml",
            _TEXTS
            | _LIMITS
            | {
                "run.truth_seeds": 3,
                "train.learning_rate": 2e-4,
                "train.steps": 20,
                "setup.model": "smollm2-135m-instruct",
                "setup.base": {"context": 64, "trainable": [r"layers\.(28|29)\."], "cache_trunk": True},
            },
            _SMOLLM2,
            _RAW,
            minutes=40,
        ),
    },
)
