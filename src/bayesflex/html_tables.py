"""Tables as HTML for notebooks. Every text is escaped: names come from files, and a file may hold anything."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def html_table(rows: Iterable[Sequence[str]], *, caption: str = "", headings: Sequence[str] = ()) -> str:
    """Return a table whose first column names the rows.

    Parameters
    ----------
    rows
        Texts of each row.
    caption
        Above the table; "" for none.
    headings
        Of the columns; none if empty.
    """
    parts = ["<table>"]
    if caption:
        parts.append(f"<caption>{escape(caption)}</caption>")
    if headings:
        cells = "".join(f'<th scope="col">{escape(text)}</th>' for text in headings)
        parts.append(f"<thead><tr>{cells}</tr></thead>")
    parts.append("<tbody>")
    for first, *others in rows:
        cells = "".join(f"<td>{escape(text)}</td>" for text in others)
        parts.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>')
    parts.append("</tbody></table>")
    return "".join(parts)


def html_list(texts: Iterable[str]) -> str:
    """Return sentences as a list, "" where there are none."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if items else ""
