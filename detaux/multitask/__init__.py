"""Use the labels: train classifiers with and without the auxiliary task, and measure the difference."""
