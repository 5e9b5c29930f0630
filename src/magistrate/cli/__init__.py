"""The command line: text to values and back, no rules. Data on stdout, words on stderr.

Exit codes: 0 done or allowed, 1 unexpected, 2 usage, 3 denied, 4 waiting for approval, 5 a check failed,
6 unavailable, 7 conflict.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run one command; an error is one line `error: cause`, then `hint: a command that can be run`."""
    from typer import Abort
    from typer.exceptions import TyperException

    from magistrate.cli import say
    from magistrate.cli.app import app
    from magistrate.core.errors import MagistrateError

    try:
        code = app(standalone_mode=False)  # what a verb exits with comes back; nothing is said of errors yet
    except MagistrateError as error:
        code = say.failed(error)
    except TyperException as error:
        code = say.misused(error)
    except Abort:
        say.words("error: not confirmed: nothing was signed or accepted; where nobody can answer, --yes does")
        say.words("hint: magistrate --help")
        code = say.UNEXPECTED
    except Exception as fault:  # noqa: BLE001 - a trace is no answer to a person; the line says where it was
        code = say.broke(fault)
    sys.exit(code)
