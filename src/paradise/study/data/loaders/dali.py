"""Image folders through NVIDIA DALI: decoded on the CPU or the GPU, augmented where the network is.

Training shuffles, crops, shifts and flips as the preset says.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from paradise.errors import UserError
from paradise.study.data.images import check_all
from paradise.study.data.loaders import Batch, Loader
from paradise.study.data.manifest import Split
from paradise.study.preset import Data, EvaluationData

try:
    from nvidia.dali import Pipeline, fn, pipeline_def, types
    from nvidia.dali.plugin.base_iterator import LastBatchPolicy
    from nvidia.dali.plugin.pytorch import DALIGenericIterator
except ImportError:
    raise UserError("NVIDIA DALI is not installed; run `pip install -c constraints.txt -e '.[study]'`") from None

TRIANGULAR = types.INTERP_TRIANGULAR  # type: ignore[attr-defined]
Node = Any  # of DALI's graph: what an operator gives, one or several
T = TypeVar("T")


class TrainingLoader:
    """Endless batches of this process's share of `split`, in an order and with crops that `seed` fixes.

    It goes on from `state`, what `state()` of an equal loader gave: that of another split, batch, seed or share DALI
    takes without a word, and is then wrong.
    """

    def __init__(
        self,
        split: Split,
        data: Data,
        batch: Batch,
        seed: int,
        threads: int,
        device: torch.device,
        state: dict[str, Any] | None = None,
    ):
        self.split, self.threads = split, threads
        self.batches = batch.steps(len(split)) * batch.passes  # in an epoch
        self.position = state["position"] if state else 0
        pipeline = _training_pipeline(
            split,
            data,
            seed,
            batch.rank,
            batch.processes,
            device,
            seed=seed * 65536 + batch.rank,  # each process draws crops of its own
            enable_checkpointing=True,
            checkpoint=state["pipeline"].numpy().tobytes() if state else None,
            **_common(batch.images, threads, device),
        )
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

    def state(self) -> dict[str, Any]:
        """See `TrainingImages`."""
        pipeline = self.iterator.checkpoints()[0]
        return {"position": self.position, "pipeline": torch.frombuffer(bytearray(pipeline), dtype=torch.uint8)}


class EvaluationLoader:
    """This process's share of `split`, each image once, in its order; the last batch may be smaller."""

    def __init__(
        self,
        split: Split,
        data: EvaluationData,
        batch_size: int,
        threads: int,
        device: torch.device,
        rank: int = 0,
        processes: int = 1,
    ):
        self.split, self.threads = split, threads
        pipeline = _evaluation_pipeline(split, data, rank, processes, device, **_common(batch_size, threads, device))
        self.iterator = _iterator(split, threads, pipeline, LastBatchPolicy.PARTIAL)

    def __len__(self) -> int:
        return len(self.iterator)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while (batch := _guarded(self.split, self.threads, next, self.iterator, None)) is not None:
            yield _tensors(batch)


@pipeline_def
def _training_pipeline(
    split: Split, data: Data, shuffle_seed: int, rank: int, processes: int, device: torch.device
) -> tuple[Node, Node]:
    size, augment = data.image_size, data.augment
    encoded, labels = fn.readers.file(
        files=split.files(),
        labels=split.labels,
        name="reader",
        shard_id=rank,
        num_shards=processes,
        # The processes must agree on the order; and without padding an epoch's leftovers would leak into the next.
        shuffle_after_epoch=True,
        shuffle_after_epoch_seed=shuffle_seed,
        pad_last_batch=True,
    )
    images: Node = fn.decoders.image_random_crop(
        encoded, device=_decoder(data, device), random_area=augment.area, random_aspect_ratio=augment.aspect
    )
    images = _on(images, device)
    images = fn.resize(images, size=(size, size), interp_type=TRIANGULAR, antialias=True)
    if augment.shift:
        shifts = list(range(-augment.shift, augment.shift + 1))
        start = fn.random.uniform(values=shifts, shape=2, dtype=types.INT32)  # type: ignore[attr-defined]
        images = fn.slice(
            images, start=start, shape=(size, size), axes=(0, 1), out_of_bounds_policy="pad", fill_values=0
        )
    return _normalise(images, data, fn.random.coin_flip() if augment.flip else 0), _on(labels, device)


@pipeline_def
def _evaluation_pipeline(
    split: Split, data: EvaluationData, rank: int, processes: int, device: torch.device
) -> tuple[Node, Node]:
    size = data.image_size
    encoded, labels = fn.readers.file(
        files=split.files(),
        labels=split.labels,
        name="reader",
        shard_id=rank,
        num_shards=processes,
        stick_to_shard=True,
        pad_last_batch=True,
    )
    images = _on(fn.decoders.image(encoded, device=_decoder(data, device)), device)
    images = fn.resize(images, resize_shorter=data.resize, interp_type=TRIANGULAR, antialias=True)
    return _normalise(images, data, 0, crop=(size, size)), _on(labels, device)


def _common(batch_size: int, threads: int, device: torch.device) -> dict[str, Any]:
    device_id = (device.index or 0) if device.type == "cuda" else None
    return {"batch_size": batch_size, "num_threads": threads, "device_id": device_id}


def _decoder(data: EvaluationData, device: torch.device) -> str:
    """Files are read by the CPU; "mixed" decodes them on the GPU."""
    return (data.decoder or "mixed") if device.type == "cuda" else "cpu"


def _on(batch: Node, device: torch.device) -> Node:
    return batch.gpu() if device.type == "cuda" else batch


def _normalise(images: Node, data: EvaluationData, mirror: Node, **crop: Any) -> Node:
    return fn.crop_mirror_normalize(
        images,
        dtype=types.FLOAT,  # type: ignore[attr-defined]
        output_layout="HWC",
        mirror=mirror,
        mean=[255 * value for value in data.mean],
        std=[255 * value for value in data.std],
        **crop,
    )


def _iterator(split: Split, threads: int, pipeline: Pipeline, last_batch: LastBatchPolicy) -> DALIGenericIterator:
    pipeline.build()
    return _guarded(
        split,
        threads,
        DALIGenericIterator,
        pipeline,
        ["images", "labels"],
        reader_name="reader",
        auto_reset=True,
        last_batch_policy=last_batch,
    )


def _tensors(batch: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    # A view: [B, H, W, 3] in memory is channels_last.
    return batch[0]["images"].permute(0, 3, 1, 2), batch[0]["labels"].flatten().long()


def _guarded(split: Split, threads: int, call: Callable[..., T], *arguments: Any, **options: Any) -> T:
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


LOADER = Loader(TrainingLoader, EvaluationLoader)
