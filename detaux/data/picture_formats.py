"""List the formats in which the pictures of a data set are read."""

from functools import cache

from PIL import Image

# Pillow may try only these formats, which hold pixels. Others run a program (EPS, WMF, and IPTC files, which wrap any
# format) or hold no picture that Pillow itself can read.
FORMATS = (
    *("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "TGA", "ICO", "ICNS", "JPEG2000", "AVIF"),
    *("PSD", "PCX", "SGI", "DDS", "QOI", "SUN"),
)


@cache
def list_formats() -> tuple[str, ...]:
    """List those of FORMATS that the installed Pillow can read."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
