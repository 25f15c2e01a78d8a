"""Image files: their pixels, and whether they can be used: what `prepare` asks of all, and a loader that failed.

What can be used is what DALI and Pillow decode to the same pixels, so that a network sees these by any loader.
"""

import hashlib
import io
import multiprocessing
import signal
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from paradise.errors import UserError

# Levels of 255, on average, in which the two may differ: they round 16-bit images and JPEG's cosines each in their way.
ROUNDING = 1.0


def decode(content: bytes) -> np.ndarray:
    """The pixels of an image file.

    Args:
        content: What is in the file.

    Returns:
        uint8 [H, W, 3], turned as its EXIF orientation says; of an animation the first image, of transparency nothing.

    Raises:
        Exception: Whatever Pillow raises where it cannot be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata; what matters are the pixels
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I;16"):
                grey = np.round(np.asarray(upright) / 257).astype(np.uint8)  # Pillow would cut off all above 255
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.asarray(upright.convert("RGB"))


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
    return path, hashlib.sha256(content).hexdigest(), _fault(content)


def _fault(content: bytes) -> str | None:
    if not content:
        return "cannot be read (it is empty)"
    try:
        pixels = decode(content)
    except UnidentifiedImageError:
        return "cannot be read (it is no image)"
    except Exception as error:  # whatever Pillow's decoders raise
        return f"cannot be read ({' '.join(str(error).split())[:100]})"
    others = _decode_by_dali(content)
    if others is None:
        with Image.open(io.BytesIO(content)) as image:
            return f"cannot be used (DALI cannot read this {image.format} image; save it as PNG)"
    if others.shape != pixels.shape or np.abs(np.subtract(pixels, others, dtype=np.int16)).mean() > ROUNDING:
        return "cannot be used (DALI and Pillow see different pixels in it; save it as PNG, 8 bits a channel)"
    return None


def _decode_by_dali(content: bytes) -> np.ndarray | None:
    """uint8 [H, W, 3], as the loader `dali` has it; None where DALI cannot read it."""
    try:
        pipeline = _pipeline()
        pipeline.feed_input("encoded", [np.frombuffer(content, np.uint8)])
        return np.array(pipeline.run()[0].at(0))
    except RuntimeError:
        _pipeline.cache_clear()  # a pipeline that failed is of no more use
        return None


@cache
def _pipeline() -> Any:
    try:
        from nvidia.dali import fn, pipeline_def  # only now: a process that checks nothing does without it
    except ImportError:
        raise UserError("NVIDIA DALI is not installed; run `pip install -c constraints.txt -e '.[study]'`") from None

    @pipeline_def(batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1)
    def pipeline() -> Any:
        return fn.decoders.image(fn.external_source(name="encoded", no_copy=False), device="cpu")

    built = pipeline()
    built.build()
    return built


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
