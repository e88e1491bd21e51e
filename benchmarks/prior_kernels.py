"""Kernels of the structural prior, each with what it must do.

Terms along the chain take eight stretches at a time, those with a chain's end among them: stretches that there are
count, and lanes are executed.
"""

from __future__ import annotations

import numpy as np

from bayesflex.energy.angles import angle_energy
from bayesflex.energy.bonds import bond_energy
from bayesflex.energy.contacts import contact_energy
from bayesflex.energy.dihedrals import dihedral_energy
from bayesflex.energy.excluded_volume import DIAMETER, repulsion_energy
from benchmarks.cases import Setup
from benchmarks.kernel import Kernel
from benchmarks.timing import in_compiled_code, in_python
from benchmarks.work import Work

#: Additions to three components of the gradients of two, three and four beads.
_ADDED_2, _ADDED_3, _ADDED_4 = 6, 9, 12


def along_the_chain(  # type: ignore[no-untyped-def]
    setup: Setup, name: str, energy, operations: int, divisions: int, roots: int
) -> Kernel:
    """Return a term along the chain that takes so many operations for each stretch."""
    arrays = setup.terms[name].arrays
    coords, gradient = setup.coords_and_gradient
    n_stretches = int(np.count_nonzero(arrays.constant))
    work = Work(
        reads=(coords, gradient, *arrays),
        writes=(gradient,),
        operations=n_stretches * operations,
        executed=len(arrays.constant) * operations,
        divisions=n_stretches * divisions,
        roots=n_stretches * roots,
    )
    return Kernel(name, in_compiled_code(energy, (setup.rows, setup.gradient, arrays)), work)


#: A bond: difference (3), length (5 and a root), stretch (1), energy (3), pull (2 and a division), force (3).
BOND = 3 + 5 + 1 + 1 + 3 + 3 + 3 + _ADDED_2

#: An arc tangent: two sizes (2), length (3 and a root), the tangent of half the angle (4 and a division), its square
#: (1), a polynomial of degree 11 (22), the angle from it (5).
_ARC = 2 + 3 + 1 + 4 + 1 + 1 + 22 + 5

#: An angle: two differences (6), their cross product (9), its length (5 and a root), their product (5), sine and cosine
#: of the excess (6) and its arc, energy (3), two squares (10), what pull is divided by (2), pull (2 and a division) and
#: its shares (3), two forces (12 each) and what pulls at the middle (3).
ANGLE = 6 + 9 + 6 + 5 + 6 + _ARC + 3 + 10 + 2 + 3 + 3 + 24 + 3 + _ADDED_3

#: A dihedral: three differences (9), two cross products (18), five squares (25), how straight it is (4), two products
#: (10), what is divided by them (3 and two divisions, and 6 of products), two roots (2), cos φ (6), sin φ (7), cos and
#: sin of δ (6), the energy's (8) and the force's (6) function of them, two fading weights and slopes (9 each), energy
#: (4), pull (1), the gradient of φ (3 + 3 + 4), that of the weights (2 + 5 + 5 + 6), and the forces: 15 and 15 at the
#: ends, 33 + 3 + 3 between.
DIHEDRAL = 9 + 18 + 25 + 4 + 10 + 11 + 2 + 6 + 7 + 6 + 8 + 6 + 18 + 4 + 1 + 10 + 18 + 15 + 15 + 39 + _ADDED_4


def bonds(setup: Setup) -> Kernel:
    return along_the_chain(setup, "bonds", bond_energy, BOND, divisions=1, roots=1)


def angles(setup: Setup) -> Kernel:
    return along_the_chain(setup, "angles", angle_energy, ANGLE, divisions=2, roots=2)


def dihedrals(setup: Setup) -> Kernel:
    return along_the_chain(setup, "dihedrals", dihedral_energy, DIHEDRAL, divisions=2, roots=2)


#: A pair that is looked at: difference and r². A close one besides: the overlap (2, a division), energy (2), pull (2, a
#: division), force (3) and its sums (6).
LISTED, CLOSE = 3 + 5, 2 + 2 + 2 + 3 + _ADDED_2


def excluded_volume(setup: Setup) -> Kernel:
    """All pairs listed are looked at; those that overlap push."""
    arrays = setup.terms["excluded_volume"].arrays
    coords, gradient = setup.coords_and_gradient
    apart = coords[arrays.partner] - coords[arrays.first]
    n_close = int(np.count_nonzero(np.sum(apart**2, axis=1) < DIAMETER**2))
    work = Work(
        reads=(coords, arrays.first, arrays.partner, arrays.close_start),
        writes=(),
        operations=LISTED * len(arrays.partner) + CLOSE * n_close,
        divisions=2 * n_close,
        # Only the gradients of close pairs are read and written.
        scattered=min(2 * n_close * 2 * 24, 2 * gradient.nbytes),
    )
    return Kernel("excluded volume", in_compiled_code(repulsion_energy, (setup.rows, setup.gradient, arrays)), work)


def pair_list(setup: Setup) -> Kernel:
    """Which beads are close enough to look at: once in many steps."""
    neighbours = setup.terms["excluded_volume"].neighbours
    start, partner = neighbours.rows
    # Of the pairs that the cells offer at least those listed are measured.
    work = Work(reads=(setup.coords,), writes=(start, partner, neighbours.reference), operations=LISTED * len(partner))
    return Kernel("list of close pairs", in_python(neighbours.build, (setup.coords,)), work)


#: A contact: difference (3), u (7), p = 1 / (1 + u²/8) (4, a division), its powers (2), energy (2), pull (4), force (3)
#: and its sums (6). A bead: adding what it felt.
CONTACT, FELT = 3 + 7 + 4 + 2 + 2 + 4 + 3 + _ADDED_2, 3


def contacts(setup: Setup) -> Kernel:
    arrays = setup.terms["contacts"].arrays
    coords, gradient = setup.coords_and_gradient
    n_contacts = int(np.count_nonzero(arrays.scale))
    # Keeping differences in a workspace meanwhile is the kernel's own business.
    work = Work(
        reads=(coords, arrays.start, arrays.partner, arrays.distance2, arrays.scale, gradient),
        writes=(gradient,),
        operations=CONTACT * n_contacts + FELT * setup.n,
        divisions=n_contacts,
    )
    return Kernel("contacts", in_compiled_code(contact_energy, (setup.rows, setup.gradient, arrays)), work)
