"""What a pulled network answers: the solution of its equations, by a factor or by blocks."""

from __future__ import annotations

import numpy as np
import pytest

import bayesflex.elastic_response as module
from bayesflex.chain import bonded_to_next, pairs_along_chain
from bayesflex.elastic_network import network_hessian
from bayesflex.elastic_response import elastic_response
from bayesflex.synthetic import two_domain_pair

HOLD = 1.0


@pytest.fixture(scope="module")
def body():
    """Positions of a protein's CA, and the Hessian of its network."""
    ca = two_domain_pair(200)[0].trace()
    return ca.coords, network_hessian(ca.coords, 10.0, pairs_along_chain(bonded_to_next(ca)))


@pytest.fixture(params=["factor", "blocks"])
def way(request, monkeypatch):
    monkeypatch.setattr(module, "_LARGE", 0 if request.param == "blocks" else 10**9)
    return request.param


@pytest.mark.parametrize("stiffness", [1.0, 300.0])
def test_it_solves_the_equations_of_the_network(body, way, rng, stiffness):
    coords, network = body
    pull = rng.normal(size=coords.shape)
    moved = elastic_response(coords, network, stiffness, HOLD)(pull)
    exact = np.linalg.solve(stiffness * network.toarray() + HOLD * np.eye(coords.size), pull.ravel())
    assert moved.shape == coords.shape
    assert np.linalg.norm(moved.ravel() - exact) < (1e-10 if way == "factor" else 0.02) * np.linalg.norm(exact)


def test_a_pull_at_all_sites_alike_moves_the_whole(body, way):
    """No spring resists that: what holds each site where it is does."""
    coords, network = body
    moved = elastic_response(coords, network, 100.0, HOLD)(np.ones_like(coords))
    np.testing.assert_allclose(moved, 1.0 / HOLD, rtol=0.02)


def test_a_step_leads_uphill(body, way, rng):
    """A step that a positive definite matrix takes from a gradient leads uphill."""
    coords, network = body
    respond = elastic_response(coords, network, 30.0, HOLD)
    for _ in range(5):
        pull = rng.normal(size=coords.shape)
        assert np.vdot(pull, respond(pull)) > 0.0
