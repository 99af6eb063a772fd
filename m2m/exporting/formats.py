"""From shares to the text a trainer's documentation asks for."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Annotated

from m2m.errors import ConfigError, InputError, MixtureError
from m2m.exporting.local_files import builder_of, for_axolotl, for_llama_factory, for_load_dataset
from m2m.mixture import Mixture
from m2m.support.arguments import argument
from m2m.support.checked import AtLeast, Positive, check_fields
from m2m.support.csv_tables import guarded
from m2m.support.schema import did_you_mean

#: Decimals of written shares; NumPy, which draws from them, wants sums within 1e-8 of 1.
DIGITS = 6
#: A number of examples.
Count = Annotated[int, AtLeast(1, 2**63 - 1)]


@dataclass(frozen=True)
class Sources:
    """What a trainer needs to know beside the shares.

    Attributes:
        paths: Where a dataset lies, by its name; the name itself by default.
        total: Examples (rows) of the whole training set, for trainers that take counts.
        sizes: Examples there are, by name, to refuse counts that are not there.
        digits: Decimals of written shares.
    """

    paths: Mapping[str, str] = field(default_factory=dict)
    total: Count | None = None
    sizes: Mapping[str, Count] = field(default_factory=dict)
    digits: Positive = DIGITS

    def __post_init__(self) -> None:
        check_fields(self)

    def path(self, name: str) -> str:
        """Where a dataset lies."""
        return self.paths.get(name, name)


@dataclass(frozen=True)
class Format:
    """One way to write a mixture.

    Attributes:
        name: The name users type.
        about: What reads it.
        write: From the mixture and its sources to the text.
    """

    name: str
    about: str
    write: Callable[[Mixture, Sources], str]


def render(mixture: Mixture, to: str, sources: Sources | None = None) -> str:
    """Write a mixture for a trainer.

    Args:
        mixture: The shares in which examples are drawn.
        to: One of `FORMATS`.
        sources: Paths, counts and digits.

    Returns:
        The text of the file.

    Raises:
        ConfigError: If there is no such format.
        MixtureError: If `sources` names a dataset that is not in the mixture.
    """
    if to not in FORMATS:
        raise ConfigError(f"no format {to!r}{did_you_mean(to, FORMATS)}; there are {', '.join(FORMATS)}")
    sources = sources or Sources()
    for name in (*sources.paths, *sources.sizes):
        if name not in mixture.datasets:
            raise MixtureError(
                f"{name!r} is no dataset of the mixture{did_you_mean(name, mixture.datasets)}; "
                f"it has {list(mixture.datasets)}"
            )
    return FORMATS[to].write(mixture, sources)


def _members(mixture: Mixture) -> tuple[list[str], list[float]]:
    return list(mixture.members), [weight for weight in mixture.weights if weight > 0]


def _shares(mixture: Mixture, sources: Sources) -> tuple[list[str], list[str]]:
    """Return the members' paths and their written shares."""
    names, weights = _members(mixture)
    return [sources.path(name) for name in names], decimals(names, weights, sources.digits)


def _counts(mixture: Mixture, sources: Sources, trainer: str) -> list[tuple[str, int]]:
    # The members' paths, and how many of the total's examples each gives.
    if sources.total is None:
        raise InputError(
            f"{trainer} has no weights in its configuration, only how many examples of each dataset are "
            f"read: "
            f"say how many there shall be in all ({argument('total')})"
        )
    names, weights = _members(mixture)
    counts = apportioned(weights, sources.total)
    for name, count in zip(names, counts, strict=True):
        if count > sources.sizes.get(name, count):
            raise InputError(
                f"{count} examples of {name!r} are wanted and it has {sources.sizes[name]}: "
                f"lower {argument('total')}"
            )
        if not count:
            raise InputError(f"{argument('total', sources.total)} leaves no example for {name!r}: raise it")
    return [(sources.path(name), count) for name, count in zip(names, counts, strict=True)]


def _json(mixture: Mixture, sources: Sources) -> str:
    """Return exact weights; `m2m export FILE` reads them again."""
    return (
        json.dumps({"datasets": mixture.datasets, "weights": mixture.weights}, indent=1, ensure_ascii=False)
        + "\n"
    )


def _yaml(mixture: Mixture, sources: Sources) -> str:
    """Return exact weights by name."""
    return _dump({"weights": mixture.shares})


def _csv(mixture: Mixture, sources: Sources) -> str:
    """Return a row a dataset: name, exact weight."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["dataset", "weight"])
    rows.writerows((guarded(name), repr(weight)) for name, weight in mixture.shares.items())
    return text.getvalue()


def _interleave(mixture: Mixture, sources: Sources) -> str:
    """Return Python for Hugging Face `datasets`.

    interleave_datasets(datasets, probabilities, seed=…, stopping_strategy=…):
    https://huggingface.co/docs/datasets/package_reference/main_classes#datasets.interleave_datasets; with
    `all_exhausted` small datasets are repeated until each has been read once.
    """
    paths, shares = _shares(mixture, sources)
    loads = "".join(f'        load_dataset({_arguments(path)}, split="train"),\n' for path in paths)
    return (
        "from datasets import interleave_datasets, load_dataset\n\n"
        "dataset = interleave_datasets(\n"
        f"    [\n{loads}    ],\n"
        f"    probabilities=[{', '.join(shares)}],\n"
        "    seed=0,\n"
        '    stopping_strategy="all_exhausted",\n'
        ")\n"
    )


def _arguments(path: str) -> str:
    first, *more = (
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in for_load_dataset(path).items()
    )
    return ", ".join([first.removeprefix("path="), *more])


def _llama_factory(mixture: Mixture, sources: Sources) -> str:
    """Return LLaMA-Factory's data arguments: `dataset`, `mix_strategy`, `interleave_probs`.

    https://github.com/hiyouga/LLaMA-Factory/blob/main/src/llamafactory/hparams/data_args.py: both lists are
    separated by commas; a dataset's path is its name in `dataset_info.json`, and a file's its own (the format
    `llama-factory-info` describes it there). `interleave_over` stops when every dataset has been read once.

    Raises:
        MixtureError: If a path has a comma.
    """
    names, weights = _members(mixture)
    shares = decimals(names, weights, sources.digits)
    paths = [name if builder_of(sources.path(name)) else sources.path(name) for name in names]
    for path in paths:
        if "," in path:
            raise MixtureError(
                f"LLaMA-Factory separates datasets by commas, so {path!r} cannot be named there"
            )
    return _dump(
        {"dataset": ",".join(paths), "mix_strategy": "interleave_over", "interleave_probs": ",".join(shares)}
    )


def _llama_factory_info(mixture: Mixture, sources: Sources) -> str:
    """Return LLaMA-Factory's `dataset_info.json`: where each dataset lies, and what its records are.

    https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md: a file's name starts from the folder
    `dataset_dir`, where this file lies too.
    """
    entries = {name: for_llama_factory(sources.path(name)) for name in mixture.members}
    return json.dumps(entries, indent=2, ensure_ascii=False) + "\n"


def _axolotl(mixture: Mixture, sources: Sources) -> str:
    """Return axolotl's `datasets` with row counts as split slices (`path`, `split`), merged and shuffled.

    https://docs.axolotl.ai/docs/config-reference.html: entries have no weight; a local file is told its
    `ds_type` and the `type` of its records, others need their `type` added.
    """
    counts = _counts(mixture, sources, "axolotl")
    entries = [{**for_axolotl(path), "split": f"train[:{count}]"} for path, count in counts]
    return _dump({"datasets": entries, "shuffle_merged_datasets": True})


def _trl(mixture: Mixture, sources: Sources) -> str:
    """Return TRL's `datasets` mixture, with shares as `fraction`, or with row counts as split slices.

    https://huggingface.co/docs/trl/script_utils#trl.DatasetMixtureConfig: 1.16 cuts each dataset to its
    `fraction` of the largest mixture that repeats no row; earlier versions know no shares and concatenate.
    Neither `fraction` nor slices go with `streaming`.
    """
    if sources.total is not None:
        counts = _counts(mixture, sources, "TRL")
        entries = [{**for_load_dataset(path), "split": f"train[:{count}]"} for path, count in counts]
        return _dump({"datasets": entries})
    pairs = zip(*_shares(mixture, sources), strict=True)
    return _dump(
        {"datasets": [{**for_load_dataset(path), "fraction": float(share)} for path, share in pairs]}
    )


def _megatron(mixture: Mixture, sources: Sources) -> str:
    """Return Megatron-LM's blend: `weight prefix weight prefix …`, for `--data-path $(cat FILE)`.

    `get_blend_from_list` of megatron.core.datasets.utils:
    https://docs.nvidia.com/megatron-core/developer-guide/latest/apidocs/core/core.datasets.utils.html

    Raises:
        MixtureError: If a path has a blank.
    """
    paths, shares = _shares(mixture, sources)
    for path in paths:
        if any(letter.isspace() for letter in path):
            raise MixtureError(
                f"Megatron separates its blend by blanks, so the prefix {path!r} cannot be written there"
            )
    return " ".join(f"{share} {path}" for path, share in zip(paths, shares, strict=True)) + "\n"


def _nemo(mixture: Mixture, sources: Sources) -> str:
    """Return NeMo's blend, the same list as YAML: `model.data.data_prefix: [weight, prefix, …]`.

    https://docs.nvidia.com/nemo-framework/user-guide/24.07/nemotoolkit/nlp/nemo_megatron/gpt/gpt_training.html
    """
    paths, shares = _shares(mixture, sources)
    blend = [item for path, share in zip(paths, shares, strict=True) for item in (float(share), path)]
    return _dump({"model": {"data": {"data_prefix": blend}}})


def _olmo_core(mixture: Mixture, sources: Sources) -> str:
    """Return OLMo-core's `SourceMixtureList`: `sources` of `source_name`, `target_ratio` and `paths`.

    https://github.com/allenai/OLMo-core/blob/main/src/olmo_core/data/source_mixture.py: ratios are in (0, 1]
    and sum to 1; read with `SourceMixtureList.from_yaml`. A path may be a glob of tokenised files.
    """
    names, weights = _members(mixture)
    shares = decimals(names, weights, sources.digits)
    return _dump(
        {
            "sources": [
                {"source_name": name, "target_ratio": float(share), "paths": [sources.path(name)]}
                for name, share in zip(names, shares, strict=True)
            ]
        }
    )


def _dump(content: Mapping[str, object]) -> str:
    import yaml

    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10**6)


_ALL = (
    Format("json", "exact weights; m2m reads them again", _json),
    Format("yaml", "exact weights by name", _yaml),
    Format("csv", "exact weights, a row a dataset", _csv),
    Format("interleave", "Python for Hugging Face interleave_datasets", _interleave),
    Format("llama-factory", "LLaMA-Factory's data arguments", _llama_factory),
    Format("llama-factory-info", "LLaMA-Factory's dataset_info.json", _llama_factory_info),
    Format("axolotl", "axolotl's datasets, as row counts", _axolotl),
    Format("trl", "TRL's dataset mixture; with --total as row counts", _trl),
    Format("megatron", "Megatron-LM's blend for --data-path", _megatron),
    Format("nemo", "NeMo's data_prefix", _nemo),
    Format("olmo-core", "OLMo-core's SourceMixtureList", _olmo_core),
)

#: Every format by the name users type.
FORMATS: dict[str, Format] = {one.name: one for one in _ALL}


def apportioned(weights: Sequence[float], total: int) -> list[int]:
    """Divide a total by the method of largest remainders (Hamilton); each share is off by less than 1.

    Args:
        weights: λ, not negative, summing to 1 but for rounding. [N]
        total: What is divided.

    Returns:
        Whole numbers that sum to `total`; of equal remainders the first goes up. [N]
    """
    exact = [Fraction(weight) for weight in weights]
    shares = [weight * total / sum(exact) for weight in exact]
    counts = [share.numerator // share.denominator for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda n: counts[n] - shares[n])
    for n in by_remainder[: total - sum(counts)]:
        counts[n] += 1
    return counts


def decimals(names: Sequence[str], weights: Sequence[float], digits: int) -> list[str]:
    """Write weights with a fixed number of decimals, so that what is written sums to exactly 1.

    Args:
        names: The dataset names, for the message. [N]
        weights: λ, all positive. [N]
        digits: Decimals.

    Returns:
        The numbers as text, each less than one unit of the last decimal off. [N]

    Raises:
        MixtureError: If a weight would be written as 0.
    """
    units = apportioned(weights, 10**digits)
    for name, weight, count in zip(names, weights, units, strict=True):
        if not count:
            raise MixtureError(
                f"the weight of {name!r}, {weight:.3g}, is 0 with {digits} digits; ask for more, or leave "
                f"it out"
            )
    return [f"{Decimal(count).scaleb(-digits):f}" for count in units]
