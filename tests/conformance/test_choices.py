"""The words that a setting allows are those of the table that they choose from."""

from __future__ import annotations

from dataclasses import fields

import pytest

from bayesflex.config import FitConfig
from bayesflex.deformation import APPROACHES
from bayesflex.likelihood import LIKELIHOODS
from bayesflex.settings import setting_of

CHOICES = {item.name: setting_of(item).choices for item in fields(FitConfig)}


@pytest.mark.parametrize(("name", "table"), [("deformation", APPROACHES), ("likelihood", LIKELIHOODS)])
def test_the_choices_of_a_setting_are_the_rows_of_its_table(name, table):
    assert set(CHOICES[name]) == set(table)
