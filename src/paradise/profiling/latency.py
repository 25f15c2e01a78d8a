"""CPU latency of the deploy forms: batch 1, 3×224×224, 1000 classes, everything that can be folded is folded.

All models are timed in one process, in a new random order in every round, so that the machine's drift hits all alike.
"""

import random
import statistics
import time
from pathlib import Path

import torch

from paradise.causes import write_record
from paradise.fusion import fuse
from paradise.models import create_model
from paradise.names import plain_of
from paradise.profiling.complexity import IMAGE_SIZE
from paradise.progress import reporting
from paradise.record import provenance

WARMUP_ROUNDS = 5


@torch.inference_mode()
def time_rounds(models: dict[str, torch.nn.Module], x: torch.Tensor, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of `rounds` forward passes of each model, interleaved, after `WARMUP_ROUNDS` that are not kept."""
    order, shuffled = list(models), random.Random(0)
    times = {name: [] for name in models}
    with reporting("latency", WARMUP_ROUNDS + rounds) as report:
        for _ in range(WARMUP_ROUNDS + rounds):
            shuffled.shuffle(order)
            for name in order:
                begun = time.perf_counter()
                models[name](x)
                times[name].append(1000 * (time.perf_counter() - begun))
            report.step()
    return {name: values[WARMUP_ROUNDS:] for name, values in times.items()}


def write_latency(names: list[str], rounds: int, threads: int, output: Path) -> None:
    """Each model's median and quartiles (ms), and its median ÷ that of the plain ResNet of its depth, as JSON."""
    torch.set_num_threads(threads)
    record = provenance("latency", torch.device("cpu"))
    timed = dict.fromkeys([*names, *map(plain_of, names)])
    models = {name: fuse(create_model(name)).to(memory_format=torch.channels_last) for name in timed}
    x = torch.randn(1, 3, IMAGE_SIZE, IMAGE_SIZE).contiguous(memory_format=torch.channels_last)
    times = time_rounds(models, x, rounds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    rows = {}
    for name in names:
        lower, upper = torch.tensor(times[name]).quantile(torch.tensor([0.25, 0.75])).tolist()
        rows[name] = {
            "median_ms": medians[name],
            "quartiles_ms": [lower, upper],
            "ratio": medians[name] / medians[plain_of(name)],
        }
    write_record(output, {"rounds": rounds, "rows": rows} | record)
