"""`python -m wheatear`."""

from wheatear.cli import main

main()
