import torch

from detaux.data.image_rows import ImageRows


def test_selected_rows_are_those_of_the_tensor_and_are_not_copied():
    images = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(6, 2, 2, 3).clone()
    rows = ImageRows.select(images, torch.tensor([4, 1, 1, 5]))
    assert (len(rows), rows.shape, rows.device) == (4, (4, 2, 2, 3), images.device)
    images += 10
    assert rows[torch.tensor([3, 0, 2])][:, 0, 0, 0].tolist() == [15, 14, 11]
