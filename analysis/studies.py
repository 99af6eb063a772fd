"""What the verbs of `m2m-analysis` do, one function a verb: check the outputs, study, write results, draw.

Every function returns an `Outcome`, and writes a JSON, CSV tables and figures into a folder (docs/theory.md).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from analysis.results import provenance, run_source, versions, write_results
from analysis.trained_run import TrainedRun, open_run
from m2m.errors import ConfigError
from m2m.mixture import Mixture
from m2m.support.arguments import argument
from m2m.support.checked import Natural, Positive, checked
from m2m.support.content_keys import content_key
from m2m.support.files import write_atomically
from m2m.support.outputs import check_outputs, results_in
from m2m.support.progress import Progress, nobody

if TYPE_CHECKING:
    from analysis.curvature.study import CurvatureStudy
    from analysis.error_bound.study import BoundStudy
    from analysis.fidelity import FidelityStudy
    from analysis.interaction.explained import ExplainedStudy
    from analysis.interaction.study import InteractionStudy
    from analysis.orthogonality import OrthogonalityStudy
    from analysis.outlook.study import Outlook
    from analysis.trust import Planned, Trust
    from analysis.validate.validation import Validation

Study_co = TypeVar("Study_co", covariant=True)


@dataclass(frozen=True)
class Outcome(Generic[Study_co]):
    """A study and where it was written.

    Attributes:
        study: What was found.
        content: What its JSON says, but for what it was made from.
        out: The folder.
        reasons: Why a number of `content` may not be there, by its field.
    """

    study: Study_co
    content: Mapping[str, Any]
    out: Path
    reasons: Mapping[str, str] = field(default_factory=dict)


@checked()
def measure_fidelity(
    source: str | Path,
    out: str | Path | None = None,
    *,
    merged: str | None = None,
    trained: str | None = None,
    by: str | None = None,
    again: str | None = None,
    lower_is_better: bool = False,
    seed: Natural = 0,
) -> Outcome[FidelityStudy]:
    """Compare the scores of merged models with those of mixture-trained ones (`m2m-analysis fidelity`).

    Args:
        source: A finished run folder that trained every mixture, or a CSV table with a row a mixture.
        out: Where to write; None: the run's own figures folder.
        merged: Column of the merged models' scores. Like the next four, for tables only.
        trained: Column of the mixture-trained models' scores.
        by: Column that names the target.
        again: Column of a second training seed's scores.
        lower_is_better: Whether scores are losses.
        seed: Seed of bootstraps and permutations.

    Returns:
        Correlations with intervals, regret, the ceiling that training noise sets.

    Raises:
        ConfigError: If arguments do not go with what `source` is.
        InputError: If it is neither a run with trained mixtures nor such a table.
    """  # noqa: DOC502 - partly raised by what is called
    from analysis.fidelity import of_run, of_table
    from analysis.fidelity.study import write
    from paper_figs.merge_to_mix import beside, scatter

    source, table = Path(source), not os.path.isdir(source)
    columns = {"merged": merged, "trained": trained, "by": by, "again": again}
    if table:
        for name, value in {"out": out, "merged": merged, "trained": trained}.items():
            if value is None:
                raise ConfigError(f"a table needs {argument(name)}")
    folder = _checked(source / "figures" if out is None else out, "fidelity", [source] if table else [])
    if table:
        study = of_table(source, **columns, higher_is_better=not lower_is_better, seed=seed)  # type: ignore[arg-type]
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        config = content_key("fidelity", digest, *columns.values(), str(not lower_is_better), seed)
        origin = {"table": source.name, **columns, "sha256": digest, "config": config}
    else:
        if lower_is_better or any(columns.values()):
            *others, last = (argument(name) for name in (*columns, "lower_is_better"))
            raise ConfigError(f"{', '.join(others)} and {last} are for tables, not for a run")
        study, origin = of_run(source, seed=seed), run_source(source)
    write(study, folder, origin)
    scatter.draw(folder, folder)
    beside.draw(folder, folder)
    overall = study.overall
    found = {"mixtures": overall.mixtures.to_json(), "with_singletons": overall.with_singletons.to_json()}
    return Outcome(study, found, folder)


@checked()
def measure_trust(
    source: str | Path,
    out: str | Path | None = None,
    *,
    merged: str | None = None,
    trained: str | None = None,
    by: str | None = None,
    again: str | None = None,
    lower_is_better: bool = False,
    budget: Positive | None = None,
    tolerance: float = 0.05,
    threshold: float = 0.9,
    seed: Natural = 0,
) -> Outcome[Trust] | Outcome[list[Planned]]:
    """Say how far merging's choice can be trusted when few mixtures were trained (`m2m-analysis trust`).

    Args:
        source: A CSV table with a row a mixture, all merged and some trained, or a finished run folder.
        out: Where to write; None: the run's own figures folder.
        merged: Column of the merged models' scores; None: `merged`. Like the next four, for tables only.
        trained: Column of the mixture-trained models' scores; None: `trained`, which a table without any
            training need not have where only a budget is asked about.
        by: Column that names the target.
        again: Column of a second training seed's scores.
        lower_is_better: Whether scores are losses.
        budget: Say only which mixtures to train, this many that are not trained yet, and write the table to
            fill in, `trainings.csv`.
        tolerance: How far off the best a pick may be, as a share of the range of trained scores.
        threshold: Probability of that at which training can stop.
        seed: Seed of all draws.

    Returns:
        The pick with its regret, each mixture's chance of being best, and what to train next; with `budget`
        the mixtures to train.

    Raises:
        ConfigError: If arguments do not go with what `source` is, or are out of range.
        InputError: If it is no such table or run, or too few mixtures are trained.
    """  # noqa: DOC502 - partly raised by what is called
    from analysis.trust import sources, trainings
    from analysis.trust.study import NAME, REASONS, study, to_json, to_tables
    from paper_figs.merge_to_mix import contenders

    source, table = Path(source), not os.path.isdir(source)
    if table and out is None:
        raise ConfigError(f"a table needs {argument('out')}")
    begins = NAME if budget is None else trainings.NAME
    folder = _checked(source / "figures" if out is None else out, begins, [source] if table else [])
    columns = {"merged": merged, "trained": trained, "by": by, "again": again}
    landscapes, origin = sources.read(
        source, columns, lower_is_better=lower_is_better, planning=budget is not None
    )
    if budget is not None:
        planned = trainings.plan(landscapes, budget, seed)
        trainings.write(folder, landscapes, planned)
        warnings = trainings.warnings(landscapes, planned)
        return Outcome(planned, trainings.to_json(planned, warnings), folder)
    found = study(landscapes, tolerance=tolerance, threshold=threshold, seed=seed)
    content = to_json(found)
    made_by = {"source": origin, "seed": seed, "versions": versions()}
    write_results(folder, NAME, content | made_by, to_tables(found), REASONS)
    contenders.draw(folder, folder)
    return Outcome(found, content, folder, REASONS)


@checked()
def measure_orthogonality(
    run: str | Path | None = None,
    *,
    out: str | Path,
    base: str | Path | None = None,
    experts: Sequence[str | Path] | None = None,
    anchored: Sequence[str | Path] | None = None,
    share: float | None = None,
    subspaces: Natural = 0,
    memory: str | int = "256MiB",
    threads: Positive | None = None,
    seed: Natural = 0,
) -> Outcome[OrthogonalityStudy]:
    """Measure how experts' task vectors lie to each other, in one pass (`m2m-analysis orthogonality`).

    Args:
        run: A finished run folder; None: the models are named.
        out: Where to write.
        base: Checkpoint of the base model.
        experts: Checkpoints or LoRA adapters of the experts. [N]
        anchored: Experts trained partly on common data, in the same order. [N]
        share: What of its own data those were trained on.
        subspaces: Leading singular directions of every matrix that are compared; 0: none.
        memory: Most memory that reading may add, in bytes or as in `256MiB`.
        threads: CPU threads; None: all. The results do not depend on it.
        seed: Seed of random starts.

    Returns:
        Cosines, norms, signs and subspaces, and what of them is chance.

    Raises:
        ConfigError: If it is not said which models, or twice.
        CheckpointError: If a checkpoint is malformed or does not fit the others.
    """  # noqa: DOC502 - partly raised by what is called
    from analysis.orthogonality import orthogonality
    from analysis.orthogonality.study import NAME, REASONS, of_run, to_json, to_tables
    from paper_figs.mergemix import cosines

    named = [base, *(experts or ()), *(anchored or ())]
    folder = _checked(out, NAME, [path for path in named if path])
    common: dict[str, Any] = {"rank": subspaces, "memory": memory, "threads": threads, "seed": seed}
    made_by: dict[str, Any] = {"seed": seed, "versions": versions()}
    if run is not None:
        if any(named) or share is not None:
            words = ", ".join(map(argument, ("base", "experts", "anchored", "share")))
            raise ConfigError(f"a run folder names its own models: leave {words} out")
        study, made_by = of_run(run, **common), run_source(run) | made_by
    else:
        if base is None or not experts:
            raise ConfigError(f"name a run folder, or {argument('base')} and {argument('experts')}")
        study = orthogonality(base, experts, anchored=anchored or (), share=share, **common)
        asked = [str(base), _texts(experts), _texts(anchored), share, subspaces, seed]
        made_by = {"config": content_key("orthogonality", asked)} | made_by
    content = to_json(study)
    write_results(folder, NAME, content | {"source": made_by}, to_tables(study), REASONS)
    cosines.draw(folder, folder)
    return Outcome(study, content, folder, REASONS)


@checked()
def measure_curvature(
    run: str | Path,
    out: str | Path,
    *,
    target: str | None = None,
    examples: Natural = 64,
    float32: bool = False,
    forward: bool = False,
    matrix: Literal["hessian", "ggn"] = "hessian",
    spectra: bool = False,
) -> Outcome[CurvatureStudy]:
    """Measure each dataset's gradient and curvature at the base (`m2m-analysis curvature`).

    Args:
        run: A run folder with trained experts.
        out: Where to write.
        target: Target of the quadratic model; None: the run's.
        examples: Examples of every dataset and target, at even distances; 0 for all.
        float32: Whether to compute in the model's precision, not float64.
        forward: Whether the quadratic model is made again from merged losses alone.
        matrix: `hessian`, or `ggn` for the generalised Gauss-Newton matrix.
        spectra: Whether each dataset's spectrum is estimated too.

    Returns:
        γ, interactions τᵀHτ, and the quadratic model with its predictions.

    Raises:
        RunFolderError: If it is no run folder, its data changed, or experts are missing.
    """  # noqa: DOC502 - raised by what is called
    from analysis.curvature.study import NAME, REASONS, of_run, to_json, to_tables
    from paper_figs.mergemix import density, gamma, quadratic

    folder, opened = _opened(run, out, NAME, examples, float32=float32)
    study = of_run(opened, target, forward=forward, spectra=spectra, matrix=matrix)
    content = to_json(study)
    write_results(folder, NAME, content | {"source": provenance(opened)}, to_tables(study), REASONS)
    gamma.draw(folder, folder)
    quadratic.draw(folder, folder)
    if study.spectra:
        density.draw(folder, folder)
    return Outcome(study, content, folder, REASONS)


@checked()
def measure_interaction(
    run: str | Path,
    out: str | Path,
    *,
    target: str | None = None,
    examples: Natural | None = None,
    float32: bool = False,
    anchored: float | None = None,
    step_sizes: Sequence[float] | None = None,
    horizons: Sequence[Positive] | None = None,
    mixture: str | Mixture | None = None,
    optimizer: Literal["sgd", "momentum", "adam"] | None = None,
) -> Outcome[InteractionStudy] | Outcome[ExplainedStudy]:
    """Measure the residual of merging beside its prediction (`m2m-analysis interaction`).

    The residual is what mixture-trained and merged models differ by. With `step_sizes` one mixture and its
    experts are trained at full batch instead, at growing steps, to show where theory stops explaining it.

    Args:
        run: A run folder, of a run with `validate = true`.
        out: Where to write.
        target: Target whose loss is used; None: the run's.
        examples: Examples of every dataset and target, at even distances; 0 for all. None: 64, and 4 with
            `step_sizes`, where every example is in every step.
        float32: Whether to compute in the model's precision, not float64.
        anchored: Share of their own data that experts of another kind are trained on, the rest of all data.
        step_sizes: Steps η‖H‖ to train at; empty: from 1/64 to 2.
        horizons: Numbers of steps, with `step_sizes`; None: 2, 4, 8.
        mixture: Datasets to mix in equal parts, with `step_sizes`, as in `a+b`; None: all.
        optimizer: `sgd`, `momentum` or `adam`, with `step_sizes`; None: `sgd`.

    Returns:
        The residual measured, predicted and corrected; or what of it is explained at each step.

    Raises:
        ConfigError: If arguments do not go together.
        InputError: If the run trained no mixture of two or more datasets.
    """  # noqa: DOC502 - partly raised by what is called
    if step_sizes is not None:
        if anchored is not None or target is not None:
            raise ConfigError(
                f"{argument('step_sizes')} trains one mixture and looks at no target: "
                f"no {argument('anchored')}, no {argument('target')}"
            )
        return _explained(run, out, examples, step_sizes, horizons, mixture, optimizer, float32=float32)
    for name, value in {"horizons": horizons, "mixture": mixture, "optimizer": optimizer}.items():
        if value is not None:
            steps = argument("step_sizes")
            raise ConfigError(f"{argument(name)} says what {steps} trains; give {steps} too")
    from analysis.interaction.study import NAME, REASONS, of_run, to_json, to_tables
    from paper_figs.mergemix import residual

    folder, opened = _opened(run, out, NAME, 64 if examples is None else examples, float32=float32)
    study = of_run(opened, target, anchored=anchored)
    content = to_json(study)
    write_results(folder, NAME, content | {"source": provenance(opened)}, to_tables(study), REASONS)
    residual.draw(folder, folder)
    return Outcome(study, content, folder, REASONS)


def _explained(
    run: str | Path,
    out: str | Path,
    examples: int | None,
    step_sizes: Sequence[float],
    horizons: Sequence[int] | None,
    mixture: str | Mixture | None,
    optimizer: Literal["sgd", "momentum", "adam"] | None,
    *,
    float32: bool,
) -> Outcome[ExplainedStudy]:
    from analysis.interaction import explained as room
    from paper_figs.mergemix import explained as figure

    # The files of both kinds of study begin alike.
    folder, opened = _opened(run, out, "interaction", 4 if examples is None else examples, float32=float32)
    steps = ([*step_sizes] or room.STEP_SIZES, [*(horizons or ())] or room.HORIZONS)
    study = room.explained_of_run(opened, _mixture(mixture, opened), *steps, optimizer or "sgd")
    content = room.to_json(study)
    write_results(
        folder, room.NAME, content | {"source": provenance(opened)}, room.to_tables(study), room.REASONS
    )
    figure.draw(folder, folder)
    return Outcome(study, content, folder, room.REASONS)


@checked()
def bound_error(
    run: str | Path,
    out: str | Path,
    *,
    mixture: str | Mixture | None = None,
    target: str | None = None,
    examples: Natural = 8,
    float32: bool = False,
) -> Outcome[BoundStudy]:
    """Estimate bounds on residual and score error before a mixture is trained (`m2m-analysis error-bound`).

    Args:
        run: A run folder with trained experts.
        out: Where to write.
        mixture: Datasets to mix in equal parts, as in `a+b`; None: all.
        target: Target whose loss is compared; None: the run's.
        examples: Examples of every dataset and target, at even distances, all in every step; 0 for all.
        float32: Whether to compute in the model's precision, not float64.

    Returns:
        The estimated bounds over step sizes and horizons, and where they say nothing.

    Raises:
        InputError: If the mixture has fewer than two datasets, or no loss is curved.
    """  # noqa: DOC502 - raised by what is called
    from analysis.error_bound.study import NAME, REASONS, of_run, to_json, to_tables
    from paper_figs.mergemix import error_bound

    folder, opened = _opened(run, out, NAME, examples, float32=float32)
    study = of_run(opened, _mixture(mixture, opened), target)
    content = to_json(study)
    write_results(folder, NAME, content | {"source": provenance(opened)}, to_tables(study), REASONS)
    error_bound.draw(folder, folder)
    return Outcome(study, content, folder, REASONS)


@checked()
def measure_outlook(
    run: str | Path,
    out: str | Path,
    *,
    targets: Sequence[str] = (),
    examples: int = 32,
    float32: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Outcome[Outlook]:
    """Tell from the experts alone whether merging will stand in for training (`m2m-analysis outlook`).

    Args:
        run: A run folder with trained experts.
        out: Where to write.
        targets: Targets whose losses are predicted; none: all of the run's.
        examples: Examples of every dataset and target, at even distances; 0 for all.
        float32: Whether to compute in the model's precision, not float64.
        seed: Draws the mixtures where there are more than 127.
        progress: Called with (done, total, what).

    Returns:
        The predicted correlation of every target, and the true one where mixtures were trained.

    Raises:
        InputError: If the run has one dataset, or no such target.
    """  # noqa: DOC502 - raised by what is called
    from analysis.outlook.study import NAME, REASONS, of_run, to_json, to_tables
    from paper_figs.mergemix import outlook

    folder, opened = _opened(run, out, NAME, examples, float32=float32)
    study = of_run(opened, targets, seed=seed, progress=progress)
    content = to_json(study)
    write_results(folder, NAME, content | {"source": provenance(opened)}, to_tables(study), REASONS)
    outlook.draw(folder, folder)
    return Outcome(study, content, folder, REASONS)


@checked()
def validate_claims(
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    trainings: bool = True,
    curvature: bool = True,
    workers: Positive | None = None,
    seed: Natural = 0,
    progress: Progress | None = None,
) -> Outcome[Validation]:
    """Ask real runs about every claim of both papers (`m2m-analysis validate`).

    Args:
        sources: Finished run folders, which are only read, and configurations, which are run first.
        out: Where to write.
        trainings: Whether to train what is needed beyond the runs' own models.
        curvature: Whether to compute Hessians at the base.
        workers: Local worker processes; None: one a core.
        seed: Seed of resampling.
        progress: Called with (done, total, what).

    Returns:
        A verdict a claim: holds, fails or unresolved, with its interval.

    Raises:
        InputError: If a source is neither a run folder nor a configuration.
    """  # noqa: DOC502 - raised by what is called
    from analysis.validate import Options, pages, validate
    from paper_figs.merge_to_mix import verdicts

    folder = _checked(out, pages.NAME, [source for source in sources if os.path.isfile(source)])
    options = Options(
        out=folder, trainings=trainings, curvature=curvature, workers=workers or os.cpu_count() or 1,
        seed=seed, progress=progress or nobody,
    )  # fmt: skip
    found = validate(list(map(str, sources)), options)
    content = pages.to_json(found)
    write_results(
        folder,
        pages.NAME,
        content | {"source": pages.provenance(found)},
        pages.to_tables(found),
        pages.REASONS,
    )
    write_atomically(folder / f"{pages.NAME}.md", pages.to_page(found))
    verdicts.draw(folder, folder)
    return Outcome(found, content, folder, pages.REASONS)


def _checked(out: str | Path, beginning: str, inputs: Iterable[str | Path] = ()) -> Path:
    # Refused before any work: a folder that cannot be written, or results over what is read.
    check_outputs(results_in(argument("out", out), Path(out), beginning), inputs=inputs)
    return Path(out)


def _opened(
    run: str | Path, out: str | Path, beginning: str, examples: int, *, float32: bool
) -> tuple[Path, TrainedRun]:
    return _checked(out, beginning), open_run(run, examples or None, float64=not float32)


def _mixture(mixture: str | Mixture | None, run: TrainedRun) -> Mixture | None:
    return Mixture.parse(mixture, run.datasets) if isinstance(mixture, str) else mixture


def _texts(paths: Sequence[str | Path] | None) -> list[str] | None:
    return None if paths is None else list(map(str, paths))
