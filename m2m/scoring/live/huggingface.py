"""A Hugging Face model folder: its module in its own dtype, and how its files make it up."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import nn

from m2m.checkpoint.heads import Head, text_config
from m2m.checkpoint.hugging_face import build_hollow_model, load_model
from m2m.checkpoint.layout import Layout
from m2m.scoring.live.huggingface_inputs import HuggingFaceInputs, stored_dtype


class HuggingFaceFolder(HuggingFaceInputs):
    """A folder with configuration, weights and tokenizer, opened as its inputs are."""

    _layout: Layout | None = None

    @property
    def architecture(self) -> str:
        """Content hash of the configuration, and of the code that is trusted."""
        content = hashlib.sha256((self._folder / "config.json").read_bytes())
        for file in sorted(self._folder.glob("*.py")) if self._trust else ():
            content.update(f"\n{file.name}\n".encode() + file.read_bytes())
        return content.hexdigest()[:16]

    def build_empty(self) -> nn.Module:
        """Build the module without reading weights, in the dtype that they are stored in.

        Returns:
            The module, in evaluation mode, its weights on the meta device.
        """
        module, self._layout = build_hollow_model(self._folder, self._auto, self._config, **self._how)
        return self._ready(module)

    def layout(self) -> Layout:
        """Say how the tensors of a folder of this model make up the module's.

        Returns:
            What transformers does with the tensors of this folder.
        """
        if self._layout is None:
            self.build_empty()
        assert self._layout is not None
        return self._layout

    def build(self) -> nn.Module:
        """Build the module with the folder's weights, in the dtype that they are stored in.

        Returns:
            The module, in evaluation mode.
        """
        return self._ready(load_model(self._folder, self._auto, self._config, **self._how))

    @property
    def _how(self) -> dict[str, Any]:
        return {"trust": self._trust, "dtype": stored_dtype(self._folder)}

    def _ready(self, model: Any) -> nn.Module:
        # Scoring reads every row once: keys and values kept would be waste.
        model.config.use_cache = text_config(model.config).use_cache = False
        if self.head is Head.ENCODER_DECODER:
            begin = getattr(model.config, "decoder_start_token_id", None)
            # T5's configuration may leave out what a decoder begins with.
            model.config.decoder_start_token_id = self.pad if begin is None else begin
        module: nn.Module = model.eval()
        return module


def is_model_folder(path: Path) -> bool:
    """Whether a path is a Hugging Face model folder.

    Args:
        path: Any path.

    Returns:
        True if it is a folder with a `config.json`.
    """
    return (path / "config.json").is_file()
