"""From a trained disentangler to auxiliary labels: embed, cluster, merge, score, choose."""
