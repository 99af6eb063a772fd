"""What the `[setup]` table of a language set-up says, held to its form before anything is read or loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m2m.errors import ConfigError
from m2m.setups import byte_gpt_options, huggingface_options
from m2m.setups.huggingface_options import HuggingFaceOptions
from m2m.setups.language_options import DatasetOptions, LanguageOptions, TargetOptions
from m2m.setups.packaged_models import PACKAGED_MODELS
from m2m.setups.rows.answers import AnswerRule, no_template
from m2m.setups.rows.formats import Chat
from m2m.setups.text import TextSource
from m2m.support.names import check_names
from m2m.support.options import key_names, read_options
from m2m.support.schema import check_keys, check_whole

#: The model that is no Hugging Face model.
BYTE_GPT = "byte-gpt"
#: How messages call the table of the model.
BASE = "[setup.base]"


@dataclass(frozen=True)
class LanguageSpec:
    """The table.

    Attributes:
        model: Name, folder or hub id of the model.
        trust: Whether Python code in the model's folder may run.
        base: The table `[setup.base]`.
        datasets: Tables of the datasets.
        targets: Tables of the targets.
        sources: Where each dataset's documents come from.
        goals: Where those of each target that has its own come from.
        held_out: Datasets that a target's text is held out of.
    """

    model: str
    trust: bool
    base: Mapping[str, Any]
    datasets: Mapping[str, Mapping[str, Any]]
    targets: Mapping[str, Mapping[str, Any]]
    sources: Mapping[str, TextSource]
    goals: Mapping[str, TextSource]
    held_out: frozenset[str]

    @classmethod
    def parse(cls, spec: Mapping[str, Any]) -> LanguageSpec:
        """Read the table.

        Args:
            spec: The table.

        Returns:
            What it says.

        Raises:
            ConfigError: If a key is missing, unknown or mistyped, or a target names a dataset that is not
                there.
        """
        check_keys(spec, key_names(LanguageOptions), "[setup]")
        datasets, targets = _tables(spec, "datasets"), _tables(spec, "targets")
        sources = {name: _dataset(table, f"[setup.datasets.{name}]") for name, table in datasets.items()}
        own = {name: table for name, table in targets.items() if "dataset" not in table}
        goals = {name: _goal(table, f"[setup.targets.{name}]") for name, table in own.items()}
        held_out = {table["dataset"] for table in targets.values() if "dataset" in table}
        for name, table in targets.items():
            if name not in own:
                _check_held_out(table, f"[setup.targets.{name}]")
        if unknown := held_out - set(sources):
            raise ConfigError(
                f"[setup.targets]: no dataset {sorted(unknown)} to hold text out of; there are "
                f"{list(sources)}"
            )
        base, trust = spec.get("base", {}), spec.get("trust_remote_code", False)
        if not isinstance(base, dict):
            raise ConfigError(f"[setup]: `base` must be a table, got {base!r}")
        if not isinstance(trust, bool):
            raise ConfigError(f"[setup]: `trust_remote_code` must be true or false, got {trust!r}")
        model = _model(spec)
        return cls(model, trust, base, datasets, targets, sources, goals, frozenset(held_out))

    @property
    def is_byte_gpt(self) -> bool:
        """Whether the model is the byte GPT."""
        return self.model == BYTE_GPT

    @property
    def folder_name(self) -> str | None:
        """Where the model's folder is from the configuration's, or its id; None if m2m makes the model."""
        return None if self.is_byte_gpt or self.model in PACKAGED_MODELS else self.model

    def check_files(self, root: Path, cache: Path) -> None:
        """Hold it against the files that are here: the model's, and the first row of each source.

        Nothing is fetched or loaded, so what is not here yet is not looked at.

        Args:
            root: Folder that relative paths start from.
            cache: Folder of fetched packages.

        Raises:
            InputError: If a file is missing, or its first row does not fit.
            ConfigError: If rows are conversations, and the model has no chat template.
        """  # noqa: DOC502 - partly raised by what is called
        template = True if self.is_byte_gpt else self._check_model(root)
        pretraining = byte_gpt_options.read_table(self.base, BASE)[2] if self.is_byte_gpt else []
        for source in (*self.sources.values(), *self.goals.values(), *pretraining):
            if isinstance(source.first(root, cache), Chat) and not template:
                raise ConfigError(no_template(root / self.model))

    def _check_model(self, root: Path) -> bool:
        """Check its table and folder; says whether it may have a chat template."""
        options = read_options(HuggingFaceOptions, self.base, BASE)
        options.check(BASE)
        if options.template(root, BASE) or self.folder_name is None:
            return True
        huggingface_options.check_name(self.folder_name, root)
        folder = root / self.folder_name
        return self.trust or not folder.is_dir() or huggingface_options.has_template(folder)


def _tables(spec: Mapping[str, Any], name: str) -> Mapping[str, Mapping[str, Any]]:
    tables = spec.get(name)
    missing = not tables and name != "targets"  # a run may have targets that tasks judge, and no others
    if missing or not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise ConfigError(f"[setup]: wanted tables [setup.{name}.NAME]")
    check_names(tables, f"[setup.{name}]: {name.removesuffix('s')}")
    return tables


def _dataset(table: Mapping[str, Any], where: str) -> TextSource:
    check_keys(table, key_names(TextSource, AnswerRule, DatasetOptions), where)
    _check_counts(table, where, "limit")
    return TextSource.parse(table, where)


def _goal(table: Mapping[str, Any], where: str) -> TextSource:
    check_keys(table, key_names(TextSource, AnswerRule, TargetOptions), where)
    _check_splits(table, where)
    return TextSource.parse(table, where)


def _check_held_out(table: Mapping[str, Any], where: str) -> None:
    check_keys(table, key_names(TargetOptions, AnswerRule), where)
    _check_splits(table, where)
    if not isinstance(table["dataset"], str):
        raise ConfigError(f"{where}: `dataset` must be a dataset's name, got {table['dataset']!r:.60}")


def _check_splits(table: Mapping[str, Any], where: str) -> None:
    _check_counts(table, where, "validation", "test")
    if not isinstance(table.get("unseen", False), bool):
        raise ConfigError(f"{where}: `unseen` must be true or false, got {table['unseen']!r:.60}")


def _check_counts(table: Mapping[str, Any], where: str, *keys: str) -> None:
    for key in keys:
        if key in table:
            check_whole(f"{where}: `{key}`", table[key], 1)
    AnswerRule.parse(table, where)


def _model(spec: Mapping[str, Any]) -> str:
    if not isinstance(name := spec.get("model"), str):
        known = ", ".join(f'"{each}"' for each in (BYTE_GPT, *PACKAGED_MODELS))
        raise ConfigError(
            f"[setup]: `model` must be one of {known}, or a Hugging Face model's folder or hub id"
        )
    return name
