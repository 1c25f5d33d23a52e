"""Draw letters in many fonts: every letter in every family, weight and slant, with some jitter from copy to copy.

The fonts are DejaVu Sans, Sans Mono and Serif, which matplotlib installs, or those of a folder. Each picture is drawn
larger than it is needed and made smaller, white on black.
"""

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from detaux.config.location import expand_path
from detaux.config.schema import DataConfig
from detaux.errors import UserError, raise_machine_fault
from detaux.runtime.text import show_name
from shards.picture_files import refuse_link
from shards.records import Records, Source, check_share, count_block

DEJAVU = [
    f"{family}{style}.ttf"
    for family, slanted in (("DejaVuSans", "Oblique"), ("DejaVuSansMono", "Oblique"), ("DejaVuSerif", "Italic"))
    for style in ("", f"-{slanted}", "-Bold", f"-Bold{slanted}")
]
SUFFIXES = (".ttf", ".otf")
WEIGHTS = {  # from light to heavy: name -> what fonts call it, without spaces and hyphens
    "thin": ("thin", "hairline"),
    "extra light": ("extralight", "ultralight"),
    "light": ("light",),
    "semi light": ("semilight", "demilight"),
    "regular": ("", "regular", "book", "roman", "normal"),
    "medium": ("medium",),
    "semi bold": ("semibold", "demibold", "demi"),
    "bold": ("bold",),
    "extra bold": ("extrabold", "ultrabold"),
    "black": ("black", "heavy"),
}
WEIGHT = re.compile(
    r"\b((?:(?:extra|ultra|semi|demi)[ -]?)?(?:light|bold)|thin|hairline|regular|book|roman|normal|medium|demi|black|heavy)"
    r"(?=\b|italic|oblique)",
    re.IGNORECASE,
)
SLANT = re.compile("italic|oblique|slanted|inclined", re.IGNORECASE)
SLANTS = ("upright", "slanted")
SUPERSAMPLING = 4
PROBE_SIZE = 64  # pixels, at which letters are compared
NO_CHARACTER = "\uffff"  # which no font has, so that it shows the sign for what is missing
STREAM = 3  # keeps these draws apart from those of the split, which has the same seed
# with jitter 1: the size of the font over the side of the image, its centre's distance from the middle, its brightness
SIZE, SIZE_SPREAD, PLACE_SPREAD, BRIGHTNESS, BRIGHTNESS_LOSS = 0.68, 0.06, 3 / 128, 255, 55


@dataclass(frozen=True, order=True)
class Face:
    """Hold what the names of a font say, with the weight's place in WEIGHTS and the slant's in SLANTS."""

    family: str
    weight: int
    slant: int

    def __str__(self) -> str:
        return f"{self.family} {list(WEIGHTS)[self.weight]} {SLANTS[self.slant]}"


def open_glyphs(config: DataConfig) -> Source:
    """Open the letters `data.glyphs.letters` in the fonts of the folder `data.path`, or in those of matplotlib.

    A file that is no font, that lacks a letter, or whose family, weight and slant another file has is quarantined.
    Raises UserError if letters repeat, if no font is left, or if more than data.max_bad_fraction is quarantined.
    """
    letters = config.glyphs.letters
    if repeated := sorted({one for one in letters if letters.count(one) > 1}):
        raise UserError(f"data.glyphs.letters={letters} has {', '.join(repeated)} twice; give each letter once.")
    fonts, quarantined, passed_over = _find_fonts(config)
    faces = sorted(fonts)
    families, weights = (sorted({getattr(face, name) for face in faces}) for name in ("family", "weight"))
    slants = sorted({face.slant for face in faces})
    shape = (len(faces), len(letters), config.glyphs.copies)
    font_of, letter_of, copy_of = (axis.ravel() for axis in np.indices(shape))
    of_font = np.array(
        [(families.index(face.family), weights.index(face.weight), slants.index(face.slant)) for face in faces]
    )
    jitter = np.random.default_rng((config.split_seed, STREAM)).uniform(-1, 1, (len(font_of), 4))
    value_names = {
        "letter": list(letters),
        "family": families,
        "weight": [list(WEIGHTS)[weight] for weight in weights],
        "slant": [SLANTS[slant] for slant in slants],
        "font": [str(face) for face in faces],
    }
    return Source(
        name="glyphs",
        factors={name: len(names) for name, names in value_names.items()},
        value_names=value_names,
        default_principal="letter",
        count=len(font_of),
        factor_values=np.column_stack([letter_of, of_font[font_of], font_of]).astype(np.int64),
        published_split=None,
        read=_make_reader([fonts[face] for face in faces], font_of, letter_of, jitter * config.glyphs.jitter, config),
        keys=[
            f"{fonts[faces[font]].stem}/{letters[letter]}/{copy:03d}"
            for font, letter, copy in zip(font_of, letter_of, copy_of, strict=True)
        ],
        quarantined=quarantined,
        passed_over=passed_over,
    )


def read_face(family: str, style: str) -> Face:
    """Read weight and slant from the name of a style. Words that say neither, such as Condensed, join the family."""
    found = WEIGHT.search(style)
    word = re.sub("[ -]", "", found[0].lower()) if found else ""
    weight = next(place for place, words in enumerate(WEIGHTS.values()) if word in words)
    rest = SLANT.sub("", style[: found.start()] + style[found.end() :] if found else style)
    others = [one for one in rest.split() if one.lower() not in family.lower().split()]
    return Face(" ".join([family, *others]), weight, int(SLANT.search(style) is not None))


def draw_letter(
    font: ImageFont.FreeTypeFont, letter: str, place: tuple[float, float], brightness: int, side: int
) -> np.ndarray:
    """Draw a letter with its middle at `place`, in fine pixels, and return it as grey uint8 [side, side]."""
    fine = Image.new("L", (side * SUPERSAMPLING, side * SUPERSAMPLING), 0)
    ImageDraw.Draw(fine).text(place, letter, fill=brightness, font=font, anchor="mm")
    return np.asarray(fine.resize((side, side), Image.Resampling.LANCZOS))


def load_font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    """Load a font at `size` pixels. The layout is FreeType's own, since not every machine has another.

    ImageFont.truetype would replace a damaged file by a font of the same name from elsewhere on the machine.
    """
    return ImageFont.FreeTypeFont(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def _find_fonts(config: DataConfig) -> tuple[dict[Face, Path], list[dict[str, str]], list[str]]:
    """Return the usable fonts, the quarantined files with their reasons, and the files that are no fonts."""
    if config.path is None:
        import matplotlib

        root = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        files, passed_over = [root / name for name in DEJAVU], list[str]()
    else:
        root = expand_path(config.path, "data.path")
        if not root.is_dir():
            raise UserError(f"data.path={root} is not a folder of fonts.")
        found = [path for path in sorted(root.rglob("*")) if path.is_symlink() or path.is_file()]
        found = [path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts)]
        files = [path for path in found if path.suffix.lower() in SUFFIXES]
        passed_over = [show_name(path.relative_to(root)) for path in found if path.suffix.lower() not in SUFFIXES]
    fonts, quarantined = dict[Face, Path](), list[dict[str, str]]()
    for path in files:
        face, fault = _inspect_font(path, config.glyphs.letters)
        fault = refuse_link(path, root) or fault
        if fault is None and face in fonts:
            fault = f"{face} is also in {show_name(fonts[face].relative_to(root))}"
        if fault is not None or face is None:
            quarantined.append({"file": show_name(path.relative_to(root)), "reason": show_name(fault or "no font")})
        else:
            fonts[face] = path
    if not fonts:
        first = "; {file}: {reason}".format(**quarantined[0]) if quarantined else ""
        raise UserError(f"data.path={root} has no font (.ttf, .otf) that can be used{first}.")
    check_share(f"data.path={root}", quarantined, len(files), config.max_bad_fraction)
    return fonts, quarantined, passed_over


def _inspect_font(path: Path, letters: str) -> tuple[Face | None, str | None]:
    """Return what a font is by its own names, and why it cannot be used, if so.

    Raises OSError and MemoryError if the fault is the machine's and not the font's.
    """
    try:
        font = load_font(path, PROBE_SIZE)
        family, style = font.getname()
        shapes = {letter: _take_shape(font, letter) for letter in (NO_CHARACTER, *letters)}
    except Exception as error:  # FreeType refuses damaged fonts in many ways
        raise_machine_fault(error, path)
        return None, " ".join(str(error).replace(str(path), path.name).split()) or type(error).__name__
    missing = [one for one in letters if shapes[one][1].strip(b"\0") == b"" or shapes[one] == shapes[NO_CHARACTER]]
    face = read_face(family or path.stem, style or "")
    if missing:
        return face, f"it lacks {', '.join(missing)}"
    for number, letter in enumerate(letters):
        for other in letters[:number]:
            if shapes[letter] == shapes[other]:
                return face, f"it draws {other} and {letter} alike"
    return face, None


def _take_shape(font: ImageFont.FreeTypeFont, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


def _make_reader(
    paths: list[Path], font_of: np.ndarray, letter_of: np.ndarray, jitter: np.ndarray, config: DataConfig
) -> Callable[[], Iterator[Records]]:
    """Return what draws all pictures in blocks. `jitter` [count, 4] varies size, place (x, y) and brightness."""
    side, letters = config.side, config.glyphs.letters
    edge = side * SUPERSAMPLING
    sizes = np.rint(edge * (SIZE + SIZE_SPREAD * jitter[:, 0])).astype(int)
    places = edge * (0.5 + PLACE_SPREAD * jitter[:, 1:3])
    levels = np.rint(BRIGHTNESS - BRIGHTNESS_LOSS * np.abs(jitter[:, 3])).astype(int)
    step = count_block(side)

    def read() -> Iterator[Records]:
        load = functools.lru_cache(maxsize=128)(load_font)
        for start in range(0, len(font_of), step):
            grey = [
                draw_letter(
                    _load_again(load, paths[font_of[one]], int(sizes[one])),
                    letters[letter_of[one]],
                    (float(places[one, 0]), float(places[one, 1])),
                    int(levels[one]),
                    side,
                )
                for one in range(start, min(start + step, len(font_of)))
            ]
            yield Records(np.repeat(np.stack(grey)[..., None], 3, axis=-1))

    return read


def _load_again(load: Callable[[Path, int], ImageFont.FreeTypeFont], path: Path, size: int) -> ImageFont.FreeTypeFont:
    """Load a font that was good before. Raises UserError if it no longer is, unless the machine is at fault."""
    try:
        return load(path, size)
    except Exception as error:
        raise_machine_fault(error, path)
        raise UserError(
            f"{show_name(path)} was changed while the shards were built: it can no longer be read ({error}); start the command "
            "again."
        ) from None
