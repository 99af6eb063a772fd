"""What makes the average of two models meaningless though their tensors fit: other settings, other tokens."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from m2m.checkpoint.checkpoint import Checkpoint
from m2m.checkpoint.tokenizer import chat_template, vocabulary

#: Settings that change nothing of what a forward pass computes from its weights.
_HARMLESS = frozenset({
    "_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache", "architectures", "auto_map",
    "initializer_range", "initializer_factor", "_attn_implementation", "attn_implementation",
    "output_attentions", "output_hidden_states", "return_dict", "gradient_checkpointing",
    "task_specific_params", "finetuning_task",
    "problem_type", "id2label", "label2id", "unsloth_version", "unsloth_fixed", "max_position_embeddings",
    "n_positions", "n_ctx", "max_length", "pretraining_tp", "bos_token_id", "eos_token_id", "pad_token_id",
    "tie_word_embeddings", "quantization_config", "keys_to_ignore_at_inference", "router_jitter_noise",
    "output_router_logits", "router_aux_loss_coef", "license", "custom_pipelines", "num_hidden_layers",
    "n_layer", "num_layers", "layer_types", "max_window_layers",
})  # fmt: skip
#: Settings that every configuration states, or whose absence means the default that is here.
_STATED = {
    "rope_theta": 10000.0, "rope_scaling": None, "sliding_window": None, "hidden_act": None,
    "activation_function": None, "rms_norm_eps": None, "layer_norm_eps": None, "layer_norm_epsilon": None,
}  # fmt: skip
#: Words that a message shows.
_SHOWN = 3


def differences(
    donor: Checkpoint, model: Checkpoint, *, words: bool = True, templates: bool = True
) -> list[str]:
    """Say what makes it doubtful that two models' weights mean the same.

    Args:
        donor: The model whose configuration and tokenizer a merge takes.
        model: Another that it is merged with.
        words: Whether ids of tokens count: not where rows are put together by token.
        templates: Whether chat templates count: not where another than the donor's is written.

    Returns:
        One line for each of: settings of config.json that differ and change what weights compute; ids that
        tokenizers give to other words; chat templates. Empty for models that store neither.

    Raises:
        CheckpointError: If a configuration is no JSON.
    """  # noqa: DOC502 - raised by what is called
    found = []
    ignored = _HARMLESS if words else _HARMLESS | {"vocab_size"}
    settings = [*_settings(donor.config, model.config, ignored)]
    if settings:
        found.append(
            f"{model.path}: config.json differs from that of {donor.path}, which the merged model gets: "
            + ", ".join(f"{key} is {_said(theirs)} (there {_said(ours)})" for key, ours, theirs in settings)
        )
    if words:
        found += _words(donor, model)
    ours, theirs = chat_template(donor), chat_template(model)
    if templates and ours and theirs and ours != theirs:
        found.append(f"{model.path}: has another chat template than {donor.path}, whose is kept")
    return found


def _settings(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], ignored: Collection[str]
) -> Iterator[tuple[str, Any, Any]]:
    one, other = dict(_flat(ours)), dict(_flat(theirs))
    for key in dict.fromkeys((*one, *other)):
        last = key.rpartition(".")[2]
        if last in ignored or "dropout" in last:
            continue
        if not one or not other or (last not in _STATED and not (key in one and key in other)):
            continue
        default = _STATED.get(last)
        a, b = one.get(key, default), other.get(key, default)
        if a != b:
            yield key, a, b


def _said(value: Any) -> str:
    return "not said" if value is None else str(value)


def _flat(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if key == "rope_parameters" and isinstance(value, Mapping):  # as transformers 5 writes them
            value = dict(value)
            yield f"{before}rope_theta", value.pop("rope_theta", None)
            if value.pop("rope_type", "default") != "default" or value:
                yield f"{before}rope_scaling", value
        elif key in ("rope_scaling", *_HARMLESS) or not isinstance(value, Mapping):
            yield before + key, value
        else:
            yield from _flat(value, f"{before}{key}.")


def _words(donor: Checkpoint, model: Checkpoint) -> list[str]:
    one, other = vocabulary(donor), vocabulary(model)
    if not one or not other or one == other:
        return []
    moved = [word for word, number in one.items() if other.get(word, number) != number]
    taken = {number: word for word, number in one.items()}
    moved += [w for w, number in other.items() if w not in one and taken.get(number, w) not in other]
    if moved:
        shown = ", ".join(
            f"{word!r} is {other.get(word, 'none')} (there {one.get(word, 'none')})"
            for word in moved[:_SHOWN]
        )
        return [
            f"{model.path}: its tokenizer gives other ids to {len(moved)} tokens than that of {donor.path}: "
            f"{shown}; rows of embedding and head are averaged by id, so they mix words (in a recipe, "
            "tokenizer_source: union or base puts them together by token)"
        ]
    added = len(other.keys() - one.keys())
    return (
        [f"{model.path}: its tokenizer has {added} tokens more than that of {donor.path}, whose is kept"]
        if added
        else []
    )
