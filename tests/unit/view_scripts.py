"""Scripts for ChimeraX and VMD read as those programs read them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

#: A word of a ChimeraX command: in double quotes with Python's escapes, in single quotes, or without blanks; a
#: semicolon outside of quotes ends the command (ChimeraX, command-line syntax).
_WORD = re.compile(r'"(?:\\.|[^"\\])*"|\'[^\']*\'|;|[^\s;"\']+')


def chimerax_arguments(line: str) -> list[str]:
    """Split a line as ChimeraX does; a semicolon outside of quotes is a word by itself."""
    words = _WORD.findall(line)
    return [ast.literal_eval(word) if word[0] in "\"'" else word for word in words]


def chimerax_commands(path: Path) -> list[list[str]]:
    """Return the words of each command of a script; a line that begins with # is a comment."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    commands: list[list[str]] = []
    for line in lines:
        commands.append([])
        for word in chimerax_arguments(line):
            if word == ";":
                commands.append([])
            else:
                commands[-1].append(word)
    return commands


def run_in_tcl(path: Path) -> list[tuple[str, ...]]:
    """Run VMD's script in Tcl with its commands recorded."""
    tkinter = pytest.importorskip("tkinter", reason="Python was built without Tcl")
    tcl = tkinter.Tcl()
    tcl.eval("set calls {}")
    for command in ("mol", "display"):
        tcl.eval(f"proc {command} {{args}} {{lappend ::calls [linsert $args 0 {command}]}}")
    tcl.call("source", str(path))
    return [tcl.splitlist(call) for call in tcl.splitlist(tcl.eval("set calls"))]
