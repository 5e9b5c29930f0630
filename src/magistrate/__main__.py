"""`python -m magistrate` is the command line."""

from magistrate.cli import main

main()
