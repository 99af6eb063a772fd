"""Merge checkpoints: from a recipe to a folder."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.folder import check_free
from m2m.checkpoint.manifest import verify as check_hashes
from m2m.checkpoint.remote.address import remote_url
from m2m.checkpoint.remote.destination import Destination
from m2m.checkpoint.remote.mirror import CACHE_SIZE
from m2m.checkpoint.remote.session import origin_of, remote_session
from m2m.errors import ConfigError, RecipeError
from m2m.executors.choice import check_executor, open_executor
from m2m.executors.protocol import Executor
from m2m.merging.as_adapter import write_adapters
from m2m.merging.lora.adapted import AdaptedCheckpoint
from m2m.merging.methods.spec import Method
from m2m.merging.methods.weighted import WeightedSum
from m2m.merging.model_config import ConfigChanges
from m2m.merging.plan.plan import MergePlan
from m2m.merging.plan.resolve import Candidates
from m2m.merging.prepare import Prepared, float_dtype, prepare, read_weights, references_of, tell_doubts
from m2m.merging.recipe.models import ModelRef, open_references
from m2m.merging.recipe.reader import load
from m2m.merging.recipe.recipe import Recipe
from m2m.merging.recipe.tokens import TokenizerSetting
from m2m.merging.side_files import write_card, write_side_files
from m2m.merging.stream.memory import collector_paused
from m2m.merging.stream.options import MergeOptions
from m2m.merging.stream.remote_run import run_plan_elsewhere
from m2m.merging.stream.report import MergeReport
from m2m.merging.stream.run import Finish, run_plan
from m2m.merging.stream.statistics import StatisticsOf
from m2m.merging.stream.work_folder import work_folder
from m2m.support.arguments import argument
from m2m.support.checked import Positive, checked
from m2m.support.outputs import Output, check_outputs
from m2m.support.progress import Progress


@checked()
@collector_paused()
@remote_session()
def merge(
    recipe: Recipe | Path | str | Mapping[str, Any],
    out: str | Path,
    *,
    memory: str | int = "256MiB",
    threads: Positive | None = None,
    shard_size: str | int = "5GB",
    dtype: str | None = None,
    resume: bool = False,
    verify: bool = False,
    durable: bool = False,
    candidates: Candidates | str | Path | None = None,
    as_adapter: bool = False,
    statistics: bool = False,
    allow_nonfinite: bool = False,
    strict: bool = False,
    progress: Progress | None = None,
    device: str = "cpu",
    cache_size: str | int = CACHE_SIZE,
    workers: Positive | None = None,
    executor: str | Executor = "local",
) -> MergeReport:
    """Merge checkpoints by a recipe, streaming: no tensor is ever held whole.

    Models may lie elsewhere, named by URLs as in `s3://bucket/model`: of them those bytes are fetched, by
    ranges, that the merge reads.

    Args:
        recipe: A mergekit YAML file, the same as a mapping, or a recipe that was read already.
        out: The checkpoint folder to make; with candidates, a folder that holds one for each. A URL: its
            shards are sent as they are finished, the index and the manifest last.
        memory: Most memory that merging may add to what the process holds.
        threads: Workers; as many as there are usable cores when not given.
        shard_size: Most tensor bytes an output file.
        dtype: Float type of what is written; the recipe's, and else the donor's, when not given.
        resume: Whether to go on with what an interrupted run of the same merge left.
        verify: Whether to read the result again and check its hashes.
        durable: Whether the result is forced to the disk before it appears, so that it survives a power cut.
        candidates: Merging weights by candidate name that take the place of the recipe's, or a CSV file of
            them (`m2m.candidates`); all candidates are written in one pass over the inputs. [M, N]
        as_adapter: Whether to write one LoRA adapter with all experts' factors in it instead of a model; all
            experts must be adapters. Its type is `dtype`, or float32. The factors are held in memory and
            appear in one step, so memory, threads, shard_size, resume and progress do not apply.
        statistics: Whether to gather inner products and signs of the task vectors on the way, and write them
            to `statistics.json` in `out` (see `m2m.merging.stream.statistics`).
        allow_nonfinite: Whether NaN and infinities in the inputs may pass into the outputs.
        strict: Whether what makes a merge doubtful (`m2m.merging.doubts`) is an error; a warning
            where not.
        progress: Is told bytes done, bytes in all and what is going on.
        device: Where weighted sums are computed: `cpu`, `cuda`, or `cuda:1` and so on.
        cache_size: Most disk that tensors of models elsewhere, and shards on their way, may take here.
        workers: Processes that take a shard each, of `threads` threads (one if not given), and share
            `memory` on each machine; None: this process alone, or all that a Ray cluster has.
        executor: Where they are: `local`, `ray` or `ray://HOST:PORT`, whose machines see the same files under
            the same paths; or an executor, as `m2m.executors.local.Local(2)`.

    Returns:
        What was done.

    Raises:
        ConfigError: If the device is unknown, not there, or does not do what the recipe asks for; if the
            executor is none, cannot be reached, or is asked for what one process alone does.
        RecipeError: If the recipe is malformed, or asks for what is not there.
        CheckpointError: If an input is malformed, does not fit the others, changes, or is not finite; if
            `strict`, also where models differ so that their average is doubtful.
        RunFolderError: If `out` exists or is being written, or there is no room for it.
    """  # noqa: DOC502 - raised by what is called
    started = time.perf_counter()
    parsed = recipe if isinstance(recipe, Recipe) else load(recipe)
    spread = executor != "local" or workers is not None
    if spread:
        _refuse_spread(device, as_adapter=as_adapter, statistics=statistics)
        if isinstance(executor, str):
            check_executor(executor)
    models_read = [path for ref in references_of(parsed) for path in (ref.path, ref.lora)]
    read = [*models_read, *(file for file in (recipe, candidates) if isinstance(file, str | Path))]
    url = remote_url(out)
    place = free_place(out, read, resume=resume) if url is None else None
    candidates = read_weights(parsed, candidates)
    models = open_references(references_of(parsed), parsed.base, averaged=parsed.averages)
    doubts = tell_doubts(parsed, models, strict=strict)
    if place is None and (as_adapter or statistics):
        raise ConfigError(
            f"{argument('out', url)}: adapters and statistics are written to a local folder only; name one"
        )
    if as_adapter:
        assert place is not None
        _refuse_beside_adapters(parsed, device, statistics=statistics, allow_nonfinite=allow_nonfinite)
        report = write_adapters(parsed, models, place, dtype=float_dtype(dtype), candidates=candidates)
        if verify:
            check_hashes(out)
        return report
    about = _statistics_of(parsed, models) if statistics else None
    prepared = prepare(parsed, models, candidates, dtype, shard_size, statistics=statistics, doubts=doubts)

    allow = allow_nonfinite or parsed.allow_nonfinite
    finish = _finish(parsed, prepared, candidates)
    options = MergeOptions(memory, threads, resume, verify, durable, allow, progress, device, cache_size)
    others = None
    if spread:
        _refuse_to_send(prepared.plan.method)
        others = open_executor(executor, workers)
        _refuse_own_memory(prepared.plan, url, others)
    if place is None:
        assert url is not None
        return run_plan_elsewhere(prepared.plan, Destination(url), options, finish, started, others)
    return run_plan(prepared.plan, place, options, finish, started, about, others)


def _finish(recipe: Recipe, prepared: Prepared, candidates: Candidates | None) -> Finish:
    changes = ConfigChanges(prepared.dtype, recipe.stacked, prepared.plan.config, recipe.donor.architecture)

    def finish(folder: Path, name: str, hashes: Mapping[str, str]) -> None:
        write_side_files(
            prepared.side_files,
            folder,
            changes=changes,
            template=prepared.template,
            vocabulary=prepared.vocabulary,
        )
        row = (
            None if candidates is None else dict(zip(map(str, recipe.models), candidates[name], strict=True))
        )
        write_card(folder, recipe, row, hashes)

    return finish


def _refuse_beside_adapters(recipe: Recipe, device: str, *, statistics: bool, allow_nonfinite: bool) -> None:
    # An adapter is used with its base model's tokenizer, so that one alone may be asked for.
    for key, asked in (
        ("tokenizer, tokenizer_source", recipe.tokenizer not in (None, TokenizerSetting("base"))),
        ("chat_template", recipe.chat_template is not None),
    ):
        if asked:
            raise RecipeError(
                f"{key}: an adapter goes with its base model's, and holds none; leave it out of the recipe, "
                f"or leave {argument('as_adapter', True)} out to write the merged model itself"
            )
    if device != "cpu":
        raise ConfigError(f"device {device!r}: adapters are joined on the CPU; leave the device out")
    if statistics:
        raise RecipeError("statistics of LoRA adapters come from their factors: m2m.merging.lora.lora_gram")
    if allow_nonfinite:
        raise ConfigError("factors of adapters must be finite; leave allow_nonfinite out")


def _refuse_spread(device: str, *, as_adapter: bool, statistics: bool) -> None:
    for what, asked in (
        (argument("device", device), device != "cpu"),
        (argument("as_adapter", True), as_adapter),
        (argument("statistics", True), statistics),
    ):
        if asked:
            raise ConfigError(f"{what}: one process does that; leave {_workers()} out")


def _refuse_to_send(method: Method) -> None:
    try:
        pickle.dumps(method)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"merge_method {method.name} cannot be given to workers ({error}): define its functions at "
            f"the top of a module, or leave {_workers()} out"
        ) from error


def _refuse_own_memory(plan: MergePlan, out: str | None, executor: Executor) -> None:
    origins = [origin.url for file in plan.opened if (origin := origin_of(file)) is not None]
    for url in filter(None, (out, *origins)):
        if url.startswith("memory://") and executor.places() > 1:
            raise ConfigError(
                f"{url}: is this process's memory, which no worker sees; leave {_workers()} out"
            )


def _workers() -> str:
    return f"{argument('executor')} and {argument('workers')}"


def free_place(out: str | Path, inputs: Iterable[str | Path | None], *, resume: bool) -> Path:
    """Return where the result is to go, links followed, once that is checked; nothing is made yet."""
    result = Output(argument("out", out), Path(out), "folder")
    check_outputs([result])  # before anything else is asked about its name
    work = Output(result.said, work_folder(result.real), "work", own=True)
    check_outputs([result, work], inputs=[path for path in inputs if path])
    place = result.real
    if not resume:
        check_free(place)
    return place if Path(out).is_symlink() else Path(out)


def _statistics_of(recipe: Recipe, models: Mapping[ModelRef, Checkpoint]) -> StatisticsOf:
    if recipe.base is None:
        raise RecipeError("statistics are about task vectors: name a base_model")
    if len(recipe.slices) > 1 or recipe.slices[0].ranges or recipe.slices[0].module:
        raise RecipeError("statistics are about whole models: merge slices and modules without")
    for ref, model in models.items():
        if isinstance(recipe.rule, WeightedSum) and isinstance(model, AdaptedCheckpoint):
            raise RecipeError(
                f"{ref}: statistics of LoRA adapters come from their factors: m2m.merging.lora.lora_gram"
            )
    return StatisticsOf(str(recipe.base), tuple(map(str, recipe.models)))
