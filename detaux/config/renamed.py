"""Keep the old names of keys, so that frozen configs of older runs load and a user learns the new name."""

RENAMED = {
    "discover.noise": "discover.outliers",
    "discover.max_noise_share": "discover.max_outlier_fraction",
    "discover.min_oracle_share": "discover.min_oracle_fraction",
    "discover.min_variance_share": "discover.min_variance_fraction",
}
