"""A first look at a configuration: what is wrong with it as far as its text and the files it names can tell.

It takes a second at most, as torch and transformers are not imported, nothing is fetched, and of each file of
data the first row is read. So a slip is said at once, and not after all that a run loads.
"""

from __future__ import annotations

from collections.abc import Iterable

from m2m.data import cache_dir
from m2m.errors import CheckpointError, ConfigError, InputError
from m2m.pipeline.config import RunConfig
from m2m.pipeline.run_folder import RunFolder
from m2m.pipeline.search_budget import search_budget
from m2m.pipeline.trainer_job import check_programs
from m2m.scoring.tasks.judged_options import JudgedOptions
from m2m.setups.language_spec import LanguageSpec
from m2m.setups.load import check_kind, data_only, judged_tables
from m2m.support.schema import did_you_mean
from m2m.support.user_code import check_reference


def look_at(config: RunConfig, folder: RunFolder | None) -> None:
    """Hold a configuration against itself and the files that it names.

    Args:
        config: The run configuration.
        folder: The run folder, which may have taken experts that are gone; None: a new one.

    Raises:
        InputError: If a run could not go on with it; what only reading and loading shows is not looked for.
    """  # noqa: DOC502 - raised by what is called
    try:
        kind = check_kind(config.setup)
        names = None
        if kind == "language":
            names = _look_at_language(config)
        elif kind == "python":
            check_reference(str(config.setup.get("factory", "")), config.root, "[setup] factory")
        for name, table in judged_tables(config.setup).items():
            _look_at_judged(name, JudgedOptions.parse(table, f"[setup.targets.{name}]"), config)
    except InputError as error:
        raise type(error)(f"{config.path}: {error}") from error
    if names is not None:
        check_targets(config, names)
        search_budget(config, len(config.dataset_names))
        check_experts(config, config.dataset_names)
    _look_at_experts(config, folder)
    check_programs(config.trainer.command, config.root, f"{config.path} [train]")


def check_targets(config: RunConfig, names: Iterable[str]) -> None:
    """Refuse targets in `[run]` that are none of the set-up's `names`."""
    known = list(names)
    for name in (*config.run.weights, *config.run.fidelity):
        if name not in known:
            hint = did_you_mean(name, known)
            raise ConfigError(f"{config.path} [run]: no target {name!r}{hint}; the set-up has {known}")


def check_experts(config: RunConfig, datasets: Iterable[str]) -> None:
    """Refuse given experts that are not the datasets', or not all of them."""
    names = list(datasets)
    if config.experts and set(config.experts) != set(names):
        raise ConfigError(
            f"{config.path} [train]: `experts` must name an expert of every dataset, and no other: got "
            f"{list(config.experts)}, the datasets are {names}"
        )


def _look_at_experts(config: RunConfig, folder: RunFolder | None) -> None:
    for name, path in config.experts.items():
        taken = folder is not None and folder.has_expert(name, config.run.seed)
        if not taken and not path.exists():
            raise CheckpointError(
                f"{config.path} [train]: the expert of {name} is no model or adapter: {path}"
            )


def _look_at_language(config: RunConfig) -> list[str]:
    spec = LanguageSpec.parse(data_only(config.setup))
    spec.check_files(config.root, cache_dir())
    return [*spec.targets, *judged_tables(config.setup)]


def _look_at_judged(name: str, options: JudgedOptions, config: RunConfig) -> None:
    where = f"[setup.targets.{name}]"
    for file in options.files:
        if not (config.root / file).is_file():
            raise ConfigError(
                f"{where}: cannot read the task's file {config.root / file}: No such file or directory"
            )
    if options.judge is not None:
        check_reference(options.judge, config.root, f"{where}: the judge")
    if options.is_function:
        check_reference(options.task, config.root, f"{where}: the task")
