"""Letters, against fonts that the test draws by itself."""

import shutil
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from detaux.config import Config
from detaux.config.schema import DataConfig
from detaux.errors import UserError
from shards.build import build_shards, list_inputs
from shards.datasets.glyphs import WEIGHTS, Face, open_glyphs, read_face
from shards.records import Source

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
MakeData = Callable[..., DataConfig]
ReadImages = Callable[[Source], np.ndarray]
# (family, bold, slanted) -> file
FILES = {
    ("DejaVu Sans", 0, 0): "DejaVuSans",
    ("DejaVu Sans", 0, 1): "DejaVuSans-Oblique",
    ("DejaVu Sans", 1, 0): "DejaVuSans-Bold",
    ("DejaVu Sans", 1, 1): "DejaVuSans-BoldOblique",
    ("DejaVu Sans Mono", 0, 0): "DejaVuSansMono",
    ("DejaVu Sans Mono", 0, 1): "DejaVuSansMono-Oblique",
    ("DejaVu Sans Mono", 1, 0): "DejaVuSansMono-Bold",
    ("DejaVu Sans Mono", 1, 1): "DejaVuSansMono-BoldOblique",
    ("DejaVu Serif", 0, 0): "DejaVuSerif",
    ("DejaVu Serif", 0, 1): "DejaVuSerif-Italic",
    ("DejaVu Serif", 1, 0): "DejaVuSerif-Bold",
    ("DejaVu Serif", 1, 1): "DejaVuSerif-BoldItalic",
}


def draw_by_hand(file: Path, letter: str, side: int) -> np.ndarray:
    """Draw a letter in the middle at .68 of the side, four times as large, and make it smaller."""
    image = Image.new("L", (4 * side, 4 * side))
    font = ImageFont.truetype(file, round(4 * side * 0.68), layout_engine=ImageFont.Layout.BASIC)
    ImageDraw.Draw(image).text((2 * side, 2 * side), letter, 255, font, "mm")
    return np.asarray(image.resize((side, side), Image.Resampling.LANCZOS))


@pytest.fixture
def copy_fonts(tmp_path: Path) -> Callable[..., Path]:
    """copy_fonts("DejaVuSans", ...): a folder with these fonts."""

    def copy(*names: str) -> Path:
        folder = tmp_path / "fonts"
        folder.mkdir()
        for name in names:
            shutil.copy(FONTS / f"{name}.ttf", folder)
        return folder

    return copy


def test_letter_without_jitter_is_the_one_that_its_factors_name(make_data: MakeData, read_images: ReadImages) -> None:
    config = make_data("glyphs", "data.glyphs.letters=RaÅ", "data.glyphs.copies=2", "data.glyphs.jitter=0")
    source = open_glyphs(config)
    assert source.factors == {"letter": 3, "family": 3, "weight": 2, "slant": 2, "font": 12}
    assert (source.count, source.default_principal, source.published_split) == (72, "letter", None)
    names, images = source.value_names, read_images(source)
    assert (names["weight"], names["slant"]) == (["regular", "bold"], ["upright", "slanted"])
    seen = set()
    for image, (letter, family, weight, slant, font), key in zip(
        images, source.factor_values.tolist(), source.keys or [], strict=True
    ):
        file = FILES[names["family"][family], weight, slant]
        assert key.startswith(f"{file}/{names['letter'][letter]}/")
        drawn = draw_by_hand(FONTS / f"{file}.ttf", names["letter"][letter], 16)
        np.testing.assert_array_equal(image, np.repeat(drawn[..., None], 3, axis=2))
        seen.add((letter, family, weight, slant, font))
    assert len(seen) == 36  # every letter in every font
    assert len({row[4] for row in seen}) == len({row[1:] for row in seen}) == 12
    assert len(set(source.keys or [])) == 72


def test_copies_vary_in_size_place_and_brightness(
    make_data: MakeData, read_images: ReadImages, copy_fonts: Callable[..., Path]
) -> None:
    keys = (f"data.path={copy_fonts('DejaVuSans')}", "data.side=64", "data.glyphs.letters=OX", "data.glyphs.copies=60")
    source = open_glyphs(make_data("glyphs", *keys))
    chosen = source.factor_values[:, 0] == 0
    images = read_images(source)[chosen][..., 0].astype(float)
    inked = images > 100
    heights = [np.ptp(np.flatnonzero(one.any(1))) for one in inked]
    middles = np.array([[np.mean(np.flatnonzero(one.any(axis))) for axis in (0, 1)] for one in inked])
    assert 64 * 0.06 * 0.7 < np.ptp(heights) < 64 * 0.13  # capitals are .73 of the size, which varies by .12
    assert (np.ptp(middles, axis=0) > 64 * 0.03).all()
    assert (np.ptp(middles, axis=0) < 64 * 0.07).all()
    brightest = images.max((1, 2))
    assert brightest.min() < 225
    assert brightest.max() > 245
    wider = read_images(open_glyphs(make_data("glyphs", *keys, "data.glyphs.jitter=3")))[chosen][..., 0]
    assert wider.max((1, 2)).min() < 130


def test_letters_depend_only_on_the_config_and_are_read_in_blocks(
    make_data: MakeData, monkeypatch: pytest.MonkeyPatch, read_images: ReadImages
) -> None:
    keys = ("data.glyphs.letters=AB", "data.glyphs.copies=3")
    first, again, other = (
        read_images(open_glyphs(make_data("glyphs", *keys, f"data.split_seed={seed}"))) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    monkeypatch.setattr("shards.records.BLOCK_IMAGES", 7)
    blocks = [records.images for records in open_glyphs(make_data("glyphs", *keys)).read()]
    assert [len(block) for block in blocks] == [7] * 10 + [2]
    np.testing.assert_array_equal(np.concatenate(blocks), first)


def test_fonts_of_a_folder_are_read_by_their_own_names(make_data: MakeData, copy_fonts: Callable[..., Path]) -> None:
    folder = copy_fonts("STIXGeneral", "STIXGeneralBolIta", "DejaVuSans")
    (folder / "sub").mkdir()
    (folder / "STIXGeneral.ttf").rename(folder / "sub" / "misleading-bold.TTF")
    (folder / "LICENSE").touch()
    (folder / ".hidden.ttf").touch()
    source = open_glyphs(make_data("glyphs", f"data.path={folder}"))
    assert source.value_names["font"] == [
        "DejaVu Sans regular upright",
        "STIXGeneral regular upright",
        "STIXGeneral bold slanted",
    ]
    assert source.factors == {"letter": 26, "family": 2, "weight": 2, "slant": 2, "font": 3}
    assert (source.passed_over, source.quarantined) == (["LICENSE"], [])
    assert (source.keys or [])[26 * 18] == "misleading-bold/A/000"


def test_font_that_cannot_be_used_is_quarantined_by_name_and_reason(
    make_data: MakeData, copy_fonts: Callable[..., Path]
) -> None:
    folder = copy_fonts("DejaVuSans", "DejaVuSerif", "DejaVuSansDisplay", "LastResortHE-Regular")
    shutil.copy(folder / "DejaVuSans.ttf", folder / "twin.otf")
    (folder / "DejaVuSans-Bold.ttf").write_bytes(b"no font")  # another machine-wide font has this name
    (folder / "gone.ttf").symlink_to(folder / "nowhere.ttf")
    keys = (f"data.path={folder}", "data.glyphs.letters=AB")
    source = open_glyphs(make_data("glyphs", *keys, "data.max_bad_fraction=0.9"))
    reasons = {entry["file"]: entry["reason"] for entry in source.quarantined}
    assert reasons == {
        "DejaVuSans-Bold.ttf": "unknown file format",
        "DejaVuSansDisplay.ttf": "it lacks A, B",
        "LastResortHE-Regular.ttf": "it draws A and B alike",
        "gone.ttf": "a broken link",
        "twin.otf": "DejaVu Sans regular upright is also in DejaVuSans.ttf",
    }
    assert source.value_names["font"] == ["DejaVu Sans regular upright", "DejaVu Serif regular upright"]
    with pytest.raises(UserError, match=r"5 of 7 samples are unusable.*DejaVuSans-Bold.ttf"):
        open_glyphs(make_data("glyphs", *keys))


def test_folder_or_letters_that_cannot_be_used_are_refused(
    make_data: MakeData, copy_fonts: Callable[..., Path]
) -> None:
    folder = copy_fonts("DejaVuSansDisplay")
    with pytest.raises(
        UserError, match=r"has no font \(.ttf, .otf\) that can be used; DejaVuSansDisplay.ttf: it lacks A"
    ):
        open_glyphs(make_data("glyphs", f"data.path={folder}"))
    with pytest.raises(UserError, match=r"data.path=.*nowhere is not a folder of fonts"):
        open_glyphs(make_data("glyphs", f"data.path={folder}/nowhere"))
    with pytest.raises(UserError, match=r"data.glyphs.letters=ABAB has A, B twice; give each letter once"):
        open_glyphs(make_data("glyphs", "data.glyphs.letters=ABAB"))


def test_font_that_is_lost_while_letters_are_drawn_is_named(
    make_data: MakeData, copy_fonts: Callable[..., Path]
) -> None:
    folder = copy_fonts("DejaVuSans")
    source = open_glyphs(make_data("glyphs", f"data.path={folder}"))
    (folder / "DejaVuSans.ttf").write_bytes(b"")
    with pytest.raises(UserError, match=r"DejaVuSans.ttf was changed while the shards were built"):
        next(source.read())


@pytest.mark.parametrize(
    ("family", "style", "face"),
    [
        ("F", "Book", ("F", "regular", 0)),
        ("F", "", ("F", "regular", 0)),
        ("F", "Bold Oblique", ("F", "bold", 1)),
        ("F", "BoldItalic", ("F", "bold", 1)),
        ("F", "Italic", ("F", "regular", 1)),
        ("F", "Semi Bold", ("F", "semi bold", 0)),
        ("F", "DemiBold", ("F", "semi bold", 0)),
        ("F", "Ultra-Light Italic", ("F", "extra light", 1)),
        ("F", "Heavy", ("F", "black", 0)),
        ("F", "Condensed Bold", ("F Condensed", "bold", 0)),
        ("F Display", "Display", ("F Display", "regular", 0)),
        ("F", "Blackletter", ("F Blackletter", "regular", 0)),
    ],
)
def test_style_says_weight_and_slant(family: str, style: str, face: tuple[str, str, int]) -> None:
    assert read_face(family, style) == Face(face[0], list(WEIGHTS).index(face[1]), face[2])


def test_set_of_letters_has_the_factors_that_vary(
    make_config: Callable[..., Config], tmp_path: Path, copy_fonts: Callable[..., Path]
) -> None:
    folder = copy_fonts("DejaVuSans", "DejaVuSans-Bold")
    keys = ("data.glyphs.letters=AB", "data.correlate={weight: 0.75}", "data.paint.what=background")
    config = make_config("glyphs", f"data.path={folder}", *keys)
    assert list_inputs(config) == {"data.path": folder}
    manifest = build_shards(config, tmp_path / "set")
    assert manifest.factors == {"letter": 2, "weight": 2, "font": 2, "paint": 2}
    assert (manifest.principal, manifest.classes) == ("letter", ["A", "B"])
    by_weight = build_shards(make_config("glyphs", f"data.path={folder}", "data.principal=weight"), tmp_path / "other")
    assert by_weight.classes == ["regular", "bold"]
