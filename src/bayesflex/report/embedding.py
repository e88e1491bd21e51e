"""How data and scripts get into a page without becoming part of its markup, and as few bytes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Types of arrays that a page decodes, as NumPy names them.
_TYPES = ("uint8", "int32", "float32")


def asset(name: str) -> str:
    """Return the text of a file in ``bayesflex/report/assets``."""
    return (files("bayesflex.report") / "assets" / name).read_text(encoding="utf-8")


def encoded(values: NDArray[Any]) -> dict[str, str]:
    """Return an array as the page decodes it: its type, and its bytes, little-endian, in base64.

    Raises
    ------
    ValueError
        If the type is not one that the page knows.
    """
    name = values.dtype.name
    if name not in _TYPES:
        raise ValueError(f"expected an array of type {' or '.join(_TYPES)}, got {name}")
    content = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
    return {"type": name, "base64": base64.b64encode(content).decode("ascii")}


def script_json(value: Any) -> str:
    r"""Return data as JSON that can stand in a ``<script>`` element.

    No text in it can end the element or begin a comment: <, > and & are written as escapes, and so is everything
    beyond ASCII.

    >>> print(script_json({"name": "</script><!--"}))
    {"name":"\u003c/script\u003e\u003c!--"}
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def script_policy(scripts: Iterable[str]) -> str:
    """Return a content security policy under which these scripts alone run, and nothing is fetched from anywhere.

    Whatever should slip into the page from a file could then not run, and the page cannot tell anyone of what it shows.
    """
    hashes = [base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii") for text in scripts]
    allowed = " ".join(f"'sha256-{value}'" for value in hashes)
    # Styles are set by scripts too; pictures are what the viewer draws.
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"
