"""What shows itself in a notebook escapes every text that may come from a file."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from bayesflex.density_map import DensityMap
from bayesflex.html_tables import html_list, html_table
from bayesflex.synthetic import two_domain_protein

HOSTILE = "<img src=x onerror=\"alert('1')\"> & <script>evil()</script>"
OURS = {"table", "caption", "thead", "tbody", "tr", "th", "td", "ul", "li"}


class Tags(HTMLParser):
    """Collects what an HTML reader sees."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data


def read(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    return tags


@pytest.fixture
def structure():
    protein = two_domain_protein(60)
    chain = np.full(protein.n_atoms, "<b>A</b>")
    return replace(protein, name=HOSTILE, notes=(HOSTILE,), chain=chain)


def test_tables_and_lists_escape():
    page = html_table([(HOSTILE, HOSTILE)], caption=HOSTILE, headings=[HOSTILE, HOSTILE]) + html_list([HOSTILE])
    found = read(page)
    assert found.tags == OURS
    assert found.text == HOSTILE * 6
    assert html_list([]) == ""


def test_a_structure_shows_itself(structure):
    found = read(structure._repr_html_())
    assert found.tags <= OURS
    assert HOSTILE in found.text
    assert "<b>A</b>" in found.text
    assert str(structure.n_atoms) in found.text


def test_a_map_shows_itself():
    density = DensityMap(np.arange(24.0).reshape(2, 3, 4), np.ones(3), np.zeros(3), name=HOSTILE, notes=(HOSTILE,))
    found = read(density._repr_html_())
    assert found.tags <= OURS
    assert found.text.count(HOSTILE) == 2
    assert "4 × 3 × 2 voxels" in found.text
    assert "0 to 23" in found.text
