import numpy as np
import torch

from detaux.discover.cross_prediction.recogniser import Recogniser, match_labels
from detaux.out_of_fold.network import build_network


def test_each_class_gets_the_label_of_its_images():
    classes, labels = np.array([2, 0, -1, 2, 0]), np.array([0, 5, 9, 0, 5])
    assert match_labels(classes, labels, 4).tolist() == [5, -1, 0, -1]


def test_label_is_that_of_the_highest_mean_probability_among_the_classes_of_training_images():
    """By a loop over images and networks, in float64."""
    images = torch.randint(0, 256, (20, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = tuple(build_network(8, 3, 4).eval() for _ in range(3))
    for network in networks:
        network[-1].weight.data *= 5  # apart from one another
    labels, probability = Recogniser(networks, np.array([3, -1, 0, 1])).recognise(images)
    for network in networks:
        network.requires_grad_(False)
    for image, label, sure in zip(images, labels, probability, strict=True):
        pixels = image.permute(2, 0, 1)[None].double() / 255
        means = torch.stack([network.double()(pixels).softmax(1)[0] for network in networks]).mean(0)
        means[1] = 0
        assert label == [3, -1, 0, 1][int(means.argmax())]
        assert abs(sure - float(means.max())) < 1e-5
        for network in networks:
            network.float()
    assert len(set(labels.tolist())) > 1
