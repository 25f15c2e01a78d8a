"""What a run computes on, in which precision, and in what memory."""

import ctypes
import itertools
import os
import tempfile
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from paradise.errors import UserError

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}

_held: list[FileLock] = []  # locks of this process's GPUs, until it ends


def reserve(gpus: int | None, processes: int = 1) -> None:
    """Leaves to this process, and to those that it starts, the `gpus` GPUs that the fewest others use, until it ends.

    Snakemake counts GPUs; which of them are a job's, the jobs settle among themselves. None takes one for each of its
    `processes` where there are any. Raises UserError where not so many are here. A process of torchrun has its
    launcher's.
    """
    if "RANK" in os.environ:
        return
    if gpus == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif pick_device(gpus).type == "cuda":
        pick_device(processes)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else map(str, range(torch.cuda.device_count()))
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(least_used(list(names), gpus or processes))


def least_used(names: list[str], count: int) -> list[str]:
    """The `count` of `names` that the fewest processes of this user hold; this one holds them until it ends."""
    chosen = list[str]()
    try:
        folder = Path(tempfile.gettempdir(), f"paradise-gpus-{os.getuid()}")
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"no temporary folder can be written ({error.strerror}); name one in TMPDIR") from None
    for level in itertools.count():
        for name in names:
            if name in chosen:
                continue
            lock = FileLock(folder / f"{name}.{level}", blocking=False)
            try:
                lock.acquire()
            except Timeout:
                continue
            _held.append(lock)
            chosen.append(name)
            if len(chosen) == count:
                return chosen
    raise AssertionError("there is always a next level")


def pick_device(gpus: int | None = None, index: int = 0) -> torch.device:
    """The GPU number `index` of the `gpus` that are wanted; the processor for 0; None takes a GPU where there is one.

    Raises UserError where GPUs are wanted and not so many are there.
    """
    found = torch.cuda.device_count()
    if gpus == 0 or (gpus is None and not found):
        return torch.device("cpu")
    if max(gpus or 1, index + 1) > found:
        raise UserError(f"{max(gpus or 1, index + 1)} GPUs are asked for and {found} are here; ask for fewer")
    return torch.device("cuda", index)


def pick_precision(wanted: str, device: torch.device) -> str:
    """What a preset's `precision` comes to. "auto" is bfloat16 only in hardware: emulated, it is far too slow.

    Raises UserError for TensorFloat-32 on a device without it.
    """
    if wanted == "auto":
        return "bfloat16" if _has_bfloat16(device) else "float32"
    if wanted == "tf32" and not (device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)):
        raise UserError("precision 'tf32' needs an NVIDIA GPU of the Ampere generation or later; choose 'float32'")
    return wanted


def use_precision(precision: str, device: torch.device) -> torch.autocast:
    """The context for forward passes; and float32 products are exactly that unless `precision` is "tf32"."""
    # By the older flags: after the newer ones torch's exporter fails (2.13).
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return torch.autocast(device.type, AUTOCAST.get(precision), enabled=precision in AUTOCAST)


def keep_memory() -> None:
    """Makes this process keep the memory of freed tensors for the next ones.

    The C library of Linux gives large blocks back at once, and the system clears each page before it gives it again:
    5 to 10 % of a training step at 224×224.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
