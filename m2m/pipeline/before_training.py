"""Whether models can be trained at all: asked once the set-up is loaded, before a run folder is claimed."""

from __future__ import annotations

from m2m.errors import CheckpointError
from m2m.pipeline.config import RunConfig
from m2m.pipeline.run_folder import RunFolder
from m2m.pipeline.taking import is_model
from m2m.setups.protocol import Setup
from m2m.training.device import open_training_device
from m2m.training.lora import adapted_layers


def check_before_training(config: RunConfig, setup: Setup, folder: RunFolder | None) -> None:
    """Refuse a device that is not there, layers that the model has not, and experts that are no models.

    Args:
        config: The run configuration.
        setup: Its set-up.
        folder: The run folder, which may have taken experts that are gone; None: a new one.

    Raises:
        CheckpointError: If an expert is no model or adapter.
    """
    if not config.trainer.command:
        open_training_device(config.train.device)
        if config.train.lora is not None:
            adapted_layers(getattr(setup, "build_empty", setup.build)(), config.train.lora)
    for name, path in config.experts.items():
        taken = folder is not None and folder.has_expert(name, config.run.seed)
        if not taken and not is_model(path):
            raise CheckpointError(
                f"{config.path} [train]: the expert of {name} is no model or adapter: {path}"
            )
