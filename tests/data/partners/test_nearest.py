import torch


def test_nearest_pairs_are_of_another_label_or_of_the_nearest_images(build_pairs):
    pairs = build_pairs(partner="nearest", different=0.3, nearest=3)
    place = {image.numpy().tobytes(): row for row, image in enumerate(pairs.pool_images)}
    for batch in map(pairs.batch, range(20)):
        rows = torch.tensor([place[image.numpy().tobytes()] for image in batch.images])
        is_near = (pairs.rule.nearest[rows[batch.first]] == rows[batch.second, None]).any(1)
        assert (is_near | batch.is_different).all()
