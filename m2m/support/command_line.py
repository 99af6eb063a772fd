"""The command line of both programs: their parser, and verbs as modules.

An option's `dest` is the name of the argument that it gives, or its singular: messages that name the argument
then name the option (`m2m.support.arguments`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

from m2m.support.schema import did_you_mean
from m2m.support.shared_options import add_common

#: Shells that can complete the programs' words.
SHELLS = ("bash", "zsh", "fish")


class Parser(argparse.ArgumentParser):
    """An argparse parser that reports a mistake as one line, like every other error of m2m."""

    #: What to say instead of options that other programs have, by option.
    hints: Mapping[str, str] = {}

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        self.exit(2, f"{self.prog.partition(' ')[0]}: error: {message} (try `{self.prog} --help`)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, and refuse what is left: a verb's own parser knows best what was meant."""
        parsed, left = super().parse_known_args(args, namespace)
        if left:
            slips = ", ".join(self._slip(word) for word in left)
            self.error(f"unrecognized arguments: {slips}")
        return parsed, left

    def _slip(self, word: str) -> str:
        option = word.partition("=")[0]
        if option in self.hints:
            return f"{option}: {self.hints[option]}"
        return word + (did_you_mean(option, self._option_string_actions) if option.startswith("--") else "")

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse's own says nothing where help cannot be written.
        if message and (stream := file or sys.stderr) is not None:
            stream.write(message)


@dataclass(frozen=True)
class Program:
    """A program of verbs: modules of `package` with HELP, `add_arguments(parser)` and `execute(args) -> int`.

    `HINTS` of a verb, if it has them, say what stands for other programs' options. At import verbs use
    nothing heavier than the standard library; a verb's docstring is its help.
    """

    name: str
    description: str
    package: str
    verbs: Sequence[str]
    epilog: str = ""

    def parser(self, arguments: Sequence[str] = ()) -> Parser:
        """Return the parser of all verbs; parsed arguments carry the verb's `execute` and `options`."""
        # Of arguments that begin with a verb only that one's is made: the others' modules cost time.
        named = [name for name in arguments[:1] if name in self.verbs]
        parser = Parser(
            prog=self.name,
            description=self.description,
            epilog=self.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("--version", action=_Version, nargs=0, help="print version and build, and leave")
        parser.add_argument(
            "--completion", action=_Completion, choices=SHELLS, help="print a shell's completion, and leave"
        )
        verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
        for name in named or self.verbs:
            self._fill(verbs.add_parser(name, help=self._module(name).HELP), name)
        return parser

    def verb_parser(self, name: str) -> Parser:
        """Return the parser of one verb by itself."""
        parser = Parser(prog=f"{self.name} {name}")
        self._fill(parser, name)
        return parser

    def _module(self, name: str) -> ModuleType:
        return import_module(f"{self.package}.{name.replace('-', '_')}")

    def _fill(self, parser: Parser, name: str) -> None:
        verb = self._module(name)
        parser.description, parser.formatter_class = verb.__doc__, argparse.RawDescriptionHelpFormatter
        parser.hints = getattr(verb, "HINTS", {})
        verb.add_arguments(parser)
        add_common(parser)
        parser.set_defaults(execute=verb.execute, options=_options(parser))


def _options(parser: argparse.ArgumentParser) -> dict[str, str]:
    # By argument. `--validate` stands for its opposite too; `--task A B` gives `tasks`; what has no option is
    # called as in the usage.
    found: dict[str, str] = {}
    for action in parser._actions:
        name = next((o for o in action.option_strings if o.startswith("--")), str(action.metavar))
        several = action.nargs == "+" or isinstance(action, argparse._AppendAction)
        found |= {action.dest: name, **({f"{action.dest}s": name} if several else {})}
    return found


class _Version(argparse.Action):
    """Prints the version and the build, which are looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from m2m.version import __version__

        try:
            from m2m.build import build_line

            built = build_line()
        except ImportError as error:
            built = f"the compiled module cannot be loaded: {error}"
        print(f"{parser.prog} {__version__} ({built})")
        parser.exit()


class _Completion(argparse.Action):
    """Prints a shell's completion of all verbs and options."""

    def __call__(self, parser: argparse.ArgumentParser, _: object, shell: Any, *__: object) -> None:
        from m2m.support.completion import completion

        print(completion(parser, shell))
        parser.exit()
