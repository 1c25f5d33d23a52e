import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from detaux.discover.feature_file import join_features, read_features
from detaux.errors import UserError

KEYS = ["b", "a", "d", "c"]
ROWS = np.arange(12.0).reshape(4, 3) ** 2


def write(path, keys=KEYS, rows=ROWS, **others):
    """Write features in the form that the name of the file says; None leaves an entry out."""
    if path.suffix == ".npy":
        np.save(path, rows)
    elif path.suffix == ".npz":
        entries = {"keys": keys if keys is None else np.array(keys), "features": rows, **others}
        np.savez(path, **{name: one for name, one in entries.items() if one is not None})
    else:
        metadata = None if keys is None else {"keys": keys if isinstance(keys, str) else json.dumps(keys)}
        save_file(others or {"features": torch.as_tensor(rows)}, path, metadata)
    return str(path)


@pytest.mark.parametrize("name", ["f.npz", "f.safetensors"])
def test_rows_are_joined_by_key_in_any_order(tmp_path, name):
    features = read_features(write(tmp_path / name))
    found = join_features(features, ["c", "a", "b"], {})  # d belongs to another split
    expected = ROWS[[3, 1, 0]] - ROWS[[3, 1, 0]].mean(0)
    torch.testing.assert_close(found, torch.from_numpy(expected).float())


def test_rows_without_keys_keep_their_order(tmp_path):
    found = join_features(read_features(write(tmp_path / "f.npy")), list("wxyz"), {})
    torch.testing.assert_close(found, torch.from_numpy(ROWS - ROWS.mean(0)).float())


def test_row_may_have_the_name_of_an_image_in_the_data_set(tmp_path):
    features = read_features(write(tmp_path / "f.npz", ["cats/1.png", "b", "cats/2.png", "c"]))
    found = join_features(features, ["k2", "b", "k1"], {"k1": "cats/1.png", "k2": "cats/2.png"})
    torch.testing.assert_close(found, torch.from_numpy(ROWS[[2, 1, 0]] - ROWS[[2, 1, 0]].mean(0)).float())


def test_small_differences_far_from_zero_are_kept(tmp_path):
    rows = 1e9 + np.random.default_rng(0).normal(size=(5000, 2))
    found = join_features(read_features(write(tmp_path / "f.npy", rows=rows)), [str(one) for one in range(5000)], {})
    np.testing.assert_allclose(found.numpy(), rows - rows.mean(0), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int32])
def test_every_kind_of_real_number_is_read(tmp_path, dtype):
    features = read_features(write(tmp_path / "f.safetensors", rows=torch.arange(12).reshape(4, 3).to(dtype)))
    np.testing.assert_array_equal(features.rows_MF, np.arange(12).reshape(4, 3))


@pytest.mark.parametrize("dtype", [np.longdouble, np.float16, np.uint8, np.bool_])
def test_kinds_of_numbers_that_only_numpy_knows_are_joined(tmp_path, dtype):
    rows = (np.arange(12).reshape(4, 3) % 5).astype(dtype)
    found = join_features(read_features(write(tmp_path / "f.npy", rows=rows)), list("wxyz"), {})
    np.testing.assert_allclose(found.numpy(), (rows - rows.mean(0, dtype=np.float64)).astype(np.float32), atol=1e-3)


NAN = np.where(np.arange(12).reshape(4, 3) == 7, np.nan, ROWS)
FAULTS = {
    "not finite": ("f.npy", {"rows": NAN}, r"has 1 rows that are not finite or beyond 1e\+12, first row 2"),
    "infinite": (
        "f.safetensors",
        {"rows": np.where(np.isnan(NAN), np.inf, NAN)},
        r"not finite or beyond 1e\+12, first row 2",
    ),
    "too large for float32": ("f.npz", {"rows": np.where(np.isnan(NAN), -1e39, NAN)}, r"beyond 1e\+12, first row 2"),
    "too large a whole number": ("f.npy", {"rows": np.full((4, 3), -(2**63))}, r"has 4 rows .* beyond 1e\+12"),
    "vector": ("f.npy", {"rows": ROWS[0]}, r"float64 of shape \[3\]"),
    "empty": ("f.npy", {"rows": ROWS[:0]}, r"float64 of shape \[0, 3\]"),
    "text": ("f.npz", {"rows": np.array([["a"]] * 4)}, r"<U1 of shape"),
    "complex": ("f.safetensors", {"rows": torch.zeros(4, 3, dtype=torch.complex64)}, r"complex numbers"),
    "archive": ("f.npz", {"keys": None}, r"lacks 'keys'; give discover\.features a \.npy"),
    "no features": ("f.npz", {"rows": None}, r"lacks 'features'"),
    "no metadata": ("f.safetensors", {"keys": None}, r"needs a tensor `features`, and `keys` in its metadata"),
    "no tensor": ("f.safetensors", {"other": torch.zeros(4, 3)}, r"needs a tensor `features`"),
    "no list": ("f.safetensors", {"keys": "{}"}, r"no JSON list"),
    "no JSON": ("f.safetensors", {"keys": "[1"}, r"no JSON list"),
    "numbers": ("f.npz", {"keys": [1, 2, 3, 4]}, r"keys holds 1; the keys of samples"),
    "few keys": ("f.npz", {"keys": ["a", "b"]}, r"has 2 keys and 4 rows"),
    "twice": ("f.safetensors", {"keys": ["a", "b", "a", "c"]}, r"has 2 rows for a; one is expected"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_file_with_a_mistake_is_refused_in_one_sentence(tmp_path, fault):
    name, content, message = FAULTS[fault]
    with pytest.raises(UserError, match=message) as caught:
        read_features(write(tmp_path / name, **content))
    assert str(tmp_path / name) in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("name", ["f.npy", "f.npz", "f.safetensors"])
def test_damaged_file_is_named(tmp_path, name):
    path = tmp_path / name
    write(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=rf"{name} is no {path.suffix} file.*give discover\.features"):
        read_features(str(path))


def test_pickle_is_not_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return pytest.fail, ("a pickle was opened",)

    np.save(tmp_path / "f.npy", np.array([Trap()], object), allow_pickle=True)
    with pytest.raises(UserError, match=r"f\.npy is no \.npy file"):
        read_features(str(tmp_path / "f.npy"))


def test_wrong_number_of_rows_is_named(tmp_path):
    features = read_features(write(tmp_path / "f.npy"))
    with pytest.raises(UserError, match=r"4 rows and the training split has 3 images.*\.npz file.*shards order"):
        join_features(features, ["a", "b", "c"], {})


def test_image_without_a_row_is_named(tmp_path):
    features = read_features(write(tmp_path / "f.npz"))
    with pytest.raises(UserError, match=r"has no row for 2 of the 4 training images, first x"):
        join_features(features, ["a", "x", "b", "y"], {"y": "z"})
