"""CPU latency of the deploy forms: batch 1, 3×224×224, 1000 classes, everything that can be folded is folded.

All models are timed in one process, in a new random order in every round, so that the machine's drift hits all alike.
"""

import random
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from paradise.fusion import fuse
from paradise.study.profiling.complexity import CLASSES, IMAGE_SIZE
from paradise.study.provenance import begin_record
from paradise.study.records import Latencies, write_record
from paradise.study.rows import Row
from paradise.study.steps.latency import entries, settings
from paradise.study.terminal.progress import reporting

WARMUP_ROUNDS = 5
Key = TypeVar("Key", bound=Hashable)


@torch.inference_mode()
def time_rounds(models: Mapping[Key, Callable[[Tensor], object]], x: Tensor, rounds: int) -> dict[Key, list[float]]:
    """Milliseconds of `rounds` forward passes of each model, interleaved, after `WARMUP_ROUNDS` that are not kept.

    They are rounded to tenths of a microsecond, below which no clock is right.
    """
    order, shuffled = list(models), random.Random(0)
    times: dict[Key, list[float]] = {name: [] for name in models}
    with reporting("latency", WARMUP_ROUNDS + rounds) as report:
        for _ in range(WARMUP_ROUNDS + rounds):
            shuffled.shuffle(order)
            for name in order:
                begun = time.perf_counter()
                models[name](x)
                times[name].append(round(1000 * (time.perf_counter() - begun), 4))
            report.step()
    return {name: values[WARMUP_ROUNDS:] for name, values in times.items()}


def write_latency(models: list[Row], rounds: int, threads: int, preset: str, output: Path) -> None:
    """Writes what each round took, of each model and of the plain ResNet of its depth, into `output`."""
    torch.set_num_threads(threads)
    record = begin_record("latency", preset, {}, settings(models, rounds, threads), {}, entries(models))
    timed = dict.fromkeys([*models, *(row.plain for row in models)])
    networks = {row: fuse(row.build(CLASSES)) for row in timed}
    for network in networks.values():
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(1, 3, IMAGE_SIZE, IMAGE_SIZE).contiguous(memory_format=torch.channels_last)
    times = time_rounds(networks, x, rounds)
    rows = {row.id: {"times_ms": values} for row, values in times.items()}
    write_record(output, Latencies, record | {"outputs": {}, "rows": rows})
