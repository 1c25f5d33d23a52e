"""Triton versions of the hot loops of our own HDBSCAN, each of a function beside this folder; imported only on a GPU."""
