"""Propose clusters of a neighbour layout of the pixels (source `layout`): classes that hide within a class.

A disentangler looks for what changes across classes. A class within a class, such as the digit within the parity, is a
neighbourhood of its own in the pictures, which a layout pulls apart.
"""

from detaux.config import Config
from detaux.data.neighbours import describe_images
from detaux.data.schema import Manifest
from detaux.data.split import Split
from detaux.discover.candidates.candidate import Candidate
from detaux.discover.candidates.clustered_layout import propose_from_layout


def propose_layout(split: Split, manifest: Manifest, config: Config) -> list[Candidate]:
    """Lay out the pixels, as principal components, and cluster the layout in two ways.

    Salt and pepper is removed before, as for mining: neighbours by pixels would be neighbours by noise.
    """
    points_NF = describe_images(split.images, config.data.noise, config.run.seed)
    return propose_from_layout(points_NF, "layout", config)
