"""Classes of images and words by the folder's own processors: what transformers gives on what is merged."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.other_heads import LABELS, merged, scores_of, words, write_models, write_pictures
from torch.nn import functional

from m2m.errors import ConfigError, DataError
from m2m.scoring.live.huggingface import HuggingFaceFolder
from m2m.scoring.tasks import TaskOptions, load_tasks

transformers = pytest.importorskip("transformers", reason="needs the extra `huggingface`")
Image = pytest.importorskip("PIL.Image", reason="needs the extra `vision`")


def prepared(folder: Path, files: list[Path]) -> torch.Tensor:
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    found: torch.Tensor = processor([Image.open(file) for file in files], return_tensors="pt")["pixel_values"]
    return found


def load(task: str, base: Path, **options: Any) -> Any:
    [scorer] = load_tasks(task, Path(), lambda: HuggingFaceFolder(base), TaskOptions(**options))
    return scorer


def test_a_folder_of_images_is_classified_by_the_folder_s_own_processor(tmp_path: Path) -> None:
    base, files = write_models("vit", tmp_path), write_pictures(tmp_path / "pictures")
    task = f"classify:{tmp_path / 'pictures'}"
    scores = scores_of(tmp_path, task)
    model = transformers.ViTForImageClassification.from_pretrained(merged(tmp_path))
    labels = torch.tensor([LABELS["label2id"][file.parent.name] for file in files])
    with torch.no_grad():
        output = model(pixel_values=prepared(base, files), labels=labels)
    assert scores["a+b"] == pytest.approx(output.loss.item(), rel=1e-5)
    assert scores_of(tmp_path, task, "accuracy")["a+b"] == (output.logits.argmax(1) == labels).double().mean()
    assert scores_of(tmp_path, task, mode="streamed", memory="64MB") == scores


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_a_table_names_images_and_their_classes(tmp_path: Path, ending: str) -> None:
    base, files = write_models("vit", tmp_path), write_pictures(tmp_path / "pictures")
    rows = [{"image": f"pictures/{f.parent.name}/{f.name}", "label": f.parent.name} for f in files]
    table = tmp_path / f"table{ending}"
    lines = [json.dumps(row) for row in rows] if ending == ".jsonl" else ["image,label"]
    table.write_text("\n".join(lines if ending == ".jsonl" else lines + [",".join(r.values()) for r in rows]))
    whole, asked = load(f"classify:{tmp_path / 'pictures'}", base), load(f"classify:{table}", base)
    model = HuggingFaceFolder(base).build()
    assert sorted(asked(model).values["loss"]) == sorted(whole(model).values["loss"])


@pytest.mark.parametrize("limit", [0, -0.5, 1.5, math.nan, math.inf, 2**40])
def test_a_limit_is_a_number_of_examples_or_a_share_of_them(limit: float) -> None:
    with pytest.raises(ConfigError, match=r"^limit must be a number"):
        TaskOptions(limit=limit)


def test_a_limit_takes_some_of_each_class(tmp_path: Path) -> None:
    base = write_models("vit", tmp_path)
    write_pictures(tmp_path / "pictures")
    some = load(f"classify:{tmp_path / 'pictures'}", base, limit=3)
    assert [int(batch.reference["label"].sum()) for batch in some.batches()] == [0 + 1 + 2]


def test_images_are_matched_with_the_classes_names(tmp_path: Path) -> None:
    base, files = write_models("clip", tmp_path), write_pictures(tmp_path / "pictures")
    task = f"classify:{tmp_path / 'pictures'}"
    scores = scores_of(tmp_path, task, options=TaskOptions(class_text="w1 w2 {} w3"))
    model = transformers.CLIPModel.from_pretrained(merged(tmp_path))
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    texts = tokenizer(
        [f"w1 w2 {name} w3" for name in ("cat", "dog", "owl")], return_tensors="pt", padding=True
    )
    texts.pop("token_type_ids", None)
    labels = torch.tensor([LABELS["label2id"][file.parent.name] for file in files])
    with torch.no_grad():
        logits = model(pixel_values=prepared(base, files), **texts).logits_per_image
    assert scores["a+b"] == pytest.approx(functional.cross_entropy(logits, labels).item(), rel=1e-5)
    with pytest.raises(ConfigError, match=r"must hold {} once, got 'a photo'"):
        load(task, base, class_text="a photo")


def test_words_are_judged_at_their_first_tokens(tmp_path: Path) -> None:
    write_models("bert", tmp_path)
    rows = [
        {"tokens": words(4).split(), "labels": ["cat", "dog", "owl", "cat"]},
        {"tokens": words(2, 3).split(), "ner_tags": [1, -100]},
    ]
    file = tmp_path / "words.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    scores = scores_of(tmp_path, f"classify:{file}")
    model = transformers.BertForTokenClassification.from_pretrained(merged(tmp_path))
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "base")
    nats = 0.0
    for row, labels in zip(rows, [[0, 1, 2, 0, -100], [1, -100, -100]], strict=True):
        ids = tokenizer(row["tokens"], is_split_into_words=True, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0]
        nats += functional.cross_entropy(logits, torch.tensor(labels), reduction="sum").item()
    assert scores["a+b"] == pytest.approx(nats / 5, rel=1e-5)
    assert scores_of(tmp_path, f"classify:{file}", mode="streamed", memory="64MB") == scores


def test_classes_that_nobody_named_are_numbered_by_their_folders(tmp_path: Path) -> None:
    base = write_models("vit", tmp_path)
    config = json.loads((base / "config.json").read_text())
    config |= {"id2label": {str(at): f"LABEL_{at}" for at in range(3)}}
    config["label2id"] = {f"LABEL_{at}": at for at in range(3)}
    write_pictures(tmp_path / "pictures")
    named = load(f"classify:{tmp_path / 'pictures'}", base)
    (base / "config.json").write_text(json.dumps(config))
    assert load(f"classify:{tmp_path / 'pictures'}", base).version == named.version


def _rename(root: Path) -> None:
    (root / "pictures" / "dog").rename(root / "pictures" / "dogs")


def _spoil(root: Path) -> None:
    (root / "pictures" / "dog" / "1.png").write_text("no image")


def _forget_the_processor(root: Path) -> None:
    for file in root.glob("base/*processor_config.json"):
        file.unlink()


def _empty(root: Path) -> None:
    for file in root.glob("pictures/*/*.png"):
        file.unlink()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (_rename, "'dogs' is none of the model's 3 classes .did you mean 'dog'"),
        (_spoil, "cannot read an image .*dog/1.png: cannot identify"),
        (_forget_the_processor, "cannot read how images are prepared .preprocessor_config.json. in "),
        (_empty, "has no images: wanted a folder of images for each class"),
    ],
)
def test_images_that_cannot_be_classified_are_one_line(tmp_path: Path, change: Any, error: str) -> None:
    base = write_models("vit", tmp_path, ("base",))
    write_pictures(tmp_path / "pictures")
    change(tmp_path)
    with pytest.raises((ConfigError, DataError), match=error):
        load(f"classify:{tmp_path / 'pictures'}", base)
