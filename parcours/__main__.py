"""`python -m parcours`: the command."""

from parcours.cli import main

main()
