"""The table of a target that a task judges, held to its form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from m2m.errors import ConfigError
from m2m.scoring.tasks.task_options import MAX_NEW_TOKENS, STOP, HarnessOptions
from m2m.support.checked import Positive
from m2m.support.options import key_names, read_options
from m2m.support.schema import check_keys, did_you_mean

#: Tasks on items of a file.
OF_FILES = ("choice", "exact_match", "generate", "classify")

#: Keys that only some tasks read.
_READ_BY = {
    "file": OF_FILES,
    "validation_file": OF_FILES,
    "test_file": OF_FILES,
    "judge": ("generate",),
    "chat": ("choice", "exact_match", "generate"),
    "max_new_tokens": ("exact_match", "generate"),
    "stop": ("exact_match", "generate"),
    "lm_eval_tasks": ("lm_eval",),
    **dict.fromkeys(key_names(HarnessOptions), ("lm_eval",)),
}


@dataclass(frozen=True)
class JudgedOptions:
    """The `[setup.targets.NAME]` table of a target that a task judges.

    Attributes:
        task: What judges, as `m2m score --task` has it: `choice`, `exact_match`, `generate` or `classify`
            of files; `lm_eval:NAME`, a task of the lm-evaluation-harness; or `FILE.py:FUNCTION`, your own
            `score(model)`.
        file: The items. They are split into validation and test by the hash of their content, half and half.
        validation_file: Items that mixtures are chosen by, instead of `file`.
        test_file: Items that only the finished models see; goes with `validation_file`.
        validation: How many validation items are taken, those of the lowest hashes. Missing: all.
        test: How many test items are taken. Missing: all.
        metric: The metric that decides. Missing: the task's first; the others are scored too.
        judge: Your judge of what `generate` wrote, `FILE.py:FUNCTION`: from the text and the item's row to
            each metric's value; the file says `METRICS = {"right": True}`.
        chat: Whether questions and prompts are asked as a user, through the model's chat template.
        max_new_tokens: Most tokens that are written for `exact_match` and `generate`.
        stop: Texts that end an answer; they are cut off with all after them.
        lm_eval_tasks: Folder with task files of the lm-evaluation-harness.
    """

    task: str
    file: str | None = None
    validation_file: str | None = None
    test_file: str | None = None
    validation: Positive | None = None
    test: Positive | None = None
    metric: str | None = None
    judge: str | None = None
    chat: bool = False
    max_new_tokens: Positive = MAX_NEW_TOKENS
    stop: tuple[str, ...] = STOP
    lm_eval_tasks: str | None = None

    @classmethod
    def parse(cls, table: Mapping[str, object], where: str) -> JudgedOptions:
        """Read the table.

        Args:
            table: The table.
            where: Its name, which messages begin with.

        Returns:
            What it says.

        Raises:
            ConfigError: If a key is unknown, missing, mistyped, or none of the task's.
        """
        check_keys(table, key_names(cls, HarnessOptions), where)
        options = read_options(cls, table, where, HarnessOptions)
        options._check_task(where)
        for key, kinds in _READ_BY.items():
            if key in table and options.kind not in kinds:
                raise ConfigError(
                    f"{where}: `{key}` is read by the tasks {', '.join(kinds)}, got {options.task!r}"
                )
        if options.kind in OF_FILES:
            options._check_files(where)
        return options

    @property
    def kind(self) -> str:
        """What stands before the colon of the task."""
        return self.task.partition(":")[0]

    @property
    def is_function(self) -> bool:
        """Whether a function of the user's own judges, `FILE.py:FUNCTION`."""
        return self.kind not in (*OF_FILES, "lm_eval")

    @property
    def files(self) -> list[str]:
        """The files of the items: one, or that of validation and that of test."""
        return [name for name in (self.file, self.validation_file, self.test_file) if name is not None]

    def _check_task(self, where: str) -> None:
        kind, colon, rest = self.task.partition(":")
        if kind == "lm_eval" and not rest:
            raise ConfigError(f"{where}: `task` names no task of the harness: wanted lm_eval:NAME")
        if not colon and kind not in OF_FILES:
            hint = did_you_mean(kind, (*OF_FILES, "lm_eval"))
            raise ConfigError(
                f"{where}: `task` must be one of {', '.join(OF_FILES)}, lm_eval:NAME or FILE.py:FUNCTION, "
                f"got {self.task!r}{hint}; a target of texts' loss has no `task`"
            )
        if colon and kind in OF_FILES:
            raise ConfigError(f"{where}: the file of the task {kind!r} goes into `file`, got {self.task!r}")

    def _check_files(self, where: str) -> None:
        given = [name is not None for name in (self.file, self.validation_file, self.test_file)]
        if given not in ([True, False, False], [False, True, True]):
            raise ConfigError(
                f"{where}: wanted `file`, whose items are split by their hash, or `validation_file` and "
                "`test_file`"
            )
        if self.task == "generate" and self.judge is None:
            raise ConfigError(f"{where}: `judge` is missing: FILE.py:FUNCTION that judges what was written")
