"""Use the labels: train classifiers with and without the auxiliary task, and say by how much they differ."""
