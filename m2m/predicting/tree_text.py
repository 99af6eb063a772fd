"""What predictions ask of LightGBM's model text: taken from a booster, checked, and made a booster again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: One tree under LightGBM's own names: a number a split, and a value a leaf. Children count splits from 0,
#: and leaves downwards from -1.
Tree = Mapping[str, list[Any]]

_SPLITS = {
    "split_feature": int,
    "threshold": float,
    "decision_type": int,
    "left_child": int,
    "right_child": int,
}
_NUMBERS = {**_SPLITS, "leaf_value": float}
#: How a parsed tree must look (see `check_shape`).
TREE_SHAPE: dict[str, Any] = {name: [kind] for name, kind in _NUMBERS.items()}
#: Decisions are bits: 1 splits by category, 2 says where a missing value goes, 4 and 8 what is missing.
_BY_CATEGORY, _DECISIONS = 1, 12


def trees_of(booster: Any) -> list[Tree]:
    """Take the trees out of a `lightgbm.Booster`; 17 digits in its text give a float64's bits back."""
    return [_tree(block) for block in booster.model_to_string().split("\nTree=")[1:]]


def booster_of(trees: Sequence[Tree], features: int) -> Any:
    """Make a `lightgbm.Booster` that sums these trees over so many features; none may have a `tree_fault`."""
    import lightgbm

    head = {
        "version": "v4",
        "num_class": 1,
        "num_tree_per_iteration": 1,
        "label_index": 0,
        "max_feature_idx": features - 1,
        "objective": "regression",
        "feature_names": " ".join(f"Column_{number}" for number in range(features)),
        "feature_infos": " ".join(["none"] * features),
    }
    blocks = [f"Tree={number}\n{_lines(_full(tree))}" for number, tree in enumerate(trees)]
    return lightgbm.Booster(model_str="\n\n".join([f"tree\n{_lines(head)}", *blocks, "end of trees", ""]))


def tree_fault(tree: Tree, features: int) -> str | None:
    """Why numbers of the shape are no tree over so many features, if so: LightGBM itself checks nothing."""
    leaves = len(tree["leaf_value"])
    splits = leaves - 1
    if leaves < 1 or any(len(tree[name]) != splits for name in _SPLITS):
        return "wanted one leaf more than it has splits"
    if any(not 0 <= feature < features for feature in tree["split_feature"]):
        return f"a split is by a feature that is none of {features}"
    if any(not 0 <= bits < _DECISIONS or bits & _BY_CATEGORY for bits in tree["decision_type"]):
        return "a split is of an unknown kind"
    children = [*tree["left_child"], *tree["right_child"]]
    parents = [*range(splits), *range(splits)]
    # A split's number is larger than its parent's, so that every way down ends.
    descends = all(child < 0 or child > parent for child, parent in zip(children, parents, strict=True))
    every = [*range(-leaves, 0), *range(1, splits)] if splits else []
    if not descends or sorted(children) != every:
        return "its splits and leaves do not hang together"
    return None


def _tree(block: str) -> Tree:
    lines = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
    return {name: [kind(word) for word in lines[name].split()] for name, kind in _NUMBERS.items()}


def _full(tree: Tree) -> dict[str, Any]:
    words = {name: " ".join(map(repr, tree[name])) for name in _NUMBERS}
    return {"num_leaves": len(tree["leaf_value"]), "num_cat": 0, **words, "is_linear": 0, "shrinkage": 1}


def _lines(table: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}={value}" for name, value in table.items())
