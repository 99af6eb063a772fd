"""The top of a causal language model: the blocks that are trained, the last norm and the head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from m2m.errors import ConfigError


class TopOfModel(nn.Module):
    """What of a causal language model lies above its trunk; tensors keep the names of the whole model.

    Args:
        whole: The model, with `requires_grad` where it is trained; it is taken apart.
        first: Number of the first block that is trained.
        trunk: Gives what the trunk makes of tokens: int64 [B, T] to [B, T, D].
        another: Gives a whole model whose trained tensors may be written over.
    """

    def __init__(
        self, whole: Any, first: int, trunk: Callable[[Tensor], Tensor], another: Callable[[], Any]
    ) -> None:
        super().__init__()
        self._trunk, self._another = trunk, another
        blocks = blocks_of(whole)
        for number in range(first):
            blocks[number] = _Passed(blocks[number])
        for name, child in whole.named_children():
            self.add_module(name, child)
        self._body = whole.base_model_prefix
        head = whole.get_output_embeddings()
        self._head = next(name for name, child in whole.named_children() if child is head)
        for module in self.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                if not parameter.requires_grad:  # no part of the state: it is the folder's in every model
                    delattr(module, name)
                    module.register_buffer(name, parameter.detach(), persistent=False)

    def hidden(self, inputs_embeds: Tensor) -> Tensor:
        """Run everything but the head: the trunk's output [B, T, D] to [B, T, D]."""
        body = self.get_submodule(self._body)
        out: Tensor = body(inputs_embeds=inputs_embeds, use_cache=False).last_hidden_state
        return out

    def forward(
        self,
        input_ids: Tensor | None = None,
        *,
        inputs_embeds: Tensor | None = None,
        learnt: Tensor | None = None,
    ) -> Tensor:
        """Predict tokens from tokens, or from what the trunk makes of them.

        Args:
            input_ids: Tokens. int64 [B, T]
            inputs_embeds: The trunk's output, where it is at hand. [B, T, D]
            learnt: After which tokens the next one is asked for; None: after all. bool [B, T]

        Returns:
            Logits [B, T, V]; with `learnt` of its A positions alone, in their order. [A, V]

        Raises:
            ValueError: If there is nothing to predict from.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("the top of a model predicts from `input_ids` or `inputs_embeds`")
            inputs_embeds = self._trunk(input_ids)
        hidden = self.hidden(inputs_embeds)
        logits: Tensor = self.get_submodule(self._head)(hidden if learnt is None else hidden[learnt])
        return logits

    def whole(self) -> Any:
        """Put the top back on a whole model: for what runs models in its own way, as writing text does.

        Returns:
            The model of transformers, with the weights that the top has now; the next call may write others
            into it.
        """
        model = self._another().to(next(self.parameters()).device)
        model.load_state_dict(self.state_dict(), strict=False)
        return model


class _Passed(nn.Module):
    """Stands where a block of the trunk was, whose work is done."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.attention_type = getattr(block, "attention_type", None)  # some models ask each block for it

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        return hidden_states


def blocks_of(model: Any) -> nn.ModuleList:
    """Find the list of a model's blocks, which is as long as its configuration says."""
    count = getattr(model.config, "num_hidden_layers", None)
    found = [
        module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    if len(found) != 1:
        raise ConfigError(
            f"[setup.base]: `cache_trunk` is for models that are one row of blocks; {type(model).__name__} "
            f"has {len(found)} lists of {count} modules: leave it out"
        )
    return found[0]


def first_trained_block(model: Any) -> int:
    """Number of the first block with a trained parameter; all below it are the trunk.

    Args:
        model: The whole model, with `requires_grad` where it is trained.

    Returns:
        Its number.

    Raises:
        ConfigError: If nothing lies below, or something that the trunk needs is trained.
    """
    blocks = blocks_of(model)
    trained = [any(p.requires_grad for p in block.parameters()) for block in blocks]
    what = "no block" if not any(trained) else "block 0" if trained[0] else ""
    if any(p.requires_grad for p in model.get_input_embeddings().parameters()):
        what = "the embeddings (perhaps as the head, which shares them)"
    if what:
        raise ConfigError(
            "[setup.base]: `cache_trunk` keeps what lies below the first trained block, and `trainable` "
            f"names {what}: name the last blocks, as in trainable = ['layers\\.{len(blocks) - 1}\\.']"
        )
    return trained.index(True)
