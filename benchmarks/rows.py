"""Every row of a study: a training step, its memory, what `torch.compile` gives, and the fused network's latency.

    python benchmarks/rows.py [ROW …] [--preset config/fashion-mnist.yaml] [--size 32] [--batch 256] [--rounds 9]

Each row is measured in turn with the plain ResNet of its depth, on random images that lie on the device: in bfloat16
on a GPU, where steps are compiled as well, in float32 on a processor. What a study's trainings waited for their data is
taken from its run records, where there are any.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from common import MEMORY, Training, interleaved, seconds, write
from torch import nn

from paradise.fusion import fuse
from paradise.study.device import keep_memory, pick_device, use_precision
from paradise.study.preset import Preset
from paradise.study.records import Trained, read_record
from paradise.study.rows import Row, Run
from paradise.study.terminal.progress import reporting


def network(row: Row) -> nn.Module:
    torch.manual_seed(0)
    return row.build(1000)


def medians_and_ratio(measures: dict[str, Callable[[], float]], rounds: int) -> tuple[dict[str, float], float]:
    """Each median, and the median over rounds of "row" ÷ "plain"."""
    values = interleaved(measures, rounds)
    medians = {name: statistics.median(of) for name, of in values.items()}
    return medians, statistics.median(a / b for a, b in zip(values["row"], values["plain"]))


def training(row: Row, size: int, batch: int, rounds: int, compiled: bool) -> dict:
    both = {
        "row": Training(network(row), size, batch, compiled),
        "plain": Training(network(row.plain), size, batch, compiled),
    }
    steps = {name: lambda of=of: seconds(of.step) for name, of in both.items()}
    medians, ratio = medians_and_ratio(steps, rounds)
    how = ", compiled" if compiled else ""
    line = {f"images/s{how}": f"{batch / medians['row']:.4g}", f"step ÷ ResNet{how}": f"{ratio:.2f}"}
    if not compiled:
        kept = {name: of.megabytes_kept() for name, of in both.items()}
        line |= {"MB an image": f"{kept['row'] / batch:.2f}", "MB ÷ ResNet": f"{kept['row'] / kept['plain']:.2f}"}
    return line


@torch.inference_mode()
def latency(row: Row, size: int, batch: int, rounds: int) -> dict:
    device = pick_device()
    networks = {name: fuse(network(of)).to(device) for name, of in (("row", row), ("plain", row.plain))}
    networks = {name: of.to(memory_format=torch.channels_last) for name, of in networks.items()}
    images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)

    def call(model: nn.Module) -> float:
        with use_precision("bfloat16" if device.type == "cuda" else "float32", device):
            return seconds(lambda: model(images))

    medians, ratio = medians_and_ratio({name: lambda of=of: call(of) for name, of in networks.items()}, rounds)
    return {f"fused ms, batch {batch}": f"{1000 * medians['row']:.2f}", f"÷ ResNet, batch {batch}": f"{ratio:.3f}"}


def waited(row: Row, preset: Preset) -> str:
    """The share of its trainings' time that a study's row waited for data, in %."""
    folders = (Run(row, seed).folder(preset.results) for seed in preset.seeds_of(row))
    found = (read_record(folder / "run.json", Trained) for folder in folders)
    runs = [run for run in found if run is not None]
    if not runs:
        return "–"
    return f"{100 * sum(run.seconds_waiting_for_data for run in runs) / sum(run.seconds for run in runs):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*")
    parser.add_argument("--preset", type=Path, default=Path("config/fashion-mnist.yaml"))
    parser.add_argument("--size", type=int)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--latency-batches", type=int, nargs="+", default=[1, 128], help="of the fused networks")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    preset = Preset.load(arguments.preset)
    size, rows = arguments.size or preset.data.image_size, list(map(Row.parse, arguments.rows)) or preset.classifiers
    torch.set_num_threads(arguments.threads)
    keep_memory()
    on_gpu = pick_device().type == "cuda"
    lines = []
    with reporting("rows", len(rows)) as report:
        for row in rows:
            line = {"row": row.id}
            for compiled in (False, True) if on_gpu else (False,):
                line |= training(row, size, arguments.batch, arguments.rounds, compiled)
            for batch in arguments.latency_batches:
                line |= latency(row, size, batch, arguments.rounds)
            if arguments.size is None:
                line["waiting for data %"] = waited(row, preset)
            lines.append(line)
            report.step(row.id)
    write(
        f"rows-{size}",
        f"Every row at {size}×{size}",
        lines,
        [
            f"Training in batches of {arguments.batch} random images, in {'bfloat16' if on_gpu else 'float32'}; "
            f"medians of {arguments.rounds} rounds, in each of which row and plain ResNet take turns; "
            f"{arguments.threads} processor threads. MB: {MEMORY[pick_device().type]}, without parameters.",
        ],
    )


if __name__ == "__main__":
    main()
