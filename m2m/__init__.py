"""Find the best data mixture for fine-tuning by merging experts instead of training every mixture.

Every verb of the command line is a function here that does all of it; its options are the arguments.

    init     a configuration that runs, from your files
    run      data → experts → every subset merged and scored → the pick, really trained → report
    dry_run  what a run would do and take, before it does it (`m2m run --dry-run`)
    mix      the best shares on the simplex instead of a subset, with intervals (MergeMix)
    check    a recipe: what does not fit, what is doubtful, what its merge will take
    merge    checkpoints by a recipe (mergekit YAML), streamed in bounded memory
    diff     how two models differ, tensor by tensor
    info     what a model on disk is
    extract_lora  a fine-tuned model as a LoRA adapter of its base
    moments  AdamW's second moments of a Trainer's checkpoint, for the method adam_merge
    verify   a checkpoint folder against its hashes
    score    merged models of given experts, without writing one
    race     the best of them without scoring all on everything (`m2m score --race`)
    select   the best candidate of a table of scores, and how sure the pick is
    search   the best mixture from few evaluations
    predict  scores of mixtures from those of others
    export   a mixture as a trainer reads it
    report   a run's page, also of one that has not finished
    compare  runs side by side

Beside them: `Mixture`, `MergingWeights` (off the simplex too), `Checkpoint`, `weighted_sum` (the kernel),
`build_info`, `errors` (what can go wrong) and `testing` (laws of merge math for your own tests). Rooms have
the parts (docs/architecture.md). How well merged models stand in for trained ones is asked by the package
`analysis` beside m2m: `help("analysis")`.

Importing m2m is cheap: a name loads what it needs when it is first used.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.support.lazy import lazy_names
from m2m.version import __version__

if TYPE_CHECKING:
    from m2m import errors, testing
    from m2m.build import build_info
    from m2m.checkpoint import Checkpoint, verify
    from m2m.checkpoint.second_moments import write_second_moments as moments
    from m2m.merging import merge
    from m2m.merging.compare import diff
    from m2m.merging.describe import info
    from m2m.merging.dry_run import check
    from m2m.merging.extract import extract_lora
    from m2m.mixture import MergingWeights, Mixture
    from m2m.ops import weighted_sum
    from m2m.pipeline.compare import compare
    from m2m.pipeline.report import write_report as report
    from m2m.predicting import predict
    from m2m.verbs.dry_run import dry_run
    from m2m.verbs.export import export
    from m2m.verbs.init import init
    from m2m.verbs.mix import mix
    from m2m.verbs.run import run
    from m2m.verbs.score import race, score
    from m2m.verbs.search import search
    from m2m.verbs.select import select

if find_spec("m2m._core") is None:
    raise ImportError(
        f"{Path(__file__).parent} is m2m's source without its compiled module, and Python looks here first: "
        "work in another folder if m2m is installed, or install this one in place (pip install -e '.[train]')"
    )

__all__ = [
    "Checkpoint",
    "MergingWeights",
    "Mixture",
    "__version__",
    "build_info",
    "check",
    "compare",
    "diff",
    "dry_run",
    "errors",
    "export",
    "extract_lora",
    "info",
    "init",
    "merge",
    "mix",
    "moments",
    "predict",
    "race",
    "report",
    "run",
    "score",
    "search",
    "select",
    "testing",
    "verify",
    "weighted_sum",
]


__getattr__ = lazy_names(
    __name__,
    {
        "Checkpoint": "m2m.checkpoint",
        "MergingWeights": "m2m.mixture",
        "Mixture": "m2m.mixture",
        "build_info": "m2m.build",
        "check": "m2m.merging.dry_run",
        "compare": "m2m.pipeline.compare",
        "diff": "m2m.merging.compare",
        "dry_run": "m2m.verbs.dry_run",
        "errors": "m2m.errors:",
        "export": "m2m.verbs.export",
        "extract_lora": "m2m.merging.extract",
        "info": "m2m.merging.describe",
        "init": "m2m.verbs.init",
        "merge": "m2m.merging",
        "mix": "m2m.verbs.mix",
        "moments": "m2m.checkpoint.second_moments:write_second_moments",
        "predict": "m2m.predicting",
        "race": "m2m.verbs.score",
        "report": "m2m.pipeline.report:write_report",
        "run": "m2m.verbs.run",
        "score": "m2m.verbs.score",
        "search": "m2m.verbs.search",
        "select": "m2m.verbs.select",
        "testing": "m2m.testing:",
        "verify": "m2m.checkpoint",
        "weighted_sum": "m2m.ops",
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
