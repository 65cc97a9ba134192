"""The `edgewise` command: words → settings → one call. Each command imports what it needs when it runs."""

import sys
import warnings

from rich.markup import escape

from edgewise.cli import (  # noqa: F401  # each joins the application
    audit,
    bench,
    calibrate,
    convert,
    cut,
    demo,
    doctor,
    evaluate,
    export,
    info,
    predict,
    profile_layers,
    replay,
    select,
    trace,
    train,
)
from edgewise.cli.app import app, console
from edgewise.extras import MissingExtra


def main() -> None:
    """Runs the command line; what a user can mend is one line and exit code 1, not a traceback.

    A warning is one line too.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: console.print(
                f"[bold yellow]warning:[/] {escape(str(message))}", highlight=False, soft_wrap=True
            )
            app(sys.argv[1:])
    except KeyboardInterrupt as stop:
        console.print(f"\n{str(stop) or 'stopped'}")
        sys.exit(130)
    except (ValueError, OSError, MissingExtra, FloatingPointError, MemoryError) as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)
