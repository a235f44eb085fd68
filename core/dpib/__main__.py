"""``python -m dpib``: the command line."""

from dpib.cli.main import main

main()
