"""Find the hidden factors of a set from the relative-neighbour graph of its images, without training."""
