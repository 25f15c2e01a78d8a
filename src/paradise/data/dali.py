"""Image folders through NVIDIA DALI, on the CPU or the GPU.

Batches are images [B, 3, H, W] (float32, channels_last, normalised) and labels [B] (int64).
Training shuffles, crops, shifts and flips as the preset says. Evaluation takes every image exactly once, in order.
"""

from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor

from paradise.data.manifest import Split
from paradise.errors import UserError

try:
    from nvidia.dali import fn, pipeline_def, types
    from nvidia.dali.plugin.base_iterator import LastBatchPolicy
    from nvidia.dali.plugin.pytorch import DALIGenericIterator
except ImportError:
    raise UserError("NVIDIA DALI is not installed; run `pip install -c constraints.txt -e .`") from None


class Loader:
    """Iterating over it gives one epoch; `len()` is its number of batches."""

    def __init__(self, split: Split, pipeline, last_batch: LastBatchPolicy):
        self.split = split
        pipeline.build()
        self.iterator = _guarded(
            split, DALIGenericIterator, pipeline, ["images", "labels"], reader_name="reader",
            auto_reset=True, last_batch_policy=last_batch,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.iterator)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        batches = iter(self.iterator)
        while (batch := _guarded(self.split, next, batches, None)) is not None:
            # A view: [B, H, W, 3] in memory is channels_last.
            yield batch[0]["images"].permute(0, 3, 1, 2), batch[0]["labels"].flatten().long()


def training_loader(
    split: Split, settings: dict, batch_size: int, seed: int, threads: int, device: torch.device
) -> Loader:
    """Whole batches of `split` in an order and with crops that `seed` fixes; `settings` is the preset's `data`.

    An epoch drops what does not fill a batch. Raises UserError where the split does not fill even one.
    """
    if len(split) < batch_size:
        raise UserError(f"batch_size {batch_size} is more than the {len(split)} training images in {split.folder}")
    pipeline = _training_pipeline(split, settings, seed, device, seed=seed, **_common(batch_size, threads, device))
    return Loader(split, pipeline, LastBatchPolicy.DROP)


def evaluation_loader(split: Split, settings: dict, batch_size: int, threads: int, device: torch.device) -> Loader:
    """Every image of `split` once, in its order; the last batch may be smaller."""
    pipeline = _evaluation_pipeline(split, settings, device, **_common(batch_size, threads, device))
    return Loader(split, pipeline, LastBatchPolicy.PARTIAL)


@pipeline_def
def _training_pipeline(split: Split, settings: dict, shuffle_seed: int, device: torch.device):
    size, augment = settings["image_size"], settings["augment"]
    encoded, labels = fn.readers.file(
        files=split.files(), labels=split.labels, name="reader",
        shuffle_after_epoch=True, shuffle_after_epoch_seed=shuffle_seed, pad_last_batch=True,
    )  # fmt: skip
    images = fn.decoders.image_random_crop(
        encoded, device=_decoder(device), random_area=augment["area"], random_aspect_ratio=augment["aspect"]
    )
    images = fn.resize(images, size=(size, size), interp_type=types.INTERP_TRIANGULAR, antialias=True)
    if augment["shift"]:
        shifts = list(range(-augment["shift"], augment["shift"] + 1))
        start = fn.random.uniform(values=shifts, shape=2, dtype=types.INT32)
        images = fn.slice(
            images, start=start, shape=(size, size), axes=(0, 1), out_of_bounds_policy="pad", fill_values=0
        )
    return _normalise(images, settings, fn.random.coin_flip() if augment["flip"] else 0), _on(labels, device)


@pipeline_def
def _evaluation_pipeline(split: Split, settings: dict, device: torch.device):
    size = settings["image_size"]
    encoded, labels = fn.readers.file(files=split.files(), labels=split.labels, name="reader", pad_last_batch=True)
    images = fn.decoders.image(encoded, device=_decoder(device))
    images = fn.resize(images, resize_shorter=settings["resize"], interp_type=types.INTERP_TRIANGULAR, antialias=True)
    return _normalise(images, settings, 0, crop=(size, size)), _on(labels, device)


def _common(batch_size: int, threads: int, device: torch.device) -> dict:
    device_id = (device.index or 0) if device.type == "cuda" else None
    return {"batch_size": batch_size, "num_threads": threads, "device_id": device_id}


def _decoder(device: torch.device) -> str:
    return "mixed" if device.type == "cuda" else "cpu"


def _on(batch, device: torch.device):
    return batch.gpu() if device.type == "cuda" else batch


def _normalise(images, settings: dict, mirror, **crop):
    return fn.crop_mirror_normalize(
        images, dtype=types.FLOAT, output_layout="HWC", mirror=mirror,
        mean=[255 * value for value in settings["mean"]], std=[255 * value for value in settings["std"]], **crop,
    )  # fmt: skip


def _guarded(split: Split, call, *arguments, **options):
    """`call(…)`; where DALI fails on an image, a UserError that names its path."""
    try:
        return call(*arguments, **options)
    except RuntimeError:
        _check_images(split)
        raise


def _check_images(split: Split) -> None:
    for path in split.files():
        try:
            with Image.open(path) as image:
                image.load()
        except FileNotFoundError:
            raise UserError(f"the image {path} is missing; run `paradise prepare` again") from None
        except OSError as error:
            raise UserError(f"the image {path} cannot be read ({error}); run `paradise prepare` again") from None
