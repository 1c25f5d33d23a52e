"""Propose clusters of a neighbour layout of frozen features (source `features`, key `discover.features`)."""

from detaux.config import Config
from detaux.config.schema import FROZEN
from detaux.data.schema import Manifest
from detaux.data.split import Split
from detaux.discover.candidates.candidate import Candidate
from detaux.discover.candidates.clustered_layout import propose_from_layout
from detaux.discover.feature_file import join_features, read_features
from detaux.discover.frozen import compute_features
from detaux.discover.layout import reduce_points


def propose_features(split: Split, manifest: Manifest, config: Config) -> list[Candidate]:
    """Read the features of the images from the file of the user, or compute them, and cluster their layout in two ways."""
    features = config.discover.features
    assert features is not None
    if features == FROZEN:
        points_NF = compute_features(split.images, config)
    else:
        points_NF = join_features(read_features(features), split.keys, manifest.names).to(split.images.device)
    return propose_from_layout(reduce_points(points_NF, config.run.seed), "features", config)
