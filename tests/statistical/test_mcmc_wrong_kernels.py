"""The kernels in use pass every check, and each wrong kernel is caught, as the table in docs/method.md says."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from kernel_checks import CHECKS
from mcmc_statistics import Skewed
from verdicts import Scheme
from wrong_kernels import WRONG, Plain

from bayesflex.mcmc import HMC, MINIMAL_ERROR, DiagonalMass, leapfrog

#: That of the comparison, and that of a fit.
IN_USE = {
    "leapfrog": Scheme(HMC),
    "two stages": Scheme(partial(HMC, outer_kick=MINIMAL_ERROR), partial(leapfrog, outer_kick=MINIMAL_ERROR)),
}
PAGE = Path(__file__).parents[2] / "docs" / "method.md"

#: Words of the table: caught by the check; nothing there for the check to see; nothing claimed.
CAUGHT, PASSES, WEAK = "caught", "–", "weak"

#: Checks that take little time and catch what is asked of them.
QUICK = {
    "acceptance min(1, H/H′)": ("funnel", "bond lengths", "mean bond energy"),
    "one half kick per step": ("reversible to 1e-9", "energy error of order step²", "funnel"),
    "foreign momenta": ("funnel", "bond lengths"),
    "forces clipped": ("energy error of order step²", "rejected and divergent states untouched"),
    "friction": ("volume preserved", "reversible to 1e-9"),
    "step still adapting": ("detailed balance",),
}


def table():
    """The page's table: for each check, what it says of each wrong kernel."""
    lines = PAGE.read_text(encoding="utf-8").split("<!-- kernels: begin -->")[1].split("<!-- kernels: end -->")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines.strip().splitlines()]
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[2:]}


def scheme_of(name):
    kernel = WRONG[name]
    return Scheme(kernel, kernel.integrate)


@pytest.mark.parametrize("kernel", IN_USE)
@pytest.mark.parametrize("check", CHECKS)
def test_the_kernels_in_use_pass(check, kernel):
    verdict = CHECKS[check](IN_USE[kernel])
    assert verdict.passed, verdict


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of trajectories that run away
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_kernel_is_caught(name):
    caught = {check for check in QUICK[name] if not CHECKS[check](scheme_of(name)).passed}
    assert caught == set(QUICK[name])


def test_the_first_two_are_caught_by_three_checks():
    for name in ("acceptance min(1, H/H′)", "one half kick per step"):
        assert len(QUICK[name]) >= 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", WRONG)
def test_which_check_catches_which_kernel(name):
    expected = {check: row[name] for check, row in table().items()}
    assert set(expected) == set(CHECKS)
    verdicts = {check: CHECKS[check](scheme_of(name)) for check in CHECKS}
    for check, word in expected.items():
        if word != WEAK:
            assert verdicts[check].passed == (word == PASSES), (check, word, verdicts[check])


def test_the_table_names_every_check_and_kernel():
    rows = table()
    assert list(rows) == list(CHECKS)
    for row in rows.values():
        assert list(row) == list(WRONG)
        assert set(row.values()) <= {CAUGHT, PASSES, WEAK}
    for name, checks in QUICK.items():
        assert all(rows[check][name] == CAUGHT for check in checks)


def test_the_plain_kernel_is_the_one_in_use():
    """So that a wrong kernel differs from the one in use in its one fault alone."""
    arguments = (Skewed(), DiagonalMass(np.array([2.0, 1.0, 0.5])), 0.4, 5)
    ends = []
    for make in (HMC, Plain):
        kernel, rng = make(*arguments), np.random.default_rng(7)
        state = kernel.init(np.zeros(3))
        positions = []
        for _ in range(200):
            state, info = kernel.step(rng, state)
            positions.append(state.position)
            positions.append(np.array([info.accepted, info.divergent, info.step_size]))
        ends.append(np.concatenate(positions))
    np.testing.assert_array_equal(*ends)
