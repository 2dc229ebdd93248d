"""The command line: ``gradatim quickstart`` shows what there is, ``gradatim info`` what is here."""
from __future__ import annotations

import argparse
import sys

from . import __version__


def main(arguments: list[str] | None = None) -> int:
    """Run a verb of the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="gradatim", description="Keras-style estimators for scikit-learn pipelines.")
    parser.add_argument("--version", action="version", version=f"gradatim {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="verb", required=True)
    quick = verbs.add_parser("quickstart", help="fit three models, save one and load it again")
    quick.add_argument("--quiet", action="store_true", help="no progress bars")
    verbs.add_parser("info", help="version, backends and why one is missing, devices, threads")
    options = parser.parse_args(arguments)
    try:
        if options.verb == "info":
            from .info import info
            print(info())
        else:
            from .quickstart import quickstart
            quickstart(verbose=not options.quiet)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
