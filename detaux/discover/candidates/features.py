"""Propose clusters of a neighbour layout of frozen features (source `features`, key `discover.features`)."""

import torch

from detaux.config import Config
from detaux.config.schema import FROZEN
from detaux.data.neighbours import describe_images
from detaux.data.schema import Manifest
from detaux.data.split import Split
from detaux.discover.candidates.candidate import Candidate
from detaux.discover.candidates.clustered_layout import propose_from_layout
from detaux.discover.feature_file import join_features, read_features
from detaux.discover.frozen import compute_features
from detaux.discover.layout import reduce_points, scale_variance


def propose_features(split: Split, manifest: Manifest, config: Config) -> list[Candidate]:
    """Read the features of the images from the file of the user, or compute them, and cluster two layouts in two ways.

    One layout is of the features, the other of the features beside the pixels (`features_pixels`), both with the same
    variance. On the digits, pixels and features together separate more than either by itself.
    """
    features = config.discover.features
    assert features is not None
    if features == FROZEN:
        points_NF = compute_features(split.images, config)
    else:
        points_NF = join_features(read_features(features), split.keys, manifest.names).to(split.images.device)
    points_NF = reduce_points(points_NF, config.run.seed)
    pixels_NP = describe_images(split.images, config.data.noise, config.run.seed)
    both_NG = torch.cat([scale_variance(points_NF), scale_variance(pixels_NP)], 1)
    return [
        *propose_from_layout(points_NF, "features", config),
        *propose_from_layout(both_NG, "features_pixels", config),
    ]
