"""Propose clusters of image statistics (source `statistics`): what a careful engineer checks before anything is trained."""

from torch import Tensor

from detaux.config import Config
from detaux.data.schema import Manifest
from detaux.data.split import Split
from detaux.discover.candidates.candidate import Candidate, cluster_candidate
from detaux.discover.statistics import dither, measure_images, standardise
from detaux.out_of_fold.network import shrink_images


def propose_statistics(split: Split, manifest: Manifest, config: Config) -> list[Candidate]:
    """Cluster each statistic by itself, and all of them together, standardised, as `statistics`.

    A statistic with fewer than two clusters makes no candidate. Pictures have the form in which networks of
    cross-prediction see them, at most 64 pixels a side.
    """
    data, seed = config.data, config.run.seed
    images_NHWC = shrink_images(split.images, data.noise, data.denoise, seed)
    measured = dither(measure_images(images_NHWC), images_NHWC.shape, seed)
    points: dict[str, Tensor] = {**measured, "statistics": standardise(measured)}
    found = [
        cluster_candidate(points_ND, config, name=name) for name, points_ND in points.items() if points_ND.shape[1]
    ]
    return [one for one in found if one.clusters.count >= 2]
