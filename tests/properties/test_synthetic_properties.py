"""Generated proteins of any size and opening are sound."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesflex import synthetic
from bayesflex.helix_bundle import is_clash_free
from bayesflex.ideal_backbone import is_allowed, phi_psi

# A few lengths, since the loops of each are searched for anew and kept for the openings.
LENGTHS = st.sampled_from([52, 61, 97, 150, 185, 214, 372])


@settings(max_examples=15, deadline=None, derandomize=True)
@given(n_residues=LENGTHS, opening=st.floats(0.0, synthetic.MAX_OPENING), changed=st.booleans())
def test_a_protein_of_any_size_and_opening_is_sound(n_residues, opening, changed):
    protein = synthetic.two_domain_protein(n_residues, opening, changed_loop=changed)
    chain = np.stack([protein.coords[protein.atom_name == name] for name in ("N", "CA", "C")], axis=1)
    assert chain.shape == (n_residues, 3, 3)
    np.testing.assert_allclose(np.linalg.norm(np.diff(chain[:, 1], axis=0), axis=1), 3.8, atol=0.1)
    assert is_allowed(phi_psi(chain)).all()
    assert is_clash_free(chain)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(n_residues=LENGTHS)
def test_domains_are_as_compact_as_those_of_proteins(n_residues):
    ca = synthetic.two_domain_protein(n_residues).ca_trace().coords
    layout = synthetic.two_domain_layout(n_residues)
    parts = [layout.first_domain, layout.linker, layout.second_domain]
    assert sum(len(ca[part]) for part in parts) == n_residues
    for domain in (ca[layout.first_domain], ca[layout.second_domain]):
        radius = np.sqrt(np.mean(np.sum((domain - domain.mean(axis=0)) ** 2, axis=1)))
        # Skolnick, Kolinski and Ortiz (1997), J. Mol. Biol. 265, 217.
        assert abs(radius / (2.2 * len(domain) ** 0.38) - 1.0) < 0.25


@settings(max_examples=10, deadline=None, derandomize=True)
@given(n_ca=st.integers(1, 3000))
def test_assemblies_grow_bead_by_bead(n_ca):
    model = synthetic.assembly(n_ca)
    assert model.n_atoms == n_ca
    np.testing.assert_allclose(model.coords.mean(axis=0), 0.0, atol=1e-6)
