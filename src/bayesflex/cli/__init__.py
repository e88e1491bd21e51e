"""The command line: each command parses, calls one workflow and reports.

This is the only part that prints or ends the process. Whatever is slow to import is imported by the command that
needs it, so that ``bayesflex --help`` answers at once.
"""

from bayesflex.cli.checking import calibrate, doctor, validate
from bayesflex.cli.docking import dock
from bayesflex.cli.files import get, info, modes, simulate
from bayesflex.cli.fitting import compare, demo, fit, report
from bayesflex.cli.frame import app, main
from bayesflex.cli.many import batch

__all__ = ["COMMANDS", "app", "main"]

#: Every command, in the order of the help.
COMMANDS = (fit, batch, dock, report, simulate, modes, info, get, compare, calibrate, validate, demo, doctor)

for _command in COMMANDS:
    app.command()(_command)
