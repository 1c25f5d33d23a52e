"""Find auxiliary labels with a trained disentangler: embed, cluster, merge, score, choose."""
