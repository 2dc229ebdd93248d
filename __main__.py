"""The command line: ``gradatim quickstart`` shows what there is, ``gradatim info`` what is here."""
from __future__ import annotations

import argparse
import os
import sys

from . import __version__


def whole_from(least: int):
    """What reads a whole number from ``least`` on."""
    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} on, not {text}")
        return int(text)
    return read


def file(path: str) -> str:
    """The path of a file that is there."""
    if not os.path.isfile(path):
        raise argparse.ArgumentTypeError(f"there is no file {path}")
    return path


def main(arguments: list[str] | None = None) -> int:
    """Run a verb of the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="gradatim", description="Keras-style estimators for scikit-learn pipelines.")
    parser.add_argument("--version", action="version", version=f"gradatim {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="verb", required=True)
    quick = verbs.add_parser("quickstart", help="fit three models, save one and load it again")
    quick.add_argument("--quiet", action="store_true", help="no progress bars")
    verbs.add_parser("info", help="version, backends and why one is missing, devices, threads")
    verbs.add_parser("doctor", help="whether GPUs and processes here can train together")
    start = verbs.add_parser("launch", help="run a script on several processes of this machine")
    start.add_argument("-n", type=whole_from(1), required=True, dest="workers", metavar="N",
                       help="how many processes")
    start.add_argument("--restarts", type=whole_from(0), default=0, metavar="N",
                       help="start again so often if they fail; a fit goes on from its checkpoint")
    start.add_argument("script", type=file, help="a Python script")
    start.add_argument("arguments", nargs=argparse.REMAINDER, help="what it is given")
    options = parser.parse_args(arguments)
    for stream in filter(None, (sys.stdout, sys.stderr)):        # None where it is closed
        stream.reconfigure(errors="replace")        # "R²" must not end it where text is ASCII
    from .backend.errors import Error
    try:
        if options.verb == "info":
            from .info import info
            print(info())
        elif options.verb == "doctor":
            from .backend.distribute.doctor import doctor
            text, healthy = doctor()
            print(text)
            return 0 if healthy else 1
        elif options.verb == "launch":
            from .backend.distribute.launch import launch
            return launch([options.script, *options.arguments], options.workers, options.restarts)
        else:
            from .quickstart import quickstart
            quickstart(verbose=not options.quiet)
    except Error as error:
        print(f"gradatim: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
