"""One target under atheris: `python atheris_driver.py TARGET CORPUS… [libFuzzer's options]`."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout

import atheris

with atheris.instrument_imports(include=["m2m", "tomllib", "yaml"]):
    import fuzz_targets


def main() -> None:
    """Fuzz until libFuzzer ends the process."""
    target = fuzz_targets.TARGETS[sys.argv.pop(1)]

    def silent(content: bytes) -> None:
        with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            target(content)

    atheris.Setup(sys.argv, silent)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
