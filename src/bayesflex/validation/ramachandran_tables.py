"""Scores of φ and ψ from the tables of ``cctbx-base``, which is optional.

Its compiled modules and those of gemmi and Numba do not live in one process: importing both ends it. So the tables are
asked in a process of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Seconds after which the process is given up; it takes one.
_PATIENCE = 60.0

_PROGRAM = """
import json, sys
from mmtbx.rotamer.ramachandran_eval import RamachandranEval
evaluate = RamachandranEval().evaluate
rows = json.load(sys.stdin)
json.dump([evaluate(table, [phi, psi]) for table, phi, psi in rows], sys.stdout)
"""


def ramachandran_scores(tables: Sequence[str], phi: Array, psi: Array) -> Array | None:
    """Return the score of each residue, 0 to 1: the share of residues of its kind that are in less populated places.

    Parameters
    ----------
    tables
        Name of the table of each residue, as ``mmtbx.rotamer.ramachandran_eval`` calls them.
    phi, psi
        Degrees, shape (n_residues,).

    Returns
    -------
    ndarray or None
        Shape (n_residues,); None where the tables are not installed or do not run.
    """
    if find_spec("mmtbx") is None:
        return None
    if len(tables) == 0:
        return np.zeros(0)
    rows = json.dumps(list(zip(tables, phi.tolist(), psi.tolist(), strict=True)))
    try:
        # -I: nothing of the caller's folder or environment is imported in place of the tables.
        ended = subprocess.run(
            [sys.executable, "-I", "-c", _PROGRAM],
            input=rows,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=True,
        )
        scores = np.array(json.loads(ended.stdout), dtype=np.float64)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return scores if scores.shape == (len(tables),) else None
