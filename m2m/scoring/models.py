"""The models that candidates are merged of: base model, experts and adapters, opened and hashed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from m2m.checkpoint import Checkpoint
from m2m.checkpoint.as_stored import align_as_stored
from m2m.checkpoint.checkpoint import read_tensor
from m2m.checkpoint.checks import check_not_quantised, check_ties
from m2m.checkpoint.manifest import FileHashes, check_manifests, read_manifest, verified_state
from m2m.errors import ConfigError
from m2m.merging.doubts import warn_of_doubts
from m2m.merging.lora import AdaptedCheckpoint, Adapter, is_adapter
from m2m.merging.lora.products import add_scaled, formed, read_term
from m2m.scoring.adapted_sums import adapted_sums
from m2m.scoring.bench import Bench
from m2m.scoring.live.live_model import OtherSum
from m2m.support.content_keys import Part
from m2m.support.names import check_names, short_names

if TYPE_CHECKING:
    from torch import Tensor

#: Name of the merge in cache keys: θ̃ = Σ_n α_n θ_n, one rounding.
RULE = "linear"

_log = logging.getLogger(__name__)

Experts = Mapping[str, str | Path] | Sequence[str | Path]


def paths_of(experts: Experts) -> list[str | Path]:
    """The experts' paths, however they were given [N]."""
    return list(experts.values() if isinstance(experts, Mapping) else experts)


def names_of(experts: Experts) -> list[str]:
    """The experts' names: as given, or told by their paths (`short_names`) [N]."""
    return [*experts] if isinstance(experts, Mapping) else short_names([*experts])


@dataclass(frozen=True)
class Models:
    """What candidates are merged of.

    Attributes:
        base: θ₀.
        experts: The experts by name: whole models, and the base model with an adapter on it. [N]
        hashes: Of all their files.
        kept: Tensors that are the base model's in every merged model: buffers, and heads that only it has.
        base_first: Whether the first of the experts is the base model, which has weight 1 − Σα.
    """

    base: Checkpoint
    experts: Mapping[str, Checkpoint]
    hashes: FileHashes
    kept: frozenset[str] = frozenset()
    base_first: bool = False

    def with_base(self) -> Models:
        """Return the same with the base model before the experts, for weights that do not sum to one."""
        return replace(self, experts={"(the base model)": self.base, **self.experts}, base_first=True)

    @cached_property
    def sums(self) -> Mapping[str, OtherSum]:
        """What merged tensors are sums of, by name, where that is not the experts' own tensors."""
        return adapted_sums(self.base, [*self.experts.values()], base_first=self.base_first)

    def content(self, bench: Bench, device: str) -> tuple[Part, ...]:
        """Hash what merged models are made of, but for their weights; waits for the files' hashes.

        Args:
            bench: What they are scored with.
            device: Kind of the device that scores.

        Returns:
            The first parts of a merged model's content key; its weights are the last.

        Raises:
            CheckpointError: If a file has changed since it was opened, or since m2m wrote it.
        """  # noqa: DOC502 - raised by what is called
        for model in (self.base, *self.experts.values()):
            model.check_unchanged()  # what was read of them before they were hashed
        check_manifests(_files(self.base, self.experts), self.hashes)
        # Names are part of it: rows carry the candidate's name, which must be the one asked for.
        contents = {
            name: tuple(self.hashes[file] for file in own_files(expert))
            for name, expert in self.experts.items()
        }
        _warn_of_copies({"the base model": tuple(self.hashes[file] for file in self.base.files), **contents})
        files: list[Part] = [(name, *hashes) for name, hashes in contents.items()]
        dtypes = sorted({tensor.dtype for tensor in self.base.tensors.values()})
        rule = RULE if device == "cpu" else f"{RULE} on {device}"
        return rule, bench.architecture, [self.hashes[file] for file in self.base.files], files, dtypes


@contextmanager
def open_models(base: str | Path, experts: Experts, *, strict: bool = False) -> Iterator[Models]:
    """Open a base model and its experts, and begin to hash their files.

    Args:
        base: Checkpoint of the base model θ₀.
        experts: Checkpoints, or folders of adapters of the base model, by name; or only their paths, whose
            names are then those of `short_names`. [N]
        strict: Whether what makes an average of them doubtful is an error; a warning where not.

    Yields:
        Models: The models, while the block runs.

    Raises:
        ConfigError: If there is no expert, two are one checkpoint, or a name is unfit or given twice.
    """
    root = _checked(base)
    named = dict(zip(names_of(experts), paths_of(experts), strict=False))
    if not named:
        raise ConfigError("there is no expert to merge")
    if len(named) < len(experts):
        raise ConfigError(
            f"experts of one name among {list(map(str, experts))}: give them names, as a mapping"
        )
    check_names(named, "expert")
    found = {name: _open(path, root) for name, path in named.items()}
    _check_different(found)
    aligned = align_as_stored(root, [*found.values()])
    for note in aligned.notes:
        _log.warning("%s", note)
    warn_of_doubts(root, aligned.models, strict=strict)
    with FileHashes(_files(root, found)) as hashes:
        yield Models(root, dict(zip(found, aligned.models, strict=True)), hashes, aligned.kept)


@contextmanager
def verified_models(base: Path, experts: Mapping[str, Path]) -> Iterator[Models]:
    """Open models that m2m wrote, each held against its manifest; one may be given twice.

    Args:
        base: Checkpoint of the base model θ₀.
        experts: Folders of whole models, or of adapters that were made on this base model, by name. [N]

    Yields:
        Models: The models, while the block runs.
    """
    root = Checkpoint(base)
    found = {name: on_base(path, root) for name, path in experts.items()}
    for folder in (base, *experts.values()):
        read_manifest(folder)  # an error if there is none
    files = _files(root, found)
    with FileHashes(files) as hashes:
        check_manifests(files, hashes)
        hashes.check_unchanged()
        yield Models(root, found, hashes)


def on_base(path: Path, base: Checkpoint) -> Checkpoint:
    """Open a model that is known to come from a base model: a whole one, or an adapter on top of it."""
    return AdaptedCheckpoint(base, Adapter(path), named=False) if is_adapter(path) else Checkpoint(path)


def model_state(base: Path, folder: Path) -> dict[str, Tensor]:
    """Read all tensors of a model that m2m wrote, held against its manifest.

    Args:
        base: Checkpoint of the base model θ₀.
        folder: A whole model, or an adapter that was made on this base model.

    Returns:
        Tensor by name; an adapted one is round(W + s·BA) in the type of W, as a merge of it alone has it.
    """
    if not is_adapter(folder):
        return verified_state(folder)
    with verified_models(base, {"model": folder}) as models:
        [model] = models.experts.values()
        assert isinstance(model, AdaptedCheckpoint)
        state = {name: _formed(model, name) for name in model.tensors}
        models.hashes.check_unchanged()
    return state | {name: state[kept] for name, kept in model.tied.items()}


def _formed(model: AdaptedCheckpoint, name: str) -> Tensor:
    tensor, addition = read_tensor(model.tensors[name]), model.additions.get(name)
    if addition is None:
        return tensor
    if addition.magnitudes is not None:
        return formed(addition.on(model.tensors[name], model.tensors[name].dtype))
    return add_scaled(tensor, read_term(addition.source), addition.scale)


def _open(path: str | Path, base: Checkpoint) -> Checkpoint:
    return AdaptedCheckpoint(base, Adapter(path)) if is_adapter(path) else _checked(path)


def _checked(path: str | Path) -> Checkpoint:
    checkpoint = Checkpoint(path)
    check_ties(checkpoint)
    check_not_quantised(checkpoint)
    return checkpoint


def _files(base: Checkpoint, experts: Mapping[str, Checkpoint]) -> list[Path]:
    return [*base.files, *(file for expert in experts.values() for file in own_files(expert))]


def _warn_of_copies(contents: Mapping[str, tuple[str, ...]]) -> None:
    # It may be meant, as a control; as a slip it makes mixtures that differ in name only.
    first: dict[tuple[str, ...], str] = {}
    for name, hashes in contents.items():
        other = first.setdefault(hashes, name)
        if other != name:
            _log.warning("expert %s has the same weights as %s", name, other)


def _check_different(experts: Mapping[str, Checkpoint]) -> None:
    places: dict[tuple[Path, ...], str] = {}
    for name, expert in experts.items():
        other = places.setdefault(tuple(file.resolve() for file in own_files(expert)), name)
        if other != name:
            raise ConfigError(
                f"experts {other!r} and {name!r} are the same checkpoint {own_files(expert)[0].parent}: its "
                "weight would count twice; name it once"
            )


def own_files(expert: Checkpoint) -> Sequence[Path]:
    """List the files that make an expert what it is beside its base model."""
    if isinstance(expert, AdaptedCheckpoint):
        return [expert.adapter.config.path, expert.adapter.file]
    return [*expert.files]
