"""Whether image files can be used for detection: what mmdetection reads must be what the boxes were drawn on."""

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import ExifTags, Image

# Those that Pillow and OpenCV, with which mmdetection reads, decode to the same pixels.
FORMATS = ("JPEG", "MPO", "PNG", "BMP", "WEBP")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
TURNED = range(2, 9)  # orientations by which OpenCV turns or mirrors some formats, and others not
SMALLEST = 32  # pixels of a side; mmdetection trains on no image that is smaller
LONGEST = 50  # times the shorter side; scaled down, the shorter one of a longer image has no pixel left


class Unusable(ValueError):
    """Why an image cannot be used, in words that follow its name."""


@dataclass(frozen=True)
class ImageFile:
    """What was found of an image that can be used: its sides, in pixels, and the hash of its file."""

    width: int
    height: int
    sha256: str


def find_image(folder: Path, name: str) -> Path:
    """The image called `name` in `folder`, without links. Raises Unusable where it is none, or lies elsewhere."""
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise Unusable("leads out of the folder of its split")
    try:
        path = (folder / relative).resolve(strict=True)
    except FileNotFoundError:
        raise Unusable("is missing") from None
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, links in a circle, a zero byte
        raise Unusable(f"cannot be found ({getattr(error, 'strerror', None) or error})") from None
    if not path.is_relative_to(folder.resolve()):
        raise Unusable(f"is a link out of the folder of its split, to {path}")
    if not path.is_file():
        raise Unusable("is no file")
    return path


def check_image(path: Path) -> ImageFile:
    """Decodes an image. Raises Unusable where it is damaged, or would not be read as it is seen."""
    try:
        content = path.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            width, height = _decode(content)
    except Unusable:
        raise
    except Exception as error:  # whatever Pillow's decoders raise
        raise Unusable(f"cannot be read ({' '.join(str(error).split()) or type(error).__name__})") from None
    if min(width, height) < SMALLEST:
        raise Unusable(f"has {width} × {height} pixels; mmdetection leaves out sides of less than {SMALLEST}")
    if max(width, height) > LONGEST * min(width, height):
        raise Unusable(f"has {width} × {height} pixels; one side is more than {LONGEST} times as long as the other")
    return ImageFile(width, height, hashlib.sha256(content).hexdigest())


def _decode(content: bytes) -> tuple[int, int]:
    """Width and height of an image."""
    with Image.open(io.BytesIO(content)) as image:
        kind = image.format
        if kind not in FORMATS:
            raise Unusable(f"is of format {kind}, not one of {', '.join(FORMATS)}; save it as one of them")
        if kind == "PNG":
            image.verify()  # the checksums, which `load` passes over
            if PNG_END not in content:
                raise Unusable("cannot be read (its end is missing)")
    with Image.open(io.BytesIO(content)) as image:
        size = image.size
        deep = kind == "PNG" and content[24] == 16
        if image.mode not in MODES or deep:
            what = "16 bits a channel" if deep or image.mode.startswith("I") else f"colours of mode {image.mode}"
            raise Unusable(f"has {what}, which mmdetection would change; save it with 8 bits, in RGB or grey")
        if kind != "MPO" and getattr(image, "is_animated", False):
            raise Unusable("has several frames; save the one that was annotated")
        if image.has_transparency_data:
            if min(image.convert("RGBA").getchannel("A").tobytes()) < 255:
                raise Unusable("has transparent pixels, whose colour nobody sees; save it without")
        else:
            image.draft("RGB", (1, 1))  # a JPEG is still read to its end, in a third of the time
            image.load()
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        if orientation in TURNED:
            raise Unusable(
                f"is turned by its EXIF data (orientation {orientation}), and nobody can say whether its boxes are; "
                "save it upright, with the boxes as they are then"
            )
    return size
