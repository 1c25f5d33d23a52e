import torch


def test_two_hundred_classes_find_partners(gather, build_pairs, make_grid):
    stream = make_grid(labels=torch.arange(60) % 30)
    for different in (0.0, 1.0):
        _, is_different = gather(build_pairs(stream, partner="label", different=different))
        assert (is_different == bool(different)).all()


def test_class_with_one_image_takes_a_different_label(build_pairs, make_grid):
    labels = torch.zeros(60, dtype=torch.int64)
    labels[0] = 1
    batch = build_pairs(make_grid(labels=labels), partner="label", different=0.0, batch_size=60).batch(0)
    assert batch.is_different[batch.labels[batch.first] == 1].all()
