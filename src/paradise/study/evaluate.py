"""Accuracy of a trained row in both its forms, over every validation image once."""

from pathlib import Path

import torch
from torch import Tensor, nn

from paradise.errors import UserError
from paradise.study.accuracy import Differences, top5
from paradise.study.data.loaders import EvaluationImages, Loader
from paradise.study.data.manifest import Manifest
from paradise.study.data.prepare import prepared
from paradise.study.device import pick_device, use_precision
from paradise.study.files import write_json
from paradise.study.hashes import sha256
from paradise.study.predictions import write_predictions
from paradise.study.provenance import begin_record
from paradise.study.records import FORMS, PREDICTIONS, Evaluated, Imported, Trained, write_record
from paradise.study.registry import LOADERS
from paradise.study.rows import Row
from paradise.study.runs import batch_size, data_of, fused_model, read_run, run_of, trained_model
from paradise.study.steps.evaluate import entries
from paradise.study.terminal.progress import reporting


@torch.no_grad()
def evaluate(folder: Path, threads: int, gpus: int | None = None) -> None:
    """Evaluates both forms in `folder`, in float32.

    Writes `predictions.csv.xz` (each image's five best classes), `metrics.json` (the accuracies alone) and
    `evaluation.json` (the record).

    Args:
        folder: A run's.
        threads: Processor threads.
        gpus: How many may be used; see `device.pick_device`.

    Raises:
        UserError: The images seen are not those of the data's manifest, or a file of the run is not its own.
    """
    folder, run = Path(folder), read_run(folder)
    data, row, name = data_of(run), Row.parse(run.row), run_of(run).name
    torch.set_num_threads(threads)
    device = pick_device(gpus)
    models = {"trained": trained_model(folder), "fused": fused_model(folder)}
    for model in models.values():
        model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    manifest = prepared(data)
    _check_data(run, manifest, folder)
    inputs = {"manifest.csv": Path(data.folder, "manifest.csv")}
    inputs |= {file: folder / file for file in ("weights.safetensors", "fused.safetensors")}
    record = begin_record(
        "evaluate",
        run.preset,
        {"row": row.id, "run": name},
        {"data": data.evaluated()},
        inputs,
        entries(row, data.dataset, data.loader),
        device,
    )
    loader: Loader = LOADERS.get(data.loader)
    images = loader.evaluation(manifest.val, data, batch_size(run), threads, device)
    labels, best, difference = _predict(models, images, device, f"{row} {name}: evaluation")
    if labels != manifest.val.labels:
        raise UserError(f"{folder}: evaluation saw {len(labels)} images, not the {len(manifest.val)} of the manifest")
    accuracy = {form: _accuracy(best[form], labels) for form in FORMS}
    write_predictions(folder / PREDICTIONS, manifest.val.paths, labels, best)
    metrics = {form: {key: accuracy[form][key] for key in ("top1", "top5")} for form in ("fused", "trained")}
    write_json(folder / "metrics.json", metrics)
    outputs = {file: sha256(folder / file) for file in (PREDICTIONS, "metrics.json")}
    measured = {"outputs": outputs, "images": len(labels), "logits": difference} | accuracy
    write_record(folder / "evaluation.json", Evaluated, record | measured)


def _check_data(run: Trained | Imported, manifest: Manifest, folder: Path) -> None:
    if run.num_classes != manifest.num_classes:
        raise UserError(
            f"{folder} has weights for {run.num_classes} classes, {run.data_folder} images of "
            f"{manifest.num_classes}; evaluate it with the preset of its data"
        )
    # A checkpoint of others does not say what it was trained on.
    if manifest.sha256 != run.inputs.get("manifest.csv", manifest.sha256):
        raise UserError(f"{run.data_folder} is not the data that {folder} was trained on; prepare or train again")


def _predict(
    models: dict[str, nn.Module], images: EvaluationImages, device: torch.device, title: str
) -> tuple[list[int], dict[str, list[list[int]]], dict[str, float]]:
    """The labels of all images, each form's five best classes of each, and how the forms' logits differ.

    Raises UserError where a form's logits are no numbers, of which no class is the best, or are all 0.
    """
    labels: list[int] = []
    best: dict[str, list[list[int]]] = {form: [] for form in models}
    differences = Differences(title)
    with use_precision("float32", device), reporting(title, len(images)) as report:
        for x, batch_labels in images:
            logits: dict[str, Tensor] = {form: model(x) for form, model in models.items()}
            differences.add(logits["trained"], logits["fused"])
            labels += batch_labels.tolist()
            for form in models:
                best[form] += top5(logits[form]).tolist()
            report.step()
    return labels, best, differences.values()


def _accuracy(best: list[list[int]], labels: list[int]) -> dict[str, float]:
    hits1 = sum(classes[0] == label for classes, label in zip(best, labels))
    hits5 = sum(label in classes for classes, label in zip(best, labels))
    shares = {"top1": 100 * hits1 / len(labels), "top5": 100 * hits5 / len(labels)}
    return {"top1_hits": hits1, "top5_hits": hits5} | shares
