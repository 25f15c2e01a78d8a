"""Trains one row: stochastic gradient descent on cross-entropy, as the preset's recipe says."""

import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from paradise import preset as presets
from paradise.accuracy import count_hits
from paradise.causes import hashes, write_record
from paradise.data.dali import evaluation_loader, training_loader
from paradise.data.prepare import prepared
from paradise.device import pick_device, pick_precision
from paradise.errors import UserError
from paradise.files import write_csv
from paradise.models import create_model
from paradise.names import parse_row
from paradise.progress import reporting
from paradise.record import provenance
from paradise.training.schedule import learning_rate
from paradise.weights import save_weights


def train(row: str, preset: dict, preset_name: str, seed: int, threads: int, output: Path) -> None:
    """Trains `row` and writes `weights.safetensors`, `log.csv` (a row per epoch) and `run.json` into `output`.

    On a CPU the weights depend, to the bit, on nothing but the preset, the seed, the number of threads and the
    versions and machine that `run.json` names. Raises UserError where the loss is no longer finite.
    """
    name, branches = parse_row(row)
    recipe, data = presets.recipe(preset, row), preset["data"]
    manifest = prepared(data)
    device = pick_device()
    precision = pick_precision(recipe["precision"], device)

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(device.type == "cpu")
    # Before the work: the files may be edited while it lasts.
    record = provenance("train", device)
    model = create_model(name, manifest.num_classes, branches).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(), recipe["learning_rate"], momentum=recipe["momentum"], weight_decay=recipe["weight_decay"]
    )
    images = training_loader(manifest.train, data, recipe["batch_size"], seed, threads, device)
    held_out = evaluation_loader(manifest.val, data, recipe["batch_size"], threads, device)

    epochs, started = [], time.monotonic()
    with reporting(f"{row} seed {seed}", recipe["epochs"] * len(images)) as report:
        for epoch in range(recipe["epochs"]):
            begun = time.monotonic()
            trained, hits, total_loss = 0, 0, 0.0
            model.train()
            for step, (x, labels) in enumerate(images, start=epoch * len(images)):
                lr = learning_rate(recipe, step, len(images))
                for group in optimizer.param_groups:
                    group["lr"] = lr
                with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                    logits = model(x)
                    loss = F.cross_entropy(logits, labels)
                if not loss.isfinite():
                    raise UserError(
                        f"{row} seed {seed}: the loss is {loss.item()} at step {step}, learning rate {lr:g}"
                    )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

                trained += len(labels)
                hits += int((logits.argmax(1) == labels).sum())
                total_loss += loss.item() * len(labels)
                speed = trained / (time.monotonic() - begun)
                report.step(
                    f"epoch {epoch + 1}/{recipe['epochs']}, loss {total_loss / trained:.3f}, "
                    f"accuracy {hits / trained:.1%}, {speed:.0f} images/s"
                )
            seconds = time.monotonic() - begun
            top1, top5 = validate(model, held_out, precision)
            epochs.append(
                {
                    "epoch": epoch + 1,
                    "learning_rate": lr,
                    "train_loss": total_loss / trained,
                    "train_top1": 100 * hits / trained,
                    "val_top1": 100 * top1 / len(manifest.val),
                    "val_top5": 100 * top5 / len(manifest.val),
                    "images_per_second": trained / seconds,
                    "seconds": time.monotonic() - begun,
                }
            )
            report.say(
                f"epoch {epoch + 1}/{recipe['epochs']}, loss {total_loss / trained:.3f}, "
                f"validation {top1 / len(manifest.val):.1%}, {trained / seconds:.0f} images/s"
            )

    save_weights(model, output / "weights.safetensors")
    write_csv(output / "log.csv", epochs[0], (line.values() for line in epochs))
    best = max(epochs, key=lambda line: line["val_top1"])
    write_record(
        output / "run.json",
        {
            "row": row,
            "preset": preset_name,
            "seed": seed,
            "num_classes": manifest.num_classes,
            "recipe": recipe,
            "precision": str(precision).removeprefix("torch."),
            "data": data | {"manifest_sha256": manifest.sha256, "train": len(manifest.train), "val": len(manifest.val)},
            "files": hashes(output, "weights.safetensors", "log.csv"),
            "best": {"epoch": best["epoch"], "val_top1": best["val_top1"], "val_top5": best["val_top5"]},
            "seconds": time.monotonic() - started,
        }
        | record,
    )


@torch.no_grad()
def validate(model: nn.Module, images, precision: torch.dtype) -> tuple[int, int]:
    """Top-1 and top-5 hits of the model, left in eval mode, over all of `images`."""
    model.eval()
    hits = [0, 0]
    for x, labels in images:
        with torch.autocast(x.device.type, precision, enabled=precision != torch.float32):
            logits = model(x)
        hits = [a + b for a, b in zip(hits, count_hits(logits, labels))]
    return hits[0], hits[1]
