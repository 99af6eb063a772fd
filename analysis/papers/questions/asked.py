"""Error bounds and questions at the sizes of the page; all but one share the raw-text set-up's models."""

from __future__ import annotations

from typing import Any

from analysis.papers.configuration import EXAMPLES, Sized
from analysis.papers.error_bound import ErrorBound, Reach
from analysis.papers.experiment import Experiment
from analysis.papers.merge_to_mix import RAW_TEXT
from analysis.papers.questions.deploy import Deploy
from analysis.papers.questions.harm import Harm
from analysis.papers.questions.hunting import Budget
from analysis.papers.questions.many import ManyDatasets
from analysis.papers.questions.recipes import Recipes, Variant
from analysis.papers.questions.rules import RulesSelect
from analysis.papers.questions.simplex import Simplex

SWEEPS = ErrorBound(
    RAW_TEXT,
    "protobuf",
    {
        "fast": Reach(("python+romance", "cpp+legal"), 2, 4, minutes=5),
        "full": Reach(("python+romance", "cpp+legal", "python+legal", "cpp+romance"), 2, 2, minutes=60),
    },
)
HARM = Harm(RAW_TEXT, {"fast": 2, "full": 30}, {"fast": 2, "full": 4})
RULES_SELECT = RulesSelect(RAW_TEXT, {"fast": 2, "full": 30})
DEPLOY = Deploy(RAW_TEXT, {"fast": 1, "full": 30}, {"fast": 2, "full": 5})
SIMPLEX = Simplex(RAW_TEXT, {"fast": 1, "full": 60}, {"fast": 8, "full": 40})

_SHORT = Variant("steps", "8", {})
_SMALL: dict[str, Any] = {"setup.base.layers": 2, "setup.base.width": 48}
#: The quickstart's own model, whatever the set-up has at this size: many recipes must be trained.
_BYTE_GPT = (
    _SHORT,
    Variant("steps", "2", {"train.steps": 2}),
    Variant("steps", "24", {"train.steps": 24}),
    Variant("learning rate", "÷ 4", {"train.learning_rate": 1.25e-4}),
    Variant("learning rate", "× 4", {"train.learning_rate": 2e-3}),
    Variant("optimiser", "SGD", {"train.optimizer": "sgd", "train.learning_rate": 0.5}),
    Variant("trained", "LoRA, r = 4", {"train.adapter": "lora", "train.lora.r": 4}),
    Variant("model", "0.1 M parameters", _SMALL),
)
_TARGETS = ("protobuf", "javascript", "italian", "python", "cpp", "romance")
_COMMON: dict[str, Any] = {"run.truth_seeds": 1, "train.steps": 8}
_FEWER = {f"setup.targets.{name}.{split}": 32 for name in _TARGETS for split in ("validation", "test")}
RECIPES = Recipes(
    RAW_TEXT,
    {"fast": 4, "full": 120},
    {"fast": _COMMON | _FEWER, "full": {"run.truth_seeds": 1, "train.steps": 20}},
    {
        "fast": _BYTE_GPT,
        "full": (
            Variant("steps", "20", {}),
            Variant("steps", "5", {"train.steps": 5}),
            Variant("steps", "80", {"train.steps": 80}),
            Variant("learning rate", "÷ 4", {"train.learning_rate": 5e-5}),
            Variant("learning rate", "× 4", {"train.learning_rate": 8e-4}),
            Variant("trained", "LoRA, r = 4", {"train.adapter": "lora", "train.lora.r": 4}),
            Variant("trained", "LoRA, r = 64", {"train.adapter": "lora", "train.lora.r": 64}),
        ),
    },
)

_FEW = {f"setup.targets.{name}.validation": 32 for name in ("slavic", "romance", "germanic", "europe")}
_LANGUAGES = "messages in 24 languages, a dataset each; targets: other languages, two to nine together"
MANY = ManyDatasets(
    "Many languages",
    {
        "fast": Sized(
            EXAMPLES / "many_languages.toml",
            {"run.budget": 25, "train.steps": 20, "train.learning_rate": 1e-3} | _SMALL | _FEW,
            "byte-level GPT, 0.1 M parameters, all trained",
            _LANGUAGES,
            minutes=3,
        ),
        "full": Sized(
            EXAMPLES / "many_languages.toml",
            {"run.budget": 25, "train.steps": 100},
            "byte-level GPT, 0.4 M parameters, all trained",
            _LANGUAGES,
            minutes=90,
        ),
    },
    {"fast": Budget(72, 2), "full": Budget(240, 5)},
)

QUESTIONS: tuple[Experiment, ...] = (HARM, RULES_SELECT, DEPLOY, RECIPES, SIMPLEX, MANY)
