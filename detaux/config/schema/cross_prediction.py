"""Declare the keys of cross-prediction: small networks that label the images of one fold from those of the other."""

from dataclasses import dataclass

from detaux.config.key import key


@dataclass(frozen=True)
class CrossPredictionConfig:
    rounds: int = key(
        0, "rounds that mend the labels of each candidate, at most; each starts from those before; 0: off", 0, 10
    )
    steps: int = key(150, "training steps of each of the four networks of a round", 1)
    batch_size: int = key(64, "images in a training step", 2)
    keep: float = key(0.5, "share of each cluster, the most confident images, on which the networks train", 0.0, 1.0)
    max_seconds: float = key(
        600.0, "seconds for all candidates together; those that are not reached keep their labels; 0: no limit", 0.0
    )
    processes: int = key(
        1,
        "processes that judge candidates on a CPU, each with one thread and about 300 MB; 0: one for each core, at most 8",
        0,
        1024,
        neutral=True,
    )
