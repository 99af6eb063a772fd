"""The command line of both programs: parser, shared options, and from whatever happens to an exit code.

An option's `dest` is the name of the argument that it gives, or its singular: messages that name the argument
then name the option (`m2m.support.arguments`).

Exit codes: 0 done, 2 the user's input or system, 1 our fault, 130 interrupted, 141 the reader of our output
went away.
"""

from __future__ import annotations

import argparse
import errno
import io
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from m2m.errors import ConfigError, M2MError
from m2m.support.arguments import called
from m2m.support.extras import missing_package
from m2m.support.process_memory import out_of_memory
from m2m.support.schema import did_you_mean
from m2m.support.units import parse_bytes
from m2m.support.user_code import as_users

#: What a number of an option looks like: other scripts' digits, signs and 4,300 digits are slips.
_WHOLE = re.compile(r"\s*[0-9]{1,19}\s*")
#: Shells that can complete the programs' words.
SHELLS = ("bash", "zsh", "fish")
#: Seeds go to generators that take 63 bits.
_LARGEST = 2**63 - 1


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


def from_units(read: Callable[[str], int]) -> Callable[[str], int]:
    """Turn a reader that raises `ConfigError` into an argparse type, which keeps the reader's message."""

    def convert(text: str) -> int:
        try:
            return read(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _count_from(lowest: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not _WHOLE.fullmatch(text) or not lowest <= int(text) <= _LARGEST:
            raise ConfigError(f"{text!r:.60} is not a whole number of at least {lowest}")
        return int(text)

    return from_units(read)


#: argparse types: bytes with a unit; a number of workers or threads; a seed.
amount = from_units(parse_bytes)
positive = _count_from(1)
natural = _count_from(0)


def add_out(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--out`, where results go."""
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help=what)


def add_workers(parser: argparse.ArgumentParser, default: str) -> None:
    """Add where work is done and by how many; `default` says what is done without a number."""
    parser.add_argument(
        "--executor", default="local", metavar="WHERE",
        help="local; ray: the cluster of RAY_ADDRESS or of this machine; or ray://HOST:PORT, whose machines "
        "see the same files (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=positive, metavar="N",
        help=f"worker processes (default: {default}; with ray all that the cluster has)",
    )  # fmt: skip


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add `--threads`; the results do not depend on it."""
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="T",
        help="CPU threads; the results do not depend on it (default: all)",
    )


def add_memory(parser: argparse.ArgumentParser, default: str) -> None:
    """Add `--memory`, a budget for the whole process."""
    parser.add_argument(
        "--memory", type=amount, default=default, metavar="SIZE", help="memory budget (default: %(default)s)"
    )


def add_resume(parser: argparse.ArgumentParser) -> None:
    """Add `--resume`."""
    parser.add_argument("--resume", action="store_true", help="go on with what an interruption left")


def add_seed(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--seed`."""
    parser.add_argument("--seed", type=natural, metavar="N", help=what)


def add_strict(parser: argparse.ArgumentParser) -> None:
    """Add `--strict`, the same wherever models are merged."""
    parser.add_argument(
        "--strict", action="store_true", help="what makes a merge doubtful is an error, not a warning"
    )


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add what every verb has: `--json`, `-v`, `-q`."""
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of text")
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument(
        "-v", "--verbose", action="store_true", help="log more; show where an error came from"
    )
    loudness.add_argument(
        "-q", "--quiet", action="store_true", help="no progress and no summary, only errors"
    )


DONE, OUR_FAULT, USERS_INPUT, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141

#: What the user's system says when a disk, a quota, a permission, a limit or a device stands in the way.
_USERS_SYSTEM = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ETXTBSY, errno.EBUSY,
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOLCK,
    errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EILSEQ,
    errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.EREMOTEIO, errno.ETIMEDOUT, errno.EHOSTDOWN,
    errno.ENOTCONN, errno.EOPNOTSUPP,
}  # fmt: skip
#: What can be done about some of them.
_ADVICE = {
    errno.EMFILE: "`ulimit -n` says how many files a process may open; raise it",
    errno.ENFILE: "the whole system has too many files open",
    errno.ENOMEM: "free some memory, or ask for less: --memory, fewer --workers or --threads",
}
#: What the loader says of a library that there was no memory to load.
_NO_ROOM = ("failed to map segment from shared object", "cannot allocate memory", "Cannot allocate memory")
#: What Python and C++ say where there is neither memory nor leave for one more thread.
_NO_THREAD = ("can't start new thread", "Resource temporarily unavailable")
_OUR_FAULT = "this is a fault of m2m, not yours: please report it with the text above and `m2m doctor`"
#: Frames of a traceback that are worth sending; endless recursion has thousands.
_MOST_FRAMES = 40


def enter(program: Program, argv: Sequence[str] | None) -> int:
    """Run one command of a program; None for `argv`: this process's own. Returns the exit code."""
    _print_anything()
    arguments = sys.argv[1:] if argv is None else argv
    parser, args = program.parser(arguments), None
    try:
        if not arguments:
            parser.print_help(sys.stderr)
            return USERS_INPUT
        _check_verb(parser, program, arguments[0])
        args = parser.parse_args(arguments)
        code = _execute(parser, args)
        _flush()
        return code
    except BrokenPipeError:
        _give_up_stdout()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        _say(parser, "interrupted; the same command goes on from here")
        return INTERRUPTED
    except (Exception, SystemExit) as error:
        if args is None and isinstance(error, SystemExit):  # of the parser: help was read, or a mistake told
            return _left(parser, error)
        code = _report(parser, as_users(error), verbose=args is not None and args.verbose)
        _give_up_stdout()
        return code


def _check_verb(parser: Parser, program: Program, word: str) -> None:
    if not word.startswith("-") and word not in program.verbs:
        meant = did_you_mean(word, program.verbs) or f"; the verbs are {', '.join(program.verbs)}"
        parser.error(f"{program.name} has no verb {word!r:.60}{meant}")


def _execute(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    level = logging.INFO if args.verbose else logging.WARNING
    logging.basicConfig(format=f"{parser.prog}: %(message)s", level=level)
    with called(args.options):
        return int(args.execute(args))


def _left(parser: argparse.ArgumentParser, left: SystemExit) -> int:
    # Help that nobody reads any more is told here, not by the interpreter when it ends.
    try:
        _flush()
    except BrokenPipeError:
        _give_up_stdout()
        return BROKEN_PIPE
    except OSError as error:
        _give_up_stdout()
        return _report(parser, error, verbose=False)
    raise left


def _report(parser: argparse.ArgumentParser, error: BaseException, *, verbose: bool) -> int:
    """Return the exit code of an error, after printing it the way its kind deserves."""
    if isinstance(error, M2MError):
        message, code = str(error), error.exit_code
    else:
        message, code = _of_the_system(error) or "", USERS_INPUT
    if verbose or not message:
        traceback.print_exception(error, limit=-_MOST_FRAMES)
    if not message:
        _say(parser, _OUR_FAULT)
        return OUR_FAULT
    _say(parser, f"error: {_one_line(message)}")
    return code


def _of_the_system(error: BaseException) -> str | None:
    # What the user's system refused, if it is that.
    if _out_of_memory(error):
        return f"not enough memory: {str(error) or 'the system gives no more'}; {_ADVICE[errno.ENOMEM]}"
    if isinstance(error, RuntimeError) and any(said in str(error) for said in _NO_THREAD):
        return f"not enough memory for one more thread, or `ulimit -u` is reached; {_ADVICE[errno.ENOMEM]}"
    if isinstance(error, RuntimeError) and "Symlink loop" in str(error):  # of pathlib, before Python 3.13
        return str(error)
    if isinstance(error, ModuleNotFoundError):
        return str(missing_package(error) or "")
    if not isinstance(error, OSError):
        return None
    if error.errno == errno.ENOENT and _nowhere():
        return "the folder that this was started in is gone; change to one that is there"
    # A path that is gone was named by the user, here or in a file; without a path it is our own slip.
    if error.errno not in _USERS_SYSTEM and not (error.errno == errno.ENOENT and error.filename is not None):
        return None
    advice = _ADVICE.get(error.errno or 0)
    return f"{error}; {advice}" if advice else str(error)


def _nowhere() -> bool:
    # Its name leads nowhere, though `.` still does.
    try:
        return not os.getcwd()
    except OSError:
        return True


def _one_line(message: str) -> str:
    # What stands in the user's names must not move the cursor, nor break the line.
    line = " ".join(message.splitlines())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _out_of_memory(error: BaseException) -> bool:
    return out_of_memory(error) or (
        isinstance(error, ImportError) and any(said in str(error) for said in _NO_ROOM)
    )


def _print_anything() -> None:
    """Let output hold names that its encoding does not have: they are escaped, as on stderr."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in ("strict", "surrogateescape"):
        sys.stdout.reconfigure(errors="backslashreplace")


def _give_up_stdout() -> None:
    """Throw away what cannot be written to stdout: the interpreter would complain about it at exit."""
    try:
        _flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _say(parser: argparse.ArgumentParser, message: str) -> None:
    print(f"{parser.prog}: {message}", file=sys.stderr, flush=True)
