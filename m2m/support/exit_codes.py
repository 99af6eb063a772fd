"""Run one command of a program: from whatever happens to an exit code and one line that says why.

Exit codes: 0 done, 2 the user's input or system, 1 our fault, 130 interrupted, 141 the reader of our output
went away.
"""

from __future__ import annotations

import argparse
import errno
import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence

from m2m.errors import M2MError
from m2m.support.arguments import called
from m2m.support.command_line import Parser, Program
from m2m.support.extras import missing_package
from m2m.support.process_memory import out_of_memory
from m2m.support.schema import did_you_mean
from m2m.support.user_code import as_users

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
