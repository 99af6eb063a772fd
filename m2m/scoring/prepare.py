"""What scoring and racing begin with: everything the user gave, opened and held against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from m2m.errors import ConfigError, InputError, MixtureError
from m2m.mixture import MergingWeights, all_subsets
from m2m.scoring.bench import Bench
from m2m.scoring.example_scores import check_format
from m2m.scoring.models import Experts, Models, open_models, paths_of
from m2m.scoring.table import ScoreTable
from m2m.scoring.tasks import TaskOptions
from m2m.scoring.tasks.scorer import Scorer, Scores
from m2m.support.arguments import argument
from m2m.support.content_keys import content_key
from m2m.support.outputs import Output, check_outputs


@dataclass(frozen=True)
class Prepared:
    """Candidates that can be scored.

    Attributes:
        models: What they are merged of.
        bench: What they are scored with.
        mixtures: The candidates. [M]
    """

    models: Models
    bench: Bench
    mixtures: Sequence[MergingWeights]

    def keys(self, device: str) -> dict[str, MergingWeights]:
        """Key the candidates by content; waits for the hashes of the models' files.

        Args:
            device: Kind of the device that scores.

        Returns:
            Mixture by content key. [M]
        """
        content = self.models.content(self.bench, device)
        return {content_key(*content, mixture.weights): mixture for mixture in self.mixtures}


@contextmanager
def prepared(
    base: str | Path,
    experts: Experts,
    candidates: Sequence[MergingWeights] | None,
    *,
    outputs: Sequence[Output],
    inputs: Iterable[str | Path],
    bench: Bench | Callable[[], Bench],
    strict: bool = False,
) -> Iterator[Prepared]:
    """Check what will be written, then open models and tasks.

    The models' files are hashed meanwhile, as starting up and reading a task leave a core idle.

    Args:
        base: Checkpoint of the base model θ₀.
        experts: The experts' checkpoints or adapters, by name or as paths. [N]
        candidates: Mixtures over the experts' names; None for all 2^N − 1 subsets. [M]
        outputs: What will be written.
        inputs: Other files that are read.
        bench: Module and tasks, or what makes them.
        strict: Whether what makes an average of the models doubtful is an error.

    Yields:
        Prepared: What can be scored, while the block runs.

    Raises:
        ConfigError: If an output cannot be written.
        MixtureError: If a candidate is over other names than the experts'.
    """  # noqa: DOC502 - partly raised by what is called
    check_outputs(outputs, inputs=[base, *paths_of(experts), *inputs])
    with open_models(base, experts, strict=strict) as models:
        mixtures = all_subsets([*models.experts]) if candidates is None else candidates
        _check_mixtures(mixtures, models.experts)
        yield Prepared(models, bench() if callable(bench) else bench, mixtures)


def score_outputs(out: Path, *, examples: Path | None = None, race: bool = False) -> list[Output]:
    """List what scoring writes.

    Args:
        out: The CSV file of the scores.
        examples: File of every example's score, if it is wanted.
        race: Whether candidates race.

    Returns:
        The CSV file, the table beside it, and what else is asked for.

    Raises:
        ConfigError: If a file's name does not end as it must.
    """
    said = argument("out", out)
    if out.suffix != ".csv":
        # Else tables of two names, scores.txt and scores.tsv, would be kept in one scores.sqlite.
        raise ConfigError(
            f"{said}: wanted a name that ends in .csv; the scores are kept beside it in an .sqlite"
        )
    endings = (".race.csv", ".race.json") if race else ()
    outputs = [Output(said, out), Output(said, out.with_suffix(".sqlite"), "table", own=True)]
    outputs += [Output(said, out.with_suffix(ending), own=True) for ending in endings]
    if examples is not None:
        check_format(examples)
        outputs.append(Output(argument("examples", examples), examples))
    return outputs


def files_of_tasks(
    tasks: Sequence[str], model: str | None = None, options: TaskOptions | None = None
) -> Iterator[Path]:
    """List the files that tasks are read from.

    Args:
        tasks: Tasks as the command line spells them.
        model: Factory of the module.
        options: What else is said about the tasks.

    Yields:
        Path: What may be a file or folder; not all of them are.
    """
    for word in tasks:
        yield from map(Path, word.split(":", 1))  # `lm:FILE`, or `FILE.py:FUNCTION`
    if model is not None:
        yield Path(model.rpartition(":")[0])
    if options is not None and options.lm_eval_tasks is not None:
        yield options.lm_eval_tasks


def is_scored(table: ScoreTable, key: str, task: Scorer) -> bool:
    """Whether a table has a candidate's scores on a task."""
    return table.has(key, task.task, task.split, task.version)


def keep(
    table: ScoreTable, key: str, mixture: MergingWeights, scorers: Sequence[Scorer], scores: Sequence[Scores]
) -> None:
    """Write a merged model's scores, one a task, to a table."""
    try:
        for task, found in zip(scorers, scores, strict=True):
            table.add(key, mixture, "merged", None, task.task, task.split, task.version, found, task.metrics)
    except InputError as error:
        raise type(error)(f"candidate {mixture.label}: {error}") from error


def _check_mixtures(mixtures: Sequence[MergingWeights], experts: Mapping[str, object]) -> None:
    for mixture in mixtures:
        if mixture.datasets != tuple(experts):
            raise MixtureError(
                f"candidate {mixture.label} is over {mixture.datasets}, the experts are {[*experts]}"
            )
