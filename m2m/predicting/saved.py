"""A fitted predictor as a file: one JSON document of names and numbers, none of which is ever run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import numpy as np

from m2m.errors import InputError
from m2m.predicting.boosting import TreeModel
from m2m.predicting.gaussian_process import GaussianModel
from m2m.predicting.mixing_laws import MeanModel, MixingLaw, PowerLaw
from m2m.predicting.predictor import Predictor, require_libraries
from m2m.predicting.protocol import Constant, WeightedModels
from m2m.predicting.regression import Plain, Products, Roots, Standardised, WithLogarithms
from m2m.predicting.tree_text import TREE_SHAPE, booster_of, tree_fault, trees_of
from m2m.support.arrays import Floats
from m2m.support.doors import read_json, reading
from m2m.support.files import write_atomically
from m2m.support.schema import check_keys, check_shape, did_you_mean, repeated
from m2m.version import __version__

#: What the file says it is, and the version of its keys: one that reads otherwise gets another number.
_FORMAT, _VERSION = "m2m predictor", 1
_WHAT = "a predictor that `m2m predict --save` wrote"
#: The word for each part of a model in the file. Words stay when classes are renamed.
_KINDS: dict[str, type[Any]] = {
    "constant": Constant,
    "weighted": WeightedModels,
    "regression": Standardised,
    "weights": Plain,
    "roots": Roots,
    "logarithms": WithLogarithms,
    "products": Products,
    "log-linear law": MixingLaw,
    "power law": PowerLaw,
    "mean": MeanModel,
    "gaussian process": GaussianModel,
    "trees": TreeModel,
}
_WORDS = {kind: word for word, kind in _KINDS.items()}
_HEAD = {"format": str, "version": int}
_SHAPE = {
    **_HEAD,
    "m2m": str,
    "target": str,
    "domains": [str],
    "unseen": [str],
    "subsets": bool,
    "model": str,
    "weights": {str: float},
    "spearman": {str: float},
    "notes": [str],
    "residuals": [float],
    "fold_of": [int],
    "fitted": dict,
    "fold_models": [dict],
}


@dataclass(frozen=True)
class FittedPredictor:
    """A predictor, and of the table that it was fitted to what predicting other mixtures asks for.

    Attributes:
        target: The column of scores that it predicts.
        domains: The N domains, in the order of its weights.
        unseen: Those of them that no scored mixture has.
        subsets: Whether it was fitted to subsets rather than weights.
        predictor: The predictor.
    """

    target: str
    domains: tuple[str, ...]
    unseen: tuple[str, ...]
    subsets: bool
    predictor: Predictor

    def save(self, path: Path | str) -> None:
        """Write it as JSON, which `load_predictor` reads; what that predicts has the same bits.

        Args:
            path: The file, which is replaced in one step.
        """
        own = self.predictor
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "m2m": __version__,
            "target": self.target,
            "domains": self.domains,
            "unseen": self.unseen,
            "subsets": self.subsets,
            "model": own.name,
            "weights": own.weights,
            "spearman": own.spearman,
            "notes": own.notes,
            "residuals": own.residuals.tolist(),
            "fold_of": own.fold_of.tolist(),
            "fitted": _encoded(own.fitted),
            "fold_models": _encoded(own.fold_models),
        }
        lines = (f"{json.dumps(key)}: {json.dumps(part, allow_nan=False)}" for key, part in content.items())
        write_atomically(Path(path), "{\n" + ",\n".join(lines) + "\n}\n")


def load_predictor(path: Path | str) -> FittedPredictor:
    """Read a predictor that was saved.

    Args:
        path: The file.

    Returns:
        The predictor; it predicts what the saved one did, bit by bit.

    Raises:
        InputError: If the file is none, has another version, lacks a part, or its parts do not fit together.
    """
    require_libraries()
    path = Path(path)
    content = read_json(path, _WHAT, shape=_HEAD)
    where = f"{path} is not {_WHAT}"
    if content["format"] != _FORMAT:
        raise InputError(f"{where}: its format is {content['format']!r:.60}, wanted {_FORMAT!r}")
    if content["version"] != _VERSION:
        raise InputError(
            f"{path} has version {content['version']} of its format, this m2m ({__version__}) reads "
            f"{_VERSION}: fit it again, or read it with the m2m that wrote it"
        )
    check_shape(content, _SHAPE, where)
    check_keys(content, _SHAPE, str(path))
    _check_names(content, where)
    predictor = Predictor(
        content["model"],
        content["weights"],
        _decoded(content["fitted"], "fitted", where, len(content["domains"])),
        [
            _decoded(part, f"fold_models[{number}]", where, len(content["domains"]))
            for number, part in enumerate(content["fold_models"])
        ],
        np.array(content["residuals"], dtype=np.float64),
        np.array(content["fold_of"], dtype=np.intp),
        content["spearman"],
        tuple(content["notes"]),
    )
    found = FittedPredictor(
        content["target"],
        tuple(content["domains"]),
        tuple(content["unseen"]),
        content["subsets"],
        predictor,
    )
    _check_prediction(found, path)
    return found


def _check_names(content: Mapping[str, Any], where: str) -> None:
    domains, folds = content["domains"], len(content["fold_models"])
    if not domains or repeated(domains) is not None:
        raise InputError(f"{where}: domains are {domains!r:.60}, wanted one or more different names")
    if strange := [name for name in content["unseen"] if name not in domains]:
        raise InputError(f"{where}: unseen names {strange[0]!r:.60}, which is no domain")
    rows = len(content["residuals"])
    if not rows or len(content["fold_of"]) != rows or min(content["residuals"]) < 0:
        raise InputError(f"{where}: wanted a residual of at least 0 and a fold for each scored mixture")
    if any(not 0 <= fold < folds for fold in content["fold_of"]):
        raise InputError(f"{where}: fold_of names a fold that is none of {folds} fold_models")


def _check_prediction(found: FittedPredictor, path: Path) -> None:
    """Have it predict equal shares and every domain alone: what does not fit together cannot."""
    domains = len(found.domains)
    with reading(_WHAT, path), np.errstate(all="ignore"):
        tried = found.predictor.predict(np.vstack([np.full((1, domains), 1 / domains), np.eye(domains)]))
        finite = all(np.isfinite(part).all() for part in (tried.mean, tried.std, tried.low, tried.high))
        if tried.mean.shape != (domains + 1,) or not finite:
            raise ValueError("what it predicts is not a finite number a mixture")


def _encoded(part: Any) -> Any:
    """Part of a model as JSON has it; numbers are written with the digits that give their bits back."""
    if isinstance(part, TreeModel):
        numbers = {"centre": part.centre, "scale": part.scale}
        return {"kind": _WORDS[TreeModel], **numbers, "trees": trees_of(part.booster)}
    if isinstance(part, WeightedModels):
        part = part.used()
    if is_dataclass(part):
        values = {field.name: _encoded(getattr(part, field.name)) for field in fields(part)}
        return {"kind": _WORDS[type(part)], **values}
    if isinstance(part, np.ndarray):
        return part.tolist()
    return [_encoded(one) for one in part] if isinstance(part, list | tuple) else float(part)


def _decoded(part: Any, place: str, where: str, domains: int) -> Any:
    """Make the part of a model that a JSON object describes."""
    at = f"{where}: {place}"
    check_shape(part, {"kind": str}, at)
    kind = _KINDS.get(part["kind"])
    if kind is None:
        raise InputError(
            f"{at}.kind is {part['kind']!r:.60}{did_you_mean(part['kind'], _KINDS)}, which is no model"
        )
    if kind is TreeModel:
        return _decoded_trees(part, at, domains)
    hints = get_type_hints(kind)
    check_shape(part, {name: _shape(hint) for name, hint in hints.items()}, at)
    check_keys(part, ["kind", *hints], at)
    values: dict[str, Any] = {}
    for name, hint in hints.items():
        value = part[name]
        if hint == Floats:
            with reading(f"an array at {place}.{name}", where):
                value = np.array(value, dtype=np.float64)
        elif isinstance(value, list):
            value = [_decoded(one, f"{place}.{name}[{i}]", where, domains) for i, one in enumerate(value)]
        elif isinstance(value, dict):
            value = _decoded(value, f"{place}.{name}", where, domains)
        values[name] = value if hint is not float else float(value)
    return kind(**values)


def _decoded_trees(part: Mapping[str, Any], at: str, domains: int) -> TreeModel:
    shape = {"kind": str, "centre": float, "scale": float, "trees": [TREE_SHAPE]}
    check_shape(part, shape, at)
    check_keys(part, shape, at)
    for number, tree in enumerate(part["trees"]):
        check_keys(tree, TREE_SHAPE, f"{at}.trees[{number}]")
        if fault := tree_fault(tree, domains):
            raise InputError(f"{at}.trees[{number}]: {fault}")
    return TreeModel(booster_of(part["trees"], domains), float(part["centre"]), float(part["scale"]))


def _shape(hint: Any) -> Any:
    if hint is float:
        return float
    if hint == Floats:
        return ([float], [[float]])
    return [dict] if get_origin(hint) is Sequence else dict
