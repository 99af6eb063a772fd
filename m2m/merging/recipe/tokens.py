"""The `tokenizer` of a recipe: whose vocabulary the output has, and where single tokens' rows come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from m2m.errors import RecipeError
from m2m.merging.recipe.keys import as_mapping, check_keys
from m2m.merging.recipe.models import ModelRef, read_model

_KINDS = ("zero", "model_token")


@dataclass(frozen=True)
class TokenSource:
    """Where a token's row is taken from; zeros if no model is named."""

    #: The model.
    model: ModelRef | None = None
    #: Which of its tokens; the same one when neither this nor `token_id` is given.
    token: str | None = None
    #: Which of its rows.
    token_id: int | None = None


@dataclass(frozen=True)
class TokenSetting:
    """What a recipe says of one token."""

    #: Where its row comes from, in models that lack the token; None leaves it to the usual rule.
    source: TokenSource | None = None
    #: Whether it comes from there in every model.
    force: bool = False


@dataclass(frozen=True)
class TokenizerSetting:
    """What a recipe says of the output's vocabulary."""

    #: Whose tokenizer it is: a model's, the base model's, or that one with all other models' tokens added.
    source: ModelRef | Literal["base", "union"] = "union"
    #: Settings by token; those that the tokenizer lacks are added to it.
    tokens: Mapping[str, TokenSetting] = field(default_factory=dict)
    #: The number of rows is a multiple of this.
    multiple: int = 1


def read_tokenizer_setting(data: Mapping[str, Any]) -> TokenizerSetting | None:
    """Read `tokenizer_source` or `tokenizer` of a recipe; None where it has neither."""
    if data.get("tokenizer") is None:
        source = data.get("tokenizer_source")
        return None if source is None else TokenizerSetting(_source(source, data, "tokenizer_source"))
    if data.get("tokenizer_source") is not None:
        raise RecipeError("tokenizer and tokenizer_source exclude each other")
    table = as_mapping(data["tokenizer"], "tokenizer")
    check_keys(table, ("source", "tokens", "pad_to_multiple_of"), "tokenizer")
    multiple = table.get("pad_to_multiple_of")
    if multiple is not None and (type(multiple) is not int or not 1 <= multiple <= 1 << 20):
        raise RecipeError(
            f"tokenizer.pad_to_multiple_of must be a whole number from 1 to {1 << 20}, got {multiple!r}"
        )
    tokens = as_mapping(table.get("tokens"), "tokenizer.tokens")
    return TokenizerSetting(
        _source(table.get("source", "union"), data, "tokenizer.source"),
        {_token(token): _setting(value, f"tokenizer.tokens.{token}") for token, value in tokens.items()},
        multiple or 1,
    )


def _source(value: object, data: Mapping[str, Any], where: str) -> ModelRef | Literal["base", "union"]:
    if value == "union":
        return "union"
    if value == "base":
        if data.get("base_model") is None:
            raise RecipeError(f"{where} is base, but there is no base_model")
        return "base"
    return read_model(value, where)


def _token(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise RecipeError(f"tokenizer.tokens: {value!r} is no token; write it in quotes")
    return value


def _setting(value: object, where: str) -> TokenSetting:
    table = as_mapping(value, where)
    check_keys(table, ("source", "force"), where)
    force = table.get("force", False)
    if not isinstance(force, bool):
        raise RecipeError(f"{where}.force must be true or false, got {force!r}")
    source = None if table.get("source") is None else _token_source(table["source"], f"{where}.source")
    if force and source is None:
        raise RecipeError(f"{where}: force needs a source")
    return TokenSetting(source, force)


def _token_source(value: object, where: str) -> TokenSource:
    if not isinstance(value, Mapping) or "kind" not in value:
        return TokenSource(read_model(value, where))
    kind = value["kind"]
    if kind not in _KINDS:
        raise RecipeError(f"{where}.kind must be zero or model_token, got {kind!r}")
    check_keys(value, ("kind",) if kind == "zero" else ("kind", "model", "token", "token_id"), where)
    if kind == "zero":
        return TokenSource()
    token, token_id = value.get("token"), value.get("token_id")
    if (token is None) == (token_id is None):
        raise RecipeError(f"{where} must have one of token and token_id")
    if token is not None and not isinstance(token, str):
        raise RecipeError(f"{where}.token must be a text, got {token!r}")
    if token_id is not None and (type(token_id) is not int or token_id < 0):
        raise RecipeError(f"{where}.token_id must be a whole number, 0 or more, got {token_id!r}")
    return TokenSource(read_model(value.get("model"), f"{where}.model"), token, token_id)
