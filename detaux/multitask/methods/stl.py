"""Single-task learning: the principal task only, by the network and the steps of hard sharing."""

from detaux.multitask.methods.hard_sharing import HardSharing


class SingleTask(HardSharing):
    """Train hard sharing's network with one head; what every other method is compared with."""

    reads_labels = False
