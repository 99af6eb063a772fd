"""Open the models that a recipe names, adapters among them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.checks import check_ties
from m2m.errors import RecipeError
from m2m.merging.lora.adapted import AdaptedCheckpoint
from m2m.merging.lora.adapter import Adapter, is_adapter
from m2m.merging.recipe.models import ModelRef


def open_models(refs: Iterable[ModelRef], base: ModelRef | None) -> dict[ModelRef, Checkpoint]:
    """Open models: checkpoints, `model+adapter`, and adapters alone, which go on top of the base model.

    Args:
        refs: The models.
        base: The recipe's base model.

    Returns:
        An open checkpoint for each; the same base model is opened once.

    Raises:
        RecipeError: If an adapter stands alone without a base model, or the base model itself is adapted.
        CheckpointError: If a model cannot be opened, or an adapter is another model's.
    """  # noqa: DOC502 - raised by what is called
    if base is not None and (base.lora is not None or is_adapter(base.path)):
        raise RecipeError(
            f"base_model {base} is an adapter on a model: name the model itself as base_model, or write the "
            "adapted model first (passthrough)"
        )
    known: dict[Path, Checkpoint] = {}

    def dense(path: str, revision: str | None) -> Checkpoint:
        checkpoint = Checkpoint(path, revision)
        place = checkpoint.path.resolve()
        if place not in known:
            check_ties(checkpoint)
            known[place] = checkpoint
        return known[place]

    def open_one(ref: ModelRef) -> Checkpoint:
        if ref.lora is not None:
            return AdaptedCheckpoint(dense(ref.path, ref.revision), Adapter(ref.lora, ref.lora_revision))
        if not is_adapter(ref.path):
            return dense(ref.path, ref.revision)
        if base is None:
            raise RecipeError(f"{ref} is an adapter: name its base_model, or write MODEL+{ref}")
        return AdaptedCheckpoint(dense(base.path, base.revision), Adapter(ref.path, ref.revision))

    return {ref: open_one(ref) for ref in refs}
