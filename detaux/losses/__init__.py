"""Compute the paper's equations, one file each: tensors in, scalar out. README.md has the symbols and derivations."""
