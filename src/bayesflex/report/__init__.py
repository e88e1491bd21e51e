"""The page of a run: what was fitted into what, in three dimensions, in numbers and in curves, in one HTML file.

Data come in as a :class:`RunData`; nothing here reads a file of a run or computes what a fit does.
"""

from __future__ import annotations

from bayesflex.report.page import render_page
from bayesflex.report.run_data import RunData

__all__ = ["RunData", "render_page"]
