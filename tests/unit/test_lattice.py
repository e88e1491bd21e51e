"""Copies side by side: they touch, do not clash, and follow each other in space."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from bayesflex import synthetic
from bayesflex.errors import InputError
from bayesflex.lattice import CHAIN_CONTACT, chain_name, copies_on_lattice, serpentine
from bayesflex.normal_modes import structure_modes


@pytest.mark.parametrize("make", [lambda: synthetic.hexamer(52), lambda: synthetic.two_domain_protein(80)])
def test_copies_touch_and_do_not_clash(make):
    unit = make().ca_trace()
    n, n_copies = unit.n_atoms, 11
    model = copies_on_lattice(unit, n_copies)
    assert model.n_atoms == n * n_copies
    copies = model.coords.reshape(n_copies, n, 3)
    shift = copies.mean(axis=1) - unit.coords.mean(axis=0)
    np.testing.assert_allclose(copies - shift[:, None], np.broadcast_to(unit.coords, copies.shape), atol=1e-9)
    nearest = np.array([[cKDTree(a).query(b)[0].min() for b in copies] for a in copies])
    np.fill_diagonal(nearest, np.inf)
    assert nearest.min() >= CHAIN_CONTACT
    # The next copy is one that it touches, but for a step across the direction of the row.
    following = np.diagonal(nearest, 1)
    assert following.max() < CHAIN_CONTACT + 0.5
    np.testing.assert_allclose(model.coords.mean(axis=0), 0.0, atol=1e-9)


def test_copies_have_chains_of_their_own():
    unit = synthetic.hexamer(52).ca_trace()
    model = copies_on_lattice(unit, 30)
    starts = np.flatnonzero(model.residue_number == 1)
    assert len(starts) == 180
    assert model.chain[starts].tolist() == [chain_name(index) for index in range(180)]
    assert model.chain[starts][[0, 25, 26, 179]].tolist() == ["A", "Z", "AA", "FX"]
    assert model.residue_name.tolist() == unit.residue_name.tolist() * 30


def test_copies_fill_a_cube():
    model = copies_on_lattice(synthetic.hexamer(52).ca_trace(), 200)
    extent = np.ptp(model.coords, axis=0)
    assert extent.max() < 1.7 * extent.min()


@pytest.mark.parametrize("period", [None, np.array([3.0, 1.0, 2.0])])
def test_each_cell_is_beside_the_one_before(period):
    cells = np.array(list(serpentine(70, period)))
    assert len({tuple(cell) for cell in cells}) == 70
    assert np.abs(np.diff(cells, axis=0)).sum(axis=1).tolist() == [1] * 69


def test_an_elastic_network_holds_rings_together():
    model = synthetic.ring_assembly(8, 104)
    assert model.n_atoms == 8 * 624
    modes = structure_modes(model, 6, 10.0)
    assert modes.eigenvalues[0] > 0.0
    assert modes.collectivity.min() > 0.05


def test_no_copies():
    with pytest.raises(InputError, match="n_copies is 0"):
        copies_on_lattice(synthetic.hexamer(52).ca_trace(), 0)
