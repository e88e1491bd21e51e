"""The sentences of the page: they hold whatever the numbers of a run are."""

HEAD = """
Made by `make bench`; no number is typed, but those of other programs and of trials. All times are medians of
processor time on one thread, unless said otherwise. What is compared took turns in one run, each with the caches as it
leaves them itself. Trust ratios more than times.

`make bench` takes some minutes; `python -m benchmarks --quick` looks at one small model in seconds and writes
nothing. With `BAYESFLEX_DATA` set to the folder of the reference data, AdK and p97 are 4AKE and 5FTM; without, the
program makes models of about the same size. Maps are the model's own density (σ 2 Å) with noise. The posterior has
ten modes, local displacements and a rigid motion; its likelihood is `marginal` with a low-pass to the resolution.
""".strip().splitlines()

COUNTING = """
For each kernel: the bytes that must move (each array that is read or written, once; of arrays of which parts are
needed, those parts) and the operations that must be done (additions, subtractions, multiplications, divisions and
square roots of numbers that count in the result; a multiply-add is two; comparisons and exponentials are not
counted). The formulas stand beside each kernel in `benchmarks/*_kernels.py`, and a test counts what the kernels do
(but for those of the grid).
They are filled in with what is there: beads, pairs, contacts, voxels, lines of the cache.

The **roof** is the larger of bytes over bandwidth and operations over the rate of multiply-adds eight at a time. The
bandwidth is the highest one measured of the nearest level in which the kernel's data fits. Two more limits are not
part of a roofline, and often nearer: the rate of divisions and square roots, and chains of multiply-adds in which
each waits for the one before. The last column is the nearest of all, and how much of it is reached.
""".strip().splitlines()

#: What limits each kernel, and what was tried.
KERNELS = """
- **Pair sum**: arithmetic. K and its slope are one polynomial in r², so that no table is read and eight pairs are
  summed at once; beads lie in memory as they lie in space. Before, one pair at a time from a table: the whole
  likelihood took three times as long. What is lost: lanes without a pair (see above), and at the end of each tile's
  list of beads, whose number varies, a branch that cannot be foreseen. Passing over beads without any pair in reach,
  a third of those listed, was tried: that branch costs more (+ 20 %). So do one list of beads and tiles without an
  inner loop, which loads the tile again for each bead (+ 24 %), and two beads at a time (+ 24 %). So can the place of
  the workspace: 16 bytes off a cache line it cost 30 %. Signs that go into multiply-adds, and units that go into the
  weights of a tile instead of each of its lanes, left three of some forty-five operations out: 8 % less. What is the
  same for all pairs of two kinds is divided once and for all: 2 % less. Sixteen numbers of 32 bits at a time, two beads
  with a tile, took a quarter less (an AMD EPYC; a tenth less of a step). But each term is then off by 1e-7 K(0), which
  is 1e-5 nats with white noise and 2e-3 nats with noise of the residual's own spectrum for 25 beads, and grows as the
  root of their number: a trajectory of a large model would see it. A second list of a narrow skin (0.4 Å), made of the
  wide one every few steps, leaves out a tenth of the lanes, and sums are the same to the bit: 3 % less of a step of
  p97, and with a small model a call from Python takes 4 µs more. Neither was kept.
- **Field interpolation**: waiting for memory once the part of the field near the model has outgrown the second cache:
  each bead reads 16 short rows in 4 planes, of which neighbours share some. Coefficients are kept in 16 bits, those
  of two fields side by side, so that a row is a quarter of a cache line: with a million CA a fifth to a third less time
  than in 32 bits, with a thousand none. The grid is as coarse as the spectrum allows: with the
  low-pass the field is less than half as large as for white noise, and takes a third less time. The rows of a bead are
  asked for four beads ahead, by their ends: within a gradient of p97 15 % less time, with a small model, for which it
  is arithmetic, 5 % more. Weights along y and z are eight at a time, as those along x: 10 % less.
- **Bonds, angles, dihedrals**: for eight stretches at a time, turning rows (x, y, z) into vectors and back takes as
  many instructions as a bond's arithmetic. Angles and dihedrals are long chains of operations that wait for each other,
  and eight of them are as much as the processor looks ahead. Dihedrals need no arc and angles one of their own, without
  a table or a branch. What is divided by several numbers is divided by their product, once: two divisions in place of
  five and twelve took a quarter less time.
- **Contacts**: the arithmetic is done eight at a time, but each contact's partner lies elsewhere: gathering
  differences and scattering forces, one number at a time, is what takes the time. A well that is a power instead of
  an exponential needs one division and no root. A thousand contacts at a time, so that what is gathered stays in the
  first cache, and indices without a sign, which need no look at it: 15 % less. Constants are rounded to 32 bits: some
  3 % of a gradient of p97. Beads further on are asked for before partners among them are, in no order that a
  processor foresees: with a million CA half the time.
- **Excluded volume**: looks at each listed pair, one at a time; few push. Rows of two or three partners, whose ends
  cannot be foreseen, took a third more. A wide skin makes the list longer and its rebuilding, which is dearer, rarer.
- **Deformation, pull-back**: read the modes, whose size decides the level: all at the same time on the way out, four at
  a time on the way back. They are rounded to 32 bits: within a gradient of p97 a quarter less time. Beads are taken a
  thousand at a time, so that what is done with them one after the other finds them in the first cache: with a million
  CA a third and a sixth less.
- **Mass velocity**: forward and back along the chain, each row waits for the one before. The factor is kept without
  divisions, and the eleven numbers that a row needs stay in registers; only one product of a row waits. What is left
  is one number at a time.
- **Posterior gradient, leapfrog step**: the kernels above one after the other, so that each finds the caches as the
  others leave them: with the data of all together in the third cache or beyond, most of what the parts lose by that
  is the field's. Large models are summed over in eight parts, each with a gradient of its own: only the tiles that a
  part reaches are cleared and added up, which takes less than half of the time that all of them took. Called from
  Python, a gradient also pays for the call, which with a small model is a good part of the time.
- **Lists**: comparisons and branches, which do not count as operations. They are rebuilt only when a bead has moved
  by half the skin.
- **Grid**: exponentials for the edges of each bead's window (not counted), and short rows that begin anywhere. It
  serves output maps and as the reference.
""".strip().splitlines()
