"""The `wheatear` command: one file for each subcommand, imported when it is called."""

from wheatear.cli.app import main

__all__ = ["main"]
