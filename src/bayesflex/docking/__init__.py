"""Docking: where in a map a model lies, and which way it is turned, with nothing known before.

``search`` looks everywhere on a coarse grid, ``refinement`` follows the gradient from what it found, ``symmetry`` tells
which poses are one and the same, and ``solutions`` puts the three together.
"""
