"""The command line: text to values and back, no rules. Data on stdout, words on stderr.

Exit codes: 0 done or allowed, 1 unexpected, 2 usage, 3 denied, 4 waiting for approval, 5 a check failed,
6 unavailable, 7 conflict.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run one command; an error is one line `error: cause`, then `hint: a command that can be run`."""
    from magistrate.cli.app import app
    from magistrate.cli.say import failed
    from magistrate.core.errors import MagistrateError

    try:
        app(standalone_mode=True)
    except MagistrateError as error:
        sys.exit(failed(error))
    except KeyboardInterrupt:
        sys.exit(130)
