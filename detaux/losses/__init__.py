"""The paper's equations, one file each: tensors in, scalar out. README.md holds the symbols and the derivations."""
