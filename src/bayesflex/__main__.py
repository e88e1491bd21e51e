"""``python -m bayesflex`` is the command line."""

from bayesflex.cli import main

main()
