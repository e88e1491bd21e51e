"""Docking: where in a map a model lies, and which way it is turned, with nothing known before.

``search`` looks everywhere on a coarse grid.
"""
