"""Logs that others keep: TensorBoard, MLflow, Weights & Biases, where they are installed, or a user's own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from m2m.errors import ConfigError
from m2m.pipeline.logs import RunLog
from m2m.support.arguments import argument
from m2m.support.schema import did_you_mean
from m2m.support.user_code import load_function

#: Most characters that MLflow takes for a parameter.
_LONGEST = 6000


class TensorBoardLog(RunLog):
    """Event files in the run folder, for `tensorboard --logdir`."""

    name = "tensorboard"

    def begin(self, folder: Path, config: Mapping[str, Any], run: str | None) -> str | None:
        """Open event files beside those of before, which TensorBoard reads as one."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "logs" / self.name))
        if run is None:
            self._writer.add_text(
                "config", "\n".join(f"    {key} = {value!r}" for key, value in config.items())
            )
        return "begun"

    def losses(self, training: str, steps: Sequence[int], losses: Sequence[float]) -> None:
        """Draw a curve a training."""
        for step, loss in zip(steps, losses, strict=True):
            self._writer.add_scalar(f"loss/{training}", loss, step)

    def score(self, place: int, row: Mapping[str, Any]) -> None:
        """Draw the scores of a series in the order in which they were made."""
        self._writer.add_scalar(_series(row), row["value"], place)

    def end(self, results: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Say what was picked, and the test scores."""
        self._writer.add_text("picked", " + ".join(results["picked"]))
        for name, value in _test(results).items():
            self._writer.add_scalar(name, value, 0)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class MLflowLog(RunLog):
    """A run of the tracking server that MLflow's own settings name (`MLFLOW_TRACKING_URI`, …)."""

    name = "mlflow"

    def begin(self, folder: Path, config: Mapping[str, Any], run: str | None) -> str | None:
        """Make a run, or go on with it, by its id."""
        import mlflow

        self._client = mlflow.tracking.MlflowClient()
        if run is not None:
            self._client.set_terminated(run, "RUNNING")
            self._run = run
            return run
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "m2m")
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        self._run = str(self._client.create_run(experiment, run_name=folder.resolve().name).info.run_id)
        for key, value in config.items():
            self._client.log_param(self._run, _plain(key), str(value)[:_LONGEST])
        return self._run

    def losses(self, training: str, steps: Sequence[int], losses: Sequence[float]) -> None:
        """Log a metric a training."""
        for step, loss in zip(steps, losses, strict=True):
            self._client.log_metric(self._run, _plain(f"loss/{training}"), loss, step=step)

    def score(self, place: int, row: Mapping[str, Any]) -> None:
        """Log a metric a series."""
        self._client.log_metric(self._run, _plain(_series(row)), row["value"], step=place)

    def end(self, results: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Tag the run with what was picked, log the test scores, keep the files."""
        self._client.set_tag(self._run, "picked", " + ".join(results["picked"]))
        for name, value in _test(results).items():
            self._client.log_metric(self._run, _plain(name), value)
        for path in files:
            self._client.log_artifact(self._run, str(path))
        self._client.set_terminated(self._run)


class WandbLog(RunLog):
    """A run of Weights & Biases, as its own settings say (`WANDB_PROJECT`, `WANDB_MODE=offline`, …)."""

    name = "wandb"

    def begin(self, folder: Path, config: Mapping[str, Any], run: str | None) -> str | None:
        """Begin a run, or go on with it, by its id."""
        import wandb

        (folder / "logs").mkdir(exist_ok=True)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "m2m"), name=folder.resolve().name, id=run,
            resume="allow", dir=str(folder / "logs"), config=dict(config),
        )  # fmt: skip
        # Its one counter of steps is of no use: trainings have steps of their own.
        self._run.define_metric("loss/*", step_metric="training step")
        self._run.define_metric("score/*", step_metric="scored")
        return str(self._run.id)

    def losses(self, training: str, steps: Sequence[int], losses: Sequence[float]) -> None:
        """Log a metric a training."""
        for step, loss in zip(steps, losses, strict=True):
            self._run.log({f"loss/{training}": loss, "training step": step})

    def score(self, place: int, row: Mapping[str, Any]) -> None:
        """Log a metric a series."""
        self._run.log({_series(row): row["value"], "scored": place, "mixture": row["candidate"]})

    def end(self, results: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Put what was picked and the test scores into the summary, and keep the files."""
        self._run.summary["picked"] = " + ".join(results["picked"])
        for name, value in _test(results).items():
            self._run.summary[name] = value
        for path in files:
            self._run.save(str(path), base_path=str(path.parent), policy="now")

    def close(self) -> None:
        """Send or keep what is left."""
        self._run.finish()


#: What `--log-to` knows by name: the package that must be there, and the log.
KNOWN: Mapping[str, tuple[str, Callable[[], RunLog]]] = {
    "tensorboard": ("tensorboard", TensorBoardLog),
    "mlflow": ("mlflow", MLflowLog),
    "wandb": ("wandb", WandbLog),
}


def open_logs(names: str | Sequence[str], root: Path) -> list[RunLog]:
    """Make the logs that are wanted, before anything is done.

    Args:
        names: `tensorboard`, `mlflow`, `wandb`, or a `RunLog` of the user's as `FILE.py:CLASS` or
            `MODULE:CLASS`.
        root: Folder that files start from.

    Returns:
        The logs.

    Raises:
        ConfigError: If a name is unknown or twice, or its package is not installed.
    """
    names = [names] if isinstance(names, str) else names
    if len(set(names)) < len(names):
        raise ConfigError(f"{argument('log_to')} names a log twice: {', '.join(names)}")
    return [_open(name, root) for name in names]


def _open(name: str, root: Path) -> RunLog:
    said = argument("log_to", name)
    if ":" in name:
        log = load_function(name, root, argument("log_to"))()
        if not isinstance(log, RunLog):
            raise ConfigError(
                f"{said}: wanted a subclass of m2m.pipeline.logs.RunLog, got {type(log).__name__}"
            )
        return log
    if name not in KNOWN:
        known = ", ".join(KNOWN)
        raise ConfigError(f"{said} is unknown{did_you_mean(name, KNOWN)}: wanted {known}, or FILE.py:CLASS")
    package, make = KNOWN[name]
    if find_spec(package) is None:
        raise ConfigError(f"{said} needs a package that is not installed: pip install {package}")
    return make()


def _series(row: Mapping[str, Any]) -> str:
    return "/".join(("score", row["task"], row["split"], row["metric"], row["origin"]))


def _test(results: Mapping[str, Any]) -> dict[str, float]:
    return {f"test/{name}": score for name, score in results["test"].items() if score is not None}


def _plain(name: str) -> str:
    # MLflow takes letters, digits and these.
    return re.sub(r"[^\w\-./ ]", "-", name)
