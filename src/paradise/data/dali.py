"""Image folders through NVIDIA DALI: decoded on the CPU or the GPU, augmented where the network is.

Training shuffles, crops, shifts and flips as the preset says.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from paradise.data.images import check_all
from paradise.data.loaders import Batch
from paradise.data.manifest import Split
from paradise.errors import UserError

try:
    from nvidia.dali import fn, pipeline_def, types
    from nvidia.dali.plugin.base_iterator import LastBatchPolicy
    from nvidia.dali.plugin.pytorch import DALIGenericIterator
except ImportError:
    raise UserError("NVIDIA DALI is not installed; run `pip install -c constraints.txt -e .`") from None


class TrainingLoader:
    """Endless batches of this process's share of `split`, in an order and with crops that `seed` fixes.

    `settings` is the preset's `data`. It goes on from `state`, what `state()` of an equal loader gave: that of another
    split, batch, seed or share DALI takes without a word, and is then wrong.
    """

    def __init__(
        self, split: Split, settings: dict, batch: Batch, seed: int, threads: int, device: torch.device, state=None
    ):
        self.split, self.threads = split, threads
        self.batches = batch.steps(len(split)) * batch.passes  # in an epoch
        self.position = state["position"] if state else 0
        pipeline = _training_pipeline(
            split, settings, seed, batch.rank, batch.processes, device,
            # Each process draws crops of its own.
            seed=seed * 65536 + batch.rank, enable_checkpointing=True,
            checkpoint=state["pipeline"].numpy().tobytes() if state else None,
            **_common(batch.images, threads, device),
        )  # fmt: skip
        self.iterator = _iterator(split, threads, pipeline, LastBatchPolicy.DROP)

    def __next__(self) -> tuple[Tensor, Tensor]:
        batch = _tensors(_guarded(self.split, self.threads, next, self.iterator))
        self.position += 1
        if self.position == self.batches:
            # The rest does not fill a step; at its end DALI shuffles for the next epoch. At once, not at the next call:
            # what DALI restores of an epoch's last batch is the next epoch.
            while next(self.iterator, None) is not None:
                pass
            self.position = 0
        return batch

    def state(self) -> dict:
        pipeline = self.iterator.checkpoints()[0]
        return {"position": self.position, "pipeline": torch.frombuffer(bytearray(pipeline), dtype=torch.uint8)}


class EvaluationLoader:
    """This process's share of `split`, each image once, in its order; the last batch may be smaller."""

    def __init__(
        self, split: Split, settings: dict, batch_size: int, threads: int, device: torch.device, rank=0, processes=1
    ):
        self.split, self.threads = split, threads
        pipeline = _evaluation_pipeline(
            split, settings, rank, processes, device, **_common(batch_size, threads, device)
        )
        self.iterator = _iterator(split, threads, pipeline, LastBatchPolicy.PARTIAL)

    def __len__(self) -> int:
        return len(self.iterator)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while (batch := _guarded(self.split, self.threads, next, self.iterator, None)) is not None:
            yield _tensors(batch)


@pipeline_def
def _training_pipeline(
    split: Split, settings: dict, shuffle_seed: int, rank: int, processes: int, device: torch.device
):
    size, augment = settings["image_size"], settings["augment"]
    encoded, labels = fn.readers.file(
        files=split.files(), labels=split.labels, name="reader", shard_id=rank, num_shards=processes,
        # The processes must agree on the order; and without padding an epoch's leftovers would leak into the next.
        shuffle_after_epoch=True, shuffle_after_epoch_seed=shuffle_seed, pad_last_batch=True,
    )  # fmt: skip
    images = fn.decoders.image_random_crop(
        encoded, device=_decoder(settings, device), random_area=augment["area"], random_aspect_ratio=augment["aspect"]
    )
    images = _on(images, device)
    images = fn.resize(images, size=(size, size), interp_type=types.INTERP_TRIANGULAR, antialias=True)
    if augment["shift"]:
        shifts = list(range(-augment["shift"], augment["shift"] + 1))
        start = fn.random.uniform(values=shifts, shape=2, dtype=types.INT32)
        images = fn.slice(
            images, start=start, shape=(size, size), axes=(0, 1), out_of_bounds_policy="pad", fill_values=0
        )
    return _normalise(images, settings, fn.random.coin_flip() if augment["flip"] else 0), _on(labels, device)


@pipeline_def
def _evaluation_pipeline(split: Split, settings: dict, rank: int, processes: int, device: torch.device):
    size = settings["image_size"]
    encoded, labels = fn.readers.file(
        files=split.files(),
        labels=split.labels,
        name="reader",
        shard_id=rank,
        num_shards=processes,
        stick_to_shard=True,
        pad_last_batch=True,
    )
    images = _on(fn.decoders.image(encoded, device=_decoder(settings, device)), device)
    images = fn.resize(images, resize_shorter=settings["resize"], interp_type=types.INTERP_TRIANGULAR, antialias=True)
    return _normalise(images, settings, 0, crop=(size, size)), _on(labels, device)


def _common(batch_size: int, threads: int, device: torch.device) -> dict:
    device_id = (device.index or 0) if device.type == "cuda" else None
    return {"batch_size": batch_size, "num_threads": threads, "device_id": device_id}


def _decoder(settings: dict, device: torch.device) -> str:
    """Files are read by the CPU; "mixed" decodes them on the GPU."""
    return settings.get("decoder", "mixed") if device.type == "cuda" else "cpu"


def _on(batch, device: torch.device):
    return batch.gpu() if device.type == "cuda" else batch


def _normalise(images, settings: dict, mirror, **crop):
    return fn.crop_mirror_normalize(
        images, dtype=types.FLOAT, output_layout="HWC", mirror=mirror,
        mean=[255 * value for value in settings["mean"]], std=[255 * value for value in settings["std"]], **crop,
    )  # fmt: skip


def _iterator(split: Split, threads: int, pipeline, last_batch: LastBatchPolicy) -> DALIGenericIterator:
    pipeline.build()
    return _guarded(
        split, threads, DALIGenericIterator, pipeline, ["images", "labels"], reader_name="reader",
        auto_reset=True, last_batch_policy=last_batch,
    )  # fmt: skip


def _tensors(batch) -> tuple[Tensor, Tensor]:
    # A view: [B, H, W, 3] in memory is channels_last.
    return batch[0]["images"].permute(0, 3, 1, 2), batch[0]["labels"].flatten().long()


def _guarded(split: Split, threads: int, call, *arguments, **options):
    """`call(…)`; where DALI fails on an image, a UserError that names its path."""
    try:
        return call(*arguments, **options)
    except RuntimeError:
        _check_images(split, threads)
        raise


def _check_images(split: Split, threads: int) -> None:
    for path, _, fault in check_all(split.files(), threads):
        if fault:
            raise UserError(f"the image {path} {fault}; run `paradise prepare` again")
