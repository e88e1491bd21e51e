"""Experiments of the paper that this program grew from, redone."""
