"""Whether image files can be used: what `prepare` asks of all, and a loader that failed, to name the image."""

import hashlib
import io
import multiprocessing
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from PIL import Image

# What DALI decodes. It shows grey, palette, CMYK and 16-bit images, and those of one pixel, as RGB like any other.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")


def check(path: str) -> tuple[str, str, str | None]:
    """Whether the image file `path` can be used.

    Returns:
        `path`, the SHA-256 of the file, "" where it cannot be read, and why it cannot be used, in words; None where it
        can.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        return path, "", "is missing" if missing else f"cannot be read ({error.strerror})"
    fault = None
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.format in FORMATS:
                # At an eighth of its size a JPEG still has to be read to its end, in a third of the time.
                image.draft("RGB", (1, 1))
                image.load()
            else:
                fault = f"cannot be used (format {image.format}, not one of {', '.join(FORMATS)})"
    except Exception as error:  # whatever Pillow's decoders raise
        fault = f"cannot be read ({' '.join(str(error).replace(repr(path), '').split())})"
    return path, hashlib.sha256(content).hexdigest(), fault


def check_all(paths: Iterable[str], threads: int) -> Iterator[tuple[str, str, str | None]]:
    """`check` of every path, in their order, by so many processes."""
    if threads == 1:
        yield from map(check, paths)
        return
    # Spawned: a fork of a process that uses a GPU hangs. An interruption is the caller's to handle.
    ignore = partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(threads, context, initializer=ignore)
    try:
        yield from pool.map(check, paths, chunksize=32)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
