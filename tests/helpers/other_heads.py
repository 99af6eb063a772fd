"""Tiny models with other heads than a causal language model's, as folders with what reads their inputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import m2m
from m2m.scoring.table import ScoreTable

#: Sizes that all of them share.
SIZES: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip
WORDS = ["<pad>", "<s>", "</s>", "<image>", *(f"w{at}" for at in range(40))]
TEXT: dict[str, Any] = {
    **SIZES, "vocab_size": len(WORDS), "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
SIGHT: dict[str, Any] = {**SIZES, "image_size": 16, "patch_size": 8}
LABELS = {"id2label": {0: "cat", 1: "dog", 2: "owl"}, "label2id": {"cat": 0, "dog": 1, "owl": 2}}


def write_words_tokenizer(folder: Path) -> None:
    """Write a tokenizer of words `w0` to `w39` that ends every text with `</s>`."""
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", WORDS.index("</s>"))]
    )
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def write_image_processor(folder: Path) -> None:
    """Write how images are brought to 16 × 16 pixels."""
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)


def _llava() -> Any:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    parts = {"text_config": LlamaConfig(**TEXT), "vision_config": CLIPVisionConfig(**SIGHT)}
    return LlavaForConditionalGeneration(LlavaConfig(**parts, image_token_id=3, image_seq_length=4))


def _t5() -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(
        T5Config(vocab_size=len(WORDS), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    )


#: What BART and its kin call the same sizes.
PAIRED: dict[str, Any] = {
    **{f"{side}_{what}": 2 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")},
    "d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "vocab_size": len(WORDS),
}  # fmt: skip


def _bart() -> Any:
    from transformers import BartConfig, BartForConditionalGeneration

    return BartForConditionalGeneration(BartConfig(**PAIRED, decoder_start_token_id=2))


def _marian() -> Any:
    from transformers import MarianConfig, MarianMTModel

    return MarianMTModel(MarianConfig(**PAIRED, decoder_start_token_id=0))


def _pegasus() -> Any:
    from transformers import PegasusConfig, PegasusForConditionalGeneration

    return PegasusForConditionalGeneration(PegasusConfig(**PAIRED, decoder_start_token_id=0))


def _vit() -> Any:
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(ViTConfig(**SIGHT, **LABELS))


def _clip() -> Any:
    from transformers import CLIPConfig, CLIPModel

    return CLIPModel(CLIPConfig(text_config=TEXT, vision_config=SIGHT, projection_dim=8))


def _bert() -> Any:
    from transformers import BertConfig, BertForTokenClassification

    return BertForTokenClassification(BertConfig(**TEXT, **LABELS))


def _whisper() -> Any:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    sizes = {f"{side}_{what}": 2 for side in ("encoder", "decoder") for what in ("layers", "attention_heads")}
    widths = {"d_model": 16, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_target_positions": 64}
    sound = {"num_mel_bins": 4, "max_source_positions": 10}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    return WhisperForConditionalGeneration(
        WhisperConfig(**sizes, **widths, **sound, **special, vocab_size=len(WORDS))
    )


def _embedder() -> Any:
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(**TEXT))


#: Kind to what builds one with random weights.
KINDS: dict[str, Callable[[], Any]] = {
    "llava": _llava, "t5": _t5, "bart": _bart, "marian": _marian, "pegasus": _pegasus, "vit": _vit,
    "clip": _clip, "bert": _bert, "whisper": _whisper, "embedder": _embedder,
}  # fmt: skip


def write_models(kind: str, root: Path, names: tuple[str, ...] = ("base", "a", "b")) -> Path:
    """Write a base model and experts of a kind, each with other weights; returns the base's folder."""
    for seed, name in enumerate(names):
        torch.manual_seed(seed)
        KINDS[kind]().save_pretrained(root / name)
        write_words_tokenizer(root / name)
        if kind in ("vit", "clip"):
            write_image_processor(root / name)
    return root / names[0]


def write_pictures(folder: Path, each: int = 3) -> list[Path]:
    """Write a folder of random pictures of several sizes for each of the classes cat, dog and owl."""
    import numpy as np
    from PIL import Image

    draw, files = np.random.default_rng(0), []
    for name in LABELS["label2id"]:
        (folder / name).mkdir(parents=True)
        for at in range(each):
            files.append(folder / name / f"{at}.png")
            Image.fromarray(draw.integers(0, 255, (20 + at, 18, 3), dtype=np.uint8)).save(files[-1])
    return files


def scores_of(root: Path, task: str, metric: str = "loss", **more: Any) -> dict[str, float]:
    """Score all candidates of the experts `a` and `b` and return the metric of each."""
    out = root / f"{more.get('mode', 'resident')}.csv"
    options = {"mode": "resident", "context": 16} | more
    m2m.score(root / "base", {"a": root / "a", "b": root / "b"}, tasks=[task], out=out, **options)
    with ScoreTable(out.with_suffix(".sqlite")) as table:
        return {row.candidate: row.value for row in table.rows(metric=metric)}


def merged(root: Path) -> Path:
    """Merge `a` and `b` half and half to disk, as `m2m merge` does."""
    models = [{"model": str(root / name), "parameters": {"weight": 0.5}} for name in ("a", "b")]
    recipe = {"merge_method": "linear", "base_model": str(root / "base"), "models": models}
    (root / "recipe.yml").write_text(json.dumps(recipe))
    m2m.merge(root / "recipe.yml", root / "merged")
    return root / "merged"


def words(count: int, first: int = 0) -> str:
    """Say so many words of the tokenizer's."""
    return " ".join(f"w{(first + 7 * at) % 40}" for at in range(count))
