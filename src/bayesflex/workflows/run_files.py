"""Names of the files of a run that several workflows write or read, and how a text becomes one."""

from __future__ import annotations

from pathlib import Path

from bayesflex.io.atomic import atomic_path

CONFIG_FILE, SUMMARY_FILE, METRICS_FILE, LOG_FILE = "config.toml", "summary.json", "metrics.csv", "log.txt"
TRACE_FILE, REPORT_FILE = "trace.nc", "report.html"
DOMAIN_MOTIONS_FILE = "domain_motions.csv"

#: Models of ``ensemble.cif``, at most.
ENSEMBLE_SIZE = 50


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
