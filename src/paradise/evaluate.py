"""Accuracy of a trained row in both its forms, over every validation image once."""

from pathlib import Path

import torch

from paradise.accuracy import top5
from paradise.causes import hashes, write_record
from paradise.data.loaders import loader
from paradise.data.prepare import prepared
from paradise.device import pick_device, use_precision
from paradise.errors import UserError
from paradise.files import write_csv, write_json
from paradise.progress import reporting
from paradise.record import provenance
from paradise.runs import fused_model, read_run, trained_model


@torch.no_grad()
def evaluate(folder: Path, threads: int, gpus: int | None = None) -> None:
    """Evaluates both forms in `folder`, in float32.

    Writes `predictions.csv` (each image's five best classes), `metrics.json` (the accuracies alone) and
    `evaluation.json` (the record). Raises UserError where the images seen are not those of the data's manifest.
    """
    run = read_run(folder)
    torch.set_num_threads(threads)
    device = pick_device(gpus)
    record = provenance("evaluate", device)
    models = {
        form: model.to(device, memory_format=torch.channels_last)
        for form, model in (("trained", trained_model(folder)), ("fused", fused_model(folder)))
    }
    manifest = prepared(run["data"])
    if run["num_classes"] != manifest.num_classes:
        raise UserError(
            f"{folder} has weights for {run['num_classes']} classes, {run['data']['folder']} images of "
            f"{manifest.num_classes}; evaluate it with the preset of its data"
        )
    # A checkpoint of others does not say what it was trained on.
    if manifest.sha256 != run["data"].get("manifest_sha256", manifest.sha256):
        raise UserError(f"{run['data']['folder']} is not the data that {folder} was trained on; prepare or train again")
    batch_size = run["recipe"].get("device_batch_size", run["recipe"]["batch_size"])
    images = loader(run["data"]["loader"]).EvaluationLoader(manifest.val, run["data"], batch_size, threads, device)

    labels, best, largest, difference = [], {form: [] for form in models}, 0.0, 0.0
    with use_precision("float32", device), reporting(f"{run['row']} {folder.name}: evaluation", len(images)) as report:
        for x, batch_labels in images:
            logits = {form: model(x) for form, model in models.items()}
            labels += batch_labels.tolist()
            for form in models:
                best[form] += top5(logits[form]).tolist()
            largest = max(largest, float(logits["trained"].abs().max()))
            difference = max(difference, float((logits["trained"] - logits["fused"]).abs().max()))
            report.step()
    if labels != manifest.val.labels:
        raise UserError(f"{folder}: evaluation saw {len(labels)} images, not the {len(manifest.val)} of the manifest")

    accuracy = {}
    for form in models:
        hits1 = sum(classes[0] == label for classes, label in zip(best[form], labels))
        hits5 = sum(label in classes for classes, label in zip(best[form], labels))
        accuracy[form] = {
            "top1_hits": hits1,
            "top5_hits": hits5,
            "top1": 100 * hits1 / len(labels),
            "top5": 100 * hits5 / len(labels),
        }
    ranks = range(1, len(best["trained"][0]) + 1)
    write_csv(
        folder / "predictions.csv",
        ["image", "label", *(f"{form}_{rank}" for form in models for rank in ranks)],
        (
            (image, label, *a, *b)
            for image, label, a, b in zip(manifest.val.paths, labels, best["trained"], best["fused"])
        ),
    )
    write_json(
        folder / "metrics.json",
        {form: {key: accuracy[form][key] for key in ("top1", "top5")} for form in ("fused", "trained")},
    )
    names = "weights.safetensors", "fused.safetensors", "predictions.csv", "metrics.json"
    write_record(
        folder / "evaluation.json",
        {"row": run["row"], "preset": run["preset"], "seed": run["seed"], "images": len(labels)}
        | {"manifest_sha256": manifest.sha256}
        | accuracy
        | {"logits": {"largest": largest, "difference": difference, "relative": difference / largest}}
        | {"files": hashes(folder, *names)}
        | record,
    )
