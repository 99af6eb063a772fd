"""Studies of models: how task vectors lie, how losses curve, what merging leaves, what theory says of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from analysis.results import provenance, run_source, versions, write_results
from analysis.studies.outcome import Outcome, checked_folder, opened_run
from analysis.trained_run import TrainedRun
from m2m.errors import ConfigError
from m2m.mixture import Mixture
from m2m.support.arguments import argument
from m2m.support.checked import Natural, Positive, checked
from m2m.support.content_keys import content_key
from m2m.support.progress import Progress

if TYPE_CHECKING:
    from analysis.curvature.study import CurvatureStudy
    from analysis.error_bound.study import BoundStudy
    from analysis.interaction.explained import ExplainedStudy
    from analysis.interaction.study import InteractionStudy
    from analysis.orthogonality import OrthogonalityStudy
    from analysis.outlook.study import Outlook


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
    folder = checked_folder(out, NAME, [path for path in named if path])
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

    folder, opened = opened_run(run, out, NAME, examples, float32=float32)
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

    folder, opened = opened_run(run, out, NAME, 64 if examples is None else examples, float32=float32)
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
    folder, opened = opened_run(run, out, "interaction", 4 if examples is None else examples, float32=float32)
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
    progress: Progress | None = None,
) -> Outcome[BoundStudy]:
    """Estimate bounds on residual and score error before a mixture is trained (`m2m-analysis error-bound`).

    Args:
        run: A run folder with trained experts.
        out: Where to write.
        mixture: Datasets to mix in equal parts, as in `a+b`; None: all.
        target: Target whose loss is compared; None: the run's.
        examples: Examples of every dataset and target, at even distances, all in every step; 0 for all.
        float32: Whether to compute in the model's precision, not float64.
        progress: Called with (done, total, what).

    Returns:
        The estimated bounds over step sizes and horizons, and where they say nothing.

    Raises:
        InputError: If the mixture has fewer than two datasets, or no loss is curved.
    """  # noqa: DOC502 - raised by what is called
    from analysis.error_bound.study import NAME, REASONS, of_run, to_json, to_tables
    from paper_figs.mergemix import error_bound

    folder, opened = opened_run(run, out, NAME, examples, float32=float32)
    study = of_run(opened, _mixture(mixture, opened), target, progress)
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

    folder, opened = opened_run(run, out, NAME, examples, float32=float32)
    study = of_run(opened, targets, seed=seed, progress=progress)
    content = to_json(study)
    write_results(folder, NAME, content | {"source": provenance(opened)}, to_tables(study), REASONS)
    outlook.draw(folder, folder)
    return Outcome(study, content, folder, REASONS)


def _mixture(mixture: str | Mixture | None, run: TrainedRun) -> Mixture | None:
    return Mixture.parse(mixture, run.datasets) if isinstance(mixture, str) else mixture


def _texts(paths: Sequence[str | Path] | None) -> list[str] | None:
    return None if paths is None else list(map(str, paths))
