"""What a Hugging Face model is for, and which of transformers' classes builds it, as config.json says."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Head(StrEnum):
    """What a model makes of what it reads; the values are what messages call it."""

    CAUSAL = "a causal language model"
    ENCODER_DECODER = "an encoder-decoder of text"
    SPEECH = "an encoder-decoder of speech"
    TEXT_CLASSES = "a classifier of texts"
    TOKEN_CLASSES = "a classifier of tokens"
    IMAGE_CLASSES = "a classifier of images"
    IMAGE_TEXTS = "a model that matches images with texts"
    MASKED = "a masked language model"
    BARE = "a model without a head"
    OTHER = "a model of another kind"


#: Transformers' auto classes and their heads, in the order in which an architecture is looked for among them.
AUTO_CLASSES = {
    "AutoModelForCausalLM": Head.CAUSAL,
    "AutoModelForSeq2SeqLM": Head.ENCODER_DECODER,
    "AutoModelForImageTextToText": Head.CAUSAL,
    "AutoModelForMultimodalLM": Head.CAUSAL,
    "AutoModelForSpeechSeq2Seq": Head.SPEECH,
    "AutoModelForSequenceClassification": Head.TEXT_CLASSES,
    "AutoModelForTokenClassification": Head.TOKEN_CLASSES,
    "AutoModelForImageClassification": Head.IMAGE_CLASSES,
    "AutoModelForZeroShotImageClassification": Head.IMAGE_TEXTS,
    "AutoModelForMaskedLM": Head.MASKED,
    "AutoModel": Head.BARE,
}
#: What an architecture that transformers does not know is taken for, by the end of its name.
_ENDINGS = {
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
    "ForImageClassification": "AutoModelForImageClassification",
    "ForMaskedLM": "AutoModelForMaskedLM",
}


def model_class(config: Any, *, trust: bool) -> tuple[str, Head]:
    """Choose the class that builds a model.

    The architecture that the configuration names decides. It is looked for among the folder's own classes,
    where their code is trusted, then among those that transformers' auto classes build. One that no auto
    class builds is built by itself.

    Args:
        config: The configuration, as transformers reads it.
        trust: Whether Python code in the folder may run.

    Returns:
        The name of one of transformers' classes, and the model's head. Where nothing is known of the
        architecture it is taken for a causal language model, or by the end of its name.
    """
    architecture = _architecture(config)
    name = (
        (_own_auto_class(config, architecture) if trust else None)
        or _auto_class(config, architecture)
        or _plain_class(config, architecture)
        or next((auto for end, auto in _ENDINGS.items() if architecture.endswith(end)), None)
        or "AutoModelForCausalLM"
    )
    head = AUTO_CLASSES.get(name, Head.OTHER)
    if head is Head.CAUSAL and any(_has_encoder(part) for part in (config, text_config(config))):
        head = Head.ENCODER_DECODER
    return name, head


def text_config(config: Any) -> Any:
    """Return the part of a configuration that is about text; of a model that only reads, all of it."""
    return config.get_text_config()


def _has_encoder(config: Any) -> bool:
    return bool(getattr(config, "is_encoder_decoder", False))


def _architecture(config: Any) -> str:
    names = config.architectures
    return str(names[0]) if isinstance(names, list) and names else ""


def _own_auto_class(config: Any, architecture: str) -> str | None:
    # `auto_map` says {"AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}; of several, the architecture's.
    own = getattr(config, "auto_map", None)
    known = {name: str(own[name]) for name in AUTO_CLASSES if name in own} if isinstance(own, dict) else {}
    named = [name for name, where in known.items() if where.rpartition(".")[2] == architecture]
    return next(iter([*named, *known]), None)


def _auto_class(config: Any, architecture: str) -> str | None:
    import transformers

    for name in AUTO_CLASSES:
        classes = getattr(getattr(transformers, name, None), "_model_mapping", {})
        if type(config) not in classes:
            continue
        found = classes[type(config)]
        names = [kind.__name__ for kind in (found if isinstance(found, tuple) else (found,))]
        if not architecture or architecture == names[0]:
            return name
    return None


def _plain_class(config: Any, architecture: str) -> str | None:
    import transformers

    kind = getattr(transformers, architecture, None) if architecture else None
    fits = isinstance(kind, type) and isinstance(config, getattr(kind, "config_class", None) or ())
    return architecture if fits else None
