"""Where `m2m search` gets its scores: a finished run, or models merged as they are asked for."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext

from m2m.cli.search_source import Source
from m2m.errors import ConfigError


def open_source(args: argparse.Namespace) -> AbstractContextManager[Source]:
    """Open where scores come from: the run, or the base model and experts that the options name."""
    live = args.base is not None or args.experts is not None
    if live == (args.run is not None):
        raise ConfigError("search needs a RUN folder, or --base and --experts with a task")
    if not live:
        from m2m.cli.search_recorded import open_recorded

        return nullcontext(open_recorded(args))
    if args.base is None or args.experts is None:
        raise ConfigError("--base and --experts go together")
    from m2m.cli.search_live import live_source

    return live_source(args)
