"""Run the hot loops of our own HDBSCAN in Triton. Each replaces a function in the folder above, only on a GPU."""
