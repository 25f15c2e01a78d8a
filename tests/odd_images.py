"""Image files as people have them, each of the same 48×48 pixels or nearly so, and those that cannot be used."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

SIDE = 48
_cells = np.random.default_rng(0).integers(0, 255, (6, 6, 3), np.uint8)
COLOURS = Image.fromarray(_cells).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
PIXELS = np.asarray(COLOURS)
GREY = COLOURS.convert("L")
PALETTE = COLOURS.quantize(64)
GREY16 = Image.fromarray(
    np.maximum(np.asarray(GREY).astype(np.uint16) * np.uint16(257), np.uint16(100)) - np.uint16(100)
)
RGBA = COLOURS.copy()
RGBA.putalpha(Image.fromarray(np.arange(SIDE * SIDE, dtype=np.uint32).reshape(SIDE, SIDE).astype(np.uint8)))
LAB = ImageCms.profileToProfile(
    COLOURS, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.copy().save(buffer, kind, **options)
    return buffer.getvalue()


def turned(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(COLOURS, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))


def png(depth: int, colour: int, rows: bytes, chunks: bytes = b"", interlaced: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", SIDE, SIDE, depth, colour, 0, 0, interlaced)
    parts = [chunk(b"IHDR", header), chunks, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def rows(pixels: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def interlaced() -> bytes:
    starts = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    return png(8, 2, b"".join(rows(PIXELS[y::dy, x::dx]) for x, y, dx, dy in starts), interlaced=1)


def ycck() -> bytes:
    """The CMYK image with a marker that says its first three channels are luminance and colour."""
    content = bytearray(saved(COLOURS.convert("CMYK"), "JPEG"))
    content[content.index(b"Adobe") + 11] = 2
    return bytes(content)


def unmarked_cmyk() -> bytes:
    content = saved(COLOURS.convert("CMYK"), "JPEG")
    at = content.index(b"Adobe")
    return content[: at - 4] + content[at - 2 + struct.unpack(">H", content[at - 2 : at])[0] :]


PLAIN = saved(COLOURS, "JPEG")
GAMMA = png(8, 2, rows(PIXELS), chunk(b"gAMA", struct.pack(">I", 100_000)))
WEBP = saved(COLOURS, "WEBP", lossless=True)
UPSIDE_DOWN = COLOURS.rotate(180)

USED = {
    **{f"exif{n}.jpg": turned("JPEG", n) for n in range(10)},
    **{f"exif{n}.png": turned("PNG", n) for n in (1, 3, 6)},
    "exif6.tif": turned("TIFF", 6),
    "exif6.webp": turned("WEBP", 6),
    "plain.jpg": PLAIN,
    "progressive.jpg": saved(COLOURS, "JPEG", progressive=True),
    "subsampled422.jpg": saved(COLOURS, "JPEG", subsampling=1),
    "rgb.jpg": saved(COLOURS, "JPEG", keep_rgb=True),
    "grey.jpg": saved(GREY, "JPEG"),
    "cmyk.jpg": saved(COLOURS.convert("CMYK"), "JPEG"),
    "ycck.jpg": ycck(),
    "profile.jpg": saved(COLOURS, "JPEG", icc_profile=SRGB),
    "more_behind.jpg": PLAIN + b"more" * 10,
    "two_images.jpg": saved(COLOURS, "MPO", save_all=True, append_images=[UPSIDE_DOWN.copy()]),
    "png_in_truth.jpg": GAMMA,
    "linear_gamma.png": GAMMA,
    "profile.png": saved(COLOURS, "PNG", icc_profile=SRGB),
    "interlaced.png": interlaced(),
    "grey.png": saved(GREY, "PNG"),
    "one_bit.png": saved(GREY.convert("1"), "PNG"),
    "grey_alpha.png": saved(COLOURS.convert("LA"), "PNG"),
    "rgba.png": saved(RGBA, "PNG"),
    "palette.png": saved(PALETTE, "PNG"),
    "transparent_palette.png": saved(PALETTE, "PNG", transparency=3),
    "transparent_grey.png": saved(GREY, "PNG", transparency=GREY.getpixel((0, 0))),
    "grey16.png": saved(GREY16, "PNG"),
    "rgb16.png": png(16, 2, rows((PIXELS.astype(np.uint16) * 257).astype(">u2"))),
    "animation.png": saved(COLOURS, "PNG", save_all=True, append_images=[UPSIDE_DOWN.copy()]),
    "plain.bmp": saved(COLOURS, "BMP"),
    "palette.bmp": saved(PALETTE, "BMP"),
    "one_bit.bmp": saved(GREY.convert("1"), "BMP"),
    "lossless.webp": WEBP,
    "lossy.webp": saved(COLOURS, "WEBP"),
    "rgba.webp": saved(RGBA, "WEBP", lossless=True),
    "animation.webp": saved(COLOURS, "WEBP", lossless=True, save_all=True, append_images=[UPSIDE_DOWN.copy()]),
    "plain.tif": saved(COLOURS, "TIFF"),
    "packed.tif": saved(COLOURS, "TIFF", compression="tiff_lzw"),
    "two_pages.tif": saved(COLOURS, "TIFF", save_all=True, append_images=[UPSIDE_DOWN.copy()]),
    "plain.jp2": saved(COLOURS, "JPEG2000"),
    "plain.ppm": saved(COLOURS, "PPM"),
}

OTHER_SIZES = {
    "pixel.png": saved(COLOURS.crop((0, 0, 1, 1)), "PNG"),
    "pixel.jpg": saved(COLOURS.crop((0, 0, 1, 1)), "JPEG"),
    "pixel.bmp": saved(COLOURS.crop((0, 0, 1, 1)), "BMP"),
    "wide.png": saved(COLOURS.resize((3000, 1)), "PNG"),
    "tall.jpg": saved(COLOURS.resize((2, 3000)), "JPEG"),
}

DIFFERENT = "cannot be used (DALI and Pillow see different pixels in it; save it as PNG, 8 bits a channel)"
REFUSED = {
    "unmarked_cmyk.jpg": (unmarked_cmyk(), DIFFERENT),
    "lab.tif": (saved(LAB, "TIFF"), DIFFERENT),
    "float.tif": (saved(Image.fromarray(np.asarray(GREY) / np.float32(255)), "TIFF"), DIFFERENT),
    "plain.gif": (saved(COLOURS, "GIF"), "cannot be used (DALI cannot read this GIF image; save it as PNG)"),
    "plain.tga": (saved(COLOURS, "TGA"), "cannot be used (DALI cannot read this TGA image; save it as PNG)"),
    "no_end.png": (GAMMA[:-12], "cannot be used (DALI cannot read this PNG image; save it as PNG)"),
    "empty.jpg": (b"", "cannot be read (it is empty)"),
    "Thumbs.db": (b"\xd0\xcf\x11\xe0" * 100, "cannot be read (it is no image)"),
    "text.jpg": (b"no image", "cannot be read (it is no image)"),
    "cut.jpg": (PLAIN[: len(PLAIN) // 2], "cannot be read ("),
    "cut_end.jpg": (PLAIN[:-2], "cannot be read (image file is truncated"),
    "cut.png": (GAMMA[: len(GAMMA) // 2], "cannot be read (image file is truncated"),
    "cut.webp": (WEBP[: len(WEBP) // 2], "cannot be read ("),
    "cut.bmp": (saved(COLOURS, "BMP")[:3000], "cannot be read (image file is truncated"),
    "cut.tif": (saved(COLOURS, "TIFF")[:3000], "cannot be read (image file is truncated"),
}
