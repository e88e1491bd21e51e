"""Tables as CSV and numbers as JSON: the text files of results, written whole or not at all."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bayesflex.io.atomic import atomic_path


def write_csv(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table: numbers with five digits, an empty cell where there is no finite number.

    Raises
    ------
    InputError
        If the file cannot be written; nothing is left behind then.
    """
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_cell(value) for value in row] for row in rows)


def write_json(path: Path, value: Any) -> None:
    """Write mappings, lists, texts and numbers; one that is not finite becomes null, since JSON has no word for it.

    Raises
    ------
    InputError
        If the file cannot be written; nothing is left behind then.
    """
    text = json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return format(value, ".5g") if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
