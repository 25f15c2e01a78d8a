"""Training as it is run: images a second, time spent waiting for data, and how near a GPU's arithmetic it comes.

    python benchmarks/training.py [ROW …] [--images 500] [--batch 32]

Each row is trained by `paradise.study.training.loop.train` for two epochs of 224×224 crops of JPEGs of ImageNet's size,
through DALI, by the recipe of the preset `imagenet`; the second epoch counts. On a GPU in bfloat16, without and with
`torch.compile`; on a processor in float32.
"""

import argparse
import csv
import json
import tempfile
from pathlib import Path

import torch
from common import IMAGENET, imagenet_like, interleaved, seconds, write
from torch.utils.flop_counter import FlopCounterMode

from paradise.study.device import AUTOCAST, pick_device
from paradise.study.preset import Preset
from paradise.study.rows import Row, Run
from paradise.study.training.loop import train

ROWS = {
    "cpu": ["resnet18", "pd_a_resnet18"],
    "cuda": [Row(kind, depth).id for depth in (18, 50) for kind in ("plain", "pd_a", "pd_b")],
}
CLASSES = 10


def main() -> None:
    device = pick_device()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", default=ROWS[device.type])
    parser.add_argument("--images", type=int, default=500, help="of an epoch")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    precision = "bfloat16" if device.type == "cuda" else "float32"
    data = imagenet_like(Path("data/benchmark-training"), CLASSES, arguments.images // CLASSES, 2)
    # On a processor convolutions are faster than its square matrix products: no bound there.
    peak = measured_peak(device, precision) if device.type == "cuda" else None
    lines = []
    for row in map(Row.parse, arguments.rows):
        operations = operations_of_an_image(row)
        for compiled in (False, True) if device.type == "cuda" else (False,):
            values = Preset.load(IMAGENET).values() | {"data": data.values()}
            values["training"] |= {
                "epochs": 2,
                "batch_size": arguments.batch,
                "device_batch_size": arguments.batch,
                "schedule": "cosine",
                "learning_rate": 0.01,
                "precision": precision,
                "compile": compiled,
            }
            preset = Preset.of(values, Path("benchmark.yaml"))
            with tempfile.TemporaryDirectory() as folder:
                train(Run(row, 0), preset, arguments.threads, Path(folder))
                epoch = list(csv.DictReader((Path(folder) / "log.csv").open()))[-1]
                run = json.loads((Path(folder) / "run.json").read_text())
            speed = float(epoch["images_per_second"])
            lines.append(
                {
                    "row": row.id,
                    "torch.compile": "yes" if compiled else "no",
                    "images/s": f"{speed:.1f}",
                    "waiting for data %": f"{100 * float(epoch['seconds_waiting']) / float(epoch['seconds']):.2f}",
                    "GFLOP an image": f"{operations / 1e9:.1f}",
                    "TFLOP/s": f"{speed * operations / 1e12:.3f}",
                    **({"of the matrix peak %": f"{100 * speed * operations / peak:.1f}"} if peak else {}),
                    "precision": run["precision"],
                }
            )
    notes = [
        f"Batches of {arguments.batch}, {arguments.images} images an epoch, the second of two epochs, evaluation "
        f"apart; {arguments.threads} processor threads, which decode as well.",
        "GFLOP an image: of convolutions and Linear layers, two for each multiply-accumulate, as "
        "`torch.utils.flop_counter` counts them in the network as it is trained, with all its branches; the backward "
        "pass taken as twice the forward pass.",
    ]
    if peak:
        notes.append(
            f"Matrix peak: {peak / 1e12:.0f} TFLOP/s, what the best of a few square matrix products in {precision} "
            "reached here."
        )
    write("training", "Training at 224×224", lines, notes)


def operations_of_an_image(row: Row) -> int:
    """Floating-point operations of a training step, for each image of its batch."""
    model = row.build(CLASSES)
    with FlopCounterMode(display=False) as counter:
        model(torch.rand(1, 3, 224, 224))
    # The counter takes the gradient of a grouped convolution for that of a dense one.
    return 3 * counter.get_total_flops()


def measured_peak(device: torch.device, precision: str) -> float:
    """Operations a second of square matrix products, the best of a few sizes."""
    dtype = AUTOCAST[precision]
    measures = {}
    for size in (4096, 8192, 16384):
        a, b = (torch.rand(size, size, device=device, dtype=dtype) for _ in range(2))
        measures[size] = lambda a=a, b=b: 2 * len(a) ** 3 / seconds(lambda: a @ b)
    return max(max(values) for values in interleaved(measures, 5).values())


if __name__ == "__main__":
    main()
