import contextlib
import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detaux.data.decode import (
    BadSampleError,
    decode_group,
    decode_image,
    decode_integer,
    decode_json,
    decode_npy,
)


def encode_image(image: Image.Image, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def encode_npy(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def make_header(text: str, body: bytes = b"") -> bytes:
    header = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


class Touch:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)


def test_png_gives_its_pixels() -> None:
    np.testing.assert_array_equal(decode_image(encode_image(Image.fromarray(PIXELS)), "png", "a.png"), PIXELS)


@pytest.mark.parametrize(("suffix", "form"), [("jpg", "JPEG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_lossy_format_gives_about_its_colour(suffix: str, form: str) -> None:
    image = decode_image(encode_image(Image.new("RGB", (8, 8), (200, 40, 90)), form), suffix, "a")
    assert image.shape == (8, 8, 3)
    np.testing.assert_allclose(image.mean((0, 1)), (200, 40, 90), atol=6)


def test_other_modes_become_rgb() -> None:
    grey = Image.new("L", (4, 4), 90)
    deep = Image.fromarray(np.full((4, 4), 90 * 257, np.uint16))
    for image in (grey, deep):
        np.testing.assert_array_equal(decode_image(encode_image(image), "png", "a.png"), np.full((4, 4, 3), 90))
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert (decode_image(encode_image(clear), "png", "a.png") == 255).all()


@pytest.mark.parametrize(("suffix", "form"), [("png", "JPEG"), ("jpg", "PNG"), ("webp", "GIF"), ("gif", "GIF")])
def test_format_other_than_the_suffix_is_refused(suffix: str, form: str) -> None:
    with pytest.raises(BadSampleError, match="member.x"):
        decode_image(encode_image(Image.fromarray(PIXELS), form), suffix, "member.x")


def test_image_too_large_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_image(Image.new("1", (2**13, 2**13 + 1)))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(BadSampleError, match=r"a\.png: 8192 x 8193 pixels exceed"):
        decode_image(data, "png", "a.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_npy_gives_its_array(dtype: type) -> None:
    array = np.arange(12, dtype=dtype).reshape(3, 4)
    np.testing.assert_array_equal(decode_npy(encode_npy(array), "a.npy", dtype, 2), array)
    with pytest.raises(BadSampleError, match="in Fortran order"):
        decode_npy(encode_npy(np.asfortranarray(array)), "a.npy", dtype, 2)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        encode_npy(np.zeros((2, 2))),
        encode_npy(np.zeros(4, np.uint8)),
        encode_npy(np.zeros((2, 2), np.uint8))[:-1],
        encode_npy(np.zeros((2, 2), np.uint8)) + b"x",
        make_header("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 1000000000)}"),
        make_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-2, -2)}", bytes(4)),
        make_header("{'descr': '|u1', 'fortran_order': False, 'shape': (0, 4611686018427387904)}"),
        make_header("{'descr': '|O', 'fortran_order': False, 'shape': (1, 1)}", bytes(8)),
        make_header("{'descr': '|u1', 'fortran_order': False, 'shape': ('a', 1)}"),
        make_header("__import__('os').getcwd()"),
        make_header("(" * 100),
    ],
)
def test_malformed_npy_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(BadSampleError, match=r"block\.images\.npy"):
        decode_npy(data, "block.images.npy", np.uint8, 2)


def test_object_array_is_refused_and_not_unpickled(tmp_path: Path) -> None:
    objects = np.empty((1, 1), dtype=object)
    objects[0, 0] = Touch(tmp_path / "executed")
    for data in (encode_npy(objects, allow_pickle=True), pickle.dumps(objects)):
        with pytest.raises(BadSampleError, match=r"a\.npy"):
            decode_npy(data, "a.npy", np.int64, 2)
    assert not (tmp_path / "executed").exists()


def test_cls_is_an_integer() -> None:
    assert decode_integer(b"17\n", "a.cls") == 17
    assert decode_integer(b"-1", "a.cls") == -1
    for data in (b"", b"cat", b"1.5", b"1_0", b"9" * 40, b"\xff"):
        with pytest.raises(BadSampleError, match=r"a\.cls"):
            decode_integer(data, "a.cls")


def test_json_is_an_object() -> None:
    assert decode_json(b'{"label": 3}', "a.json") == {"label": 3}
    for data in (b"", b"[1]", b"{", b"\xff", b"[" * 100_000):
        with pytest.raises(BadSampleError, match=r"a\.json"):
            decode_json(data, "a.json")


def make_packed(count: int = 3, **fields: bytes | None) -> dict[str, bytes | str]:
    group = {
        "__key__": "block",
        "__url__": "",
        "images.npy": encode_npy(np.zeros((count, 6, 6, 3), np.uint8)),
        "labels.npy": encode_npy(np.arange(count)),
        "keys.txt": "".join(f"k{index}\n" for index in range(count)).encode(),
        "factors.npy": encode_npy(np.ones((count, 2), np.int64)),
    }
    group.update({name.replace("_", "."): data for name, data in fields.items()})
    return {name: data for name, data in group.items() if data is not None}


def test_packed_group_gives_its_block() -> None:
    block = decode_group(make_packed(), "packed", 6, 3)
    assert block.images.shape == (3, 6, 6, 3)
    assert block.labels.tolist() == [0, 1, 2]
    assert block.keys == ["k0", "k1", "k2"]
    assert block.factors.tolist() == [[1, 1]] * 3
    assert decode_group(make_packed(factors_npy=None), "packed", 6, 3).factors is None


def test_standard_group_gives_a_block_of_one() -> None:
    group = {"__key__": "k", "png": encode_image(Image.new("RGB", (6, 6), "red")), "cls": b"2"}
    block = decode_group(group, "standard", 6, 3)
    assert block.images.shape == (1, 6, 6, 3)
    assert (block.labels.tolist(), block.keys, block.factors) == ([2], ["k"], None)
    known = decode_group({**group, "json": b'{"factors": [1, 0]}'}, "standard", 6, 3)
    assert known.factors.tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("group", "layout", "named"),
    [
        (make_packed(images_npy=None), "packed", r"block\.images\.npy: missing"),
        (make_packed(labels_npy=None), "packed", r"block\.labels\.npy: missing"),
        (make_packed(keys_txt=b"k0\n"), "packed", "block: fields disagree"),
        (make_packed(images_npy=encode_npy(np.zeros((3, 5, 6, 3), np.uint8))), "packed", "5x6x3"),
        (make_packed(labels_pkl=b""), "packed", r"block\.labels\.pkl: not a field"),
        ({"__key__": "k", "cls": b"1"}, "standard", "one image member"),
        ({"__key__": "k", "png": encode_image(Image.new("L", (6, 6)))}, "standard", r"k\.cls: missing"),
        ({"__key__": "k", "png": b"x", "cls": b"1"}, "standard", r"k\.png"),
        ({"__key__": "k", "pyd": b"x"}, "standard", r"k\.pyd: not a field"),
    ],
)
def test_malformed_group_is_refused_by_member(group: dict, layout: str, named: str) -> None:
    with pytest.raises(BadSampleError, match=named):
        decode_group(group, layout, 6, 3)


@pytest.mark.parametrize(
    "factors", [b'{"factors": [1.5]}', b'{"factors": [true]}', b'{"factors": 3}', b'{"factors": [-1]}']
)
def test_factors_that_are_no_value_indices_are_refused(factors: bytes) -> None:
    group = {"__key__": "k", "png": encode_image(Image.new("RGB", (6, 6))), "cls": b"2", "json": factors}
    with pytest.raises(BadSampleError, match=r"k\.json"):
        decode_group(group, "standard", 6, 3)


SEEDS = {
    "png": encode_image(Image.fromarray(PIXELS)),
    "jpg": encode_image(Image.fromarray(PIXELS), "JPEG"),
    "webp": encode_image(Image.fromarray(PIXELS), "WEBP"),
    "npy": encode_npy(PIXELS),
}
DECODERS: dict[str, Callable[[bytes], object]] = {
    **{suffix: lambda data, suffix=suffix: decode_image(data, suffix, "a") for suffix in ("png", "jpg", "webp")},
    "npy": lambda data: decode_npy(data, "a", np.uint8, 3),
}


@given(
    st.sampled_from(sorted(SEEDS)),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8),
    st.data(),
)
def test_damaged_bytes_give_an_array_or_a_bad_sample(
    form: str, flips: list[tuple[int, int]], data: st.DataObject
) -> None:
    damaged = bytearray(SEEDS[form])
    for place, value in flips:
        damaged[place % len(damaged)] = value
    cut = data.draw(st.integers(0, len(damaged)))
    for attempt in (bytes(damaged), bytes(damaged[:cut])):
        with contextlib.suppress(BadSampleError):
            assert isinstance(DECODERS[form](attempt), np.ndarray)
