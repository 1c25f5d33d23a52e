"""Find the subspaces: the autoencoder, its projectors, the objective, and the training."""
