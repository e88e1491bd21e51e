"""Tables as CSV and numbers as JSON: the text files of results, written whole or not at all."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bayesflex.errors import InputError
from bayesflex.io.atomic import atomic_path

#: What a table shows of a measured number.
FIVE_DIGITS = 5


def write_csv(
    path: Path, names: Sequence[str], rows: Iterable[Sequence[object]], *, digits: int | None = FIVE_DIGITS
) -> None:
    """Write a table, with an empty cell where there is no finite number.

    Parameters
    ----------
    path
        File to write.
    names
        Of the columns.
    rows
        Cells of each row: texts and whole numbers as they are, None where there is nothing.
    digits
        Significant digits of a float, or None for as many as tell it from every other one.

    Raises
    ------
    InputError
        If the file cannot be written; nothing is left behind then.
    """
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_cell(value, digits) for value in row] for row in rows)


def read_csv(path: Path) -> dict[str, list[str]]:
    """Return the columns of a table by name, as texts.

    Raises
    ------
    InputError
        If the file cannot be read, has no columns, or a row has more cells or fewer than there are columns.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected a table as a fit writes it.") from error
    if not header:
        raise InputError(f"{path}: is empty; expected a table as a fit writes it.")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise InputError(
                f"{path}: line {number} has {len(row)} cells, expected {len(header)} as the first line has them."
            )
    return {name: [row[index] for row in rows] for index, name in enumerate(header)}


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a file holds.

    Raises
    ------
    InputError
        If the file cannot be read, is no JSON, or holds something else than an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected numbers as a fit writes them.") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected an object of numbers as a fit writes it, got {type(value).__name__}.")
    return value


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


def _cell(value: object, digits: int | None) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if not isinstance(value, float):
        return str(value)
    return repr(float(value)) if digits is None else format(value, f".{digits}g")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
