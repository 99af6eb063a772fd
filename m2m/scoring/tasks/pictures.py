"""Classification of images, by the model's classes or by how well it matches them with the classes' names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from m2m.checkpoint.heads import Head
from m2m.errors import ConfigError, DataError
from m2m.scoring.tasks.classification import ClassificationScorer, content_hash
from m2m.scoring.tasks.labelled import Labelled, class_numbers, labelled_pictures
from m2m.scoring.tasks.scorer import TaskBatch
from m2m.support.doors import reading

#: Images that are read and prepared at once.
_TOGETHER = 32


@runtime_checkable
class Sees(Protocol):
    """What a task needs to know of a model that sees, besides its weights."""

    @property
    def head(self) -> Head:
        """What the model makes of what it reads."""

    @property
    def classes(self) -> Mapping[str, int]:
        """The number of each class, by name."""

    def look(self, images: Sequence[Any]) -> dict[str, Tensor]:
        """Turn images (of PIL) into arguments of the model's forward. each [images, ...]."""

    def class_texts(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Turn texts that images are matched with into arguments of the forward. each [texts, ...]."""


def picture_scorer(
    path: Path, model: object, *, limit: float | None, class_text: str
) -> ClassificationScorer:
    """Make the task of a folder of images, or of a table with their paths.

    Args:
        path: See `labelled_pictures`.
        model: What sees them.
        limit: Most images used; None for all.
        class_text: What stands around a class's name, `{}`, for a model that matches images with texts.

    Returns:
        The task.

    Raises:
        ConfigError: If the model sees nothing, or `class_text` has no place for a name.
        DataError: If a file is no image, or of no class.
    """  # noqa: DOC502 - partly raised by what is called
    task = f"classify:{path.name}"
    if not isinstance(model, Sees):
        raise ConfigError(f"the task {task} needs a Hugging Face folder that says how images are prepared")
    items = labelled_pictures(path, limit)
    seen = _prepared(items, model)
    if model.head is Head.IMAGE_CLASSES:
        return ClassificationScorer(task, seen, torch.tensor(class_numbers(items, model.classes)))
    if class_text.count("{}") != 1:
        raise ConfigError(f"the text around a class's name must hold {{}} once, got {class_text!r:.80}")
    names = sorted({str(item.label) for item in items})
    texts = model.class_texts([class_text.format(name) for name in names])
    return MatchingScorer(task, seen, torch.tensor([names.index(str(item.label)) for item in items]), texts)


class MatchingScorer(ClassificationScorer):
    """Accuracy and cross-entropy of a model that says how well each image fits to each class's text (CLIP).

    Args:
        task: Name of the task.
        inputs: Keyword arguments of the model's forward that are of images. each [E, ...]
        labels: Class numbers from 0, int64. [E]
        texts: Keyword arguments of the forward that are of the classes' texts. each [K, ...]
    """

    def __init__(
        self, task: str, inputs: Mapping[str, Tensor], labels: Tensor, texts: Mapping[str, Tensor]
    ) -> None:
        super().__init__(task, inputs, labels)
        self._texts = texts
        self.version = content_hash({**inputs, **texts}, labels, "matching 1")

    def batches(self, examples: Sequence[int] | None = None) -> Iterator[TaskBatch]:
        """Walk over examples in batches; every batch has all texts."""
        for batch in super().batches(examples):
            yield TaskBatch({**batch.inputs, **self._texts}, batch.reference)

    def judge(self, output: Any, batch: TaskBatch) -> dict[str, Tensor]:
        """Judge how well each image fits to each text, [B, K]. each [B]."""
        return super().judge(getattr(output, "logits_per_image", output), batch)


def _prepared(items: Sequence[Labelled], model: Sees) -> dict[str, Tensor]:
    parts = [
        model.look([_opened(item.row["image"]) for item in items[at : at + _TOGETHER]])
        for at in range(0, len(items), _TOGETHER)
    ]
    shapes = {name: {part[name].shape[1:] for part in parts} for name in parts[0]}
    if uneven := [name for name, found in shapes.items() if len(found) > 1]:
        raise DataError(
            f"{items[0].where} and others: the image processor gives {uneven[0]} of several sizes"
        )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _opened(path: Path) -> Any:
    from PIL import Image

    with reading("an image", path, DataError), Image.open(path) as file:
        return file.convert("RGB")
