"""Train only the principal task (single-task learning), with the network and the steps of hard sharing."""

from detaux.multitask.methods.hard_sharing import HardSharing


class SingleTask(HardSharing):
    """Train hard sharing's network with one head. Every other method is compared with it."""

    reads_labels = False
