"""Tables as CSV: digits, empty cells, and what a program reads back."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bayesflex.errors import InputError
from bayesflex.io.tables import read_csv, write_csv

VALUES = [math.pi * 1e6, -1.0 / 3.0, 1e-300, 0.1 + 0.2]


@pytest.mark.parametrize(("digits", "first"), [(5, "3.1416e+06"), (10, "3141592.654"), (None, "3141592.653589793")])
def test_digits(digits, first, tmp_path):
    write_csv(tmp_path / "table.csv", ["value"], [[value] for value in VALUES], digits=digits)
    texts = read_csv(tmp_path / "table.csv")["value"]
    assert texts[0] == first
    found = [float(text) for text in texts]
    assert found == (VALUES if digits is None else pytest.approx(VALUES, rel=10.0 ** (1 - digits)))


def test_what_is_no_number_is_an_empty_cell_and_all_else_stays_as_it_is(tmp_path):
    row = [None, math.nan, -math.inf, np.float64(2.5), np.int64(12345678), True, 'a "quoted", name\nof two lines']
    write_csv(tmp_path / "table.csv", list("abcdefg"), [row], digits=3)
    table = read_csv(tmp_path / "table.csv")
    assert [column[0] for column in table.values()] == ["", "", "", "2.5", "12345678", "True", row[-1]]


def test_a_table_that_cannot_be_written_leaves_nothing(tmp_path):
    def rows():
        yield [1.0]
        raise InputError("no second row")

    with pytest.raises(InputError):
        write_csv(tmp_path / "table.csv", ["value"], rows())
    assert list(tmp_path.iterdir()) == []
