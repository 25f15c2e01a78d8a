"""Average precision of a trained detector in both its forms, by pycocotools, over every validation image once."""

import contextlib
import io
import json
from pathlib import Path

import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn

from paradise.causes import hashes, write_record
from paradise.detection.config import detector_config
from paradise.detection.data import annotation_file, categories, prepared
from paradise.detection.outputs import head_outputs, some_boxes
from paradise.device import pick_device
from paradise.errors import UserError
from paradise.files import write_json
from paradise.fusion import fuse
from paradise.progress import reporting
from paradise.record import provenance
from paradise.weights import load_weights

METRICS = ("ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l")
COMPARED = 8  # images whose head outputs are compared


def build_detector(row: str, detection: dict) -> nn.Module:
    """The detector of `row` with weights of no meaning."""
    init_default_scope("mmdet")
    if not MMLogger.check_instance_created("paradise"):
        MMLogger.get_instance("paradise", log_level="ERROR")  # mmengine lists every weight that it initialises
    return MODELS.build(detector_config(row, detection, None).model).eval()


@torch.no_grad()
def evaluate_detector(folder: Path, threads: int, gpus: int | None = None) -> None:
    """Evaluates both forms of the detector in `folder`, in float32.

    Writes `metrics.json` (the six average precisions of each form, in %) and `evaluation.json` (the record). Raises
    UserError where the data are not those that it was trained on.
    """
    run = read_detector(folder)
    torch.set_num_threads(threads)
    device = pick_device(gpus)
    record = provenance("evaluate_detector", device)
    detection = run["detection"]
    if prepared(detection) != run["annotations"]:
        raise UserError(f"{detection['folder']} is not the data that {folder} was trained on; train again")
    trained = build_detector(run["row"], detection)
    load_weights(trained, folder / "weights.safetensors")
    models = {form: model.to(device) for form, model in (("trained", trained), ("fused", fuse(trained)))}
    loader = detector_config(run["row"], detection, None).val_dataloader
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools says that it reads
        images = DATASETS.build(loader.dataset)
    numbers = list(categories(detection).values())

    found, largest, difference = {form: [] for form in models}, 0.0, 0.0
    with reporting(f"{run['row']} {folder.name}: evaluation", len(images)) as report:
        for begin in range(0, len(images), loader.batch_size):
            batch = [images[index] for index in range(begin, min(begin + loader.batch_size, len(images)))]
            data = models["trained"].data_preprocessor(pseudo_collate(batch), False)
            for form, model in models.items():
                for sample in model(**data, mode="predict"):
                    found[form] += _detections(sample, numbers)
            if begin < COMPARED:
                boxes = some_boxes(100, min(data["inputs"].shape[2:])).to(device)
                outputs = [head_outputs(model, data["inputs"], boxes) for model in models.values()]
                for a, b in zip(*outputs, strict=True):
                    largest, difference = (
                        max(largest, float(a.abs().max())),
                        max(difference, float((a - b).abs().max())),
                    )
            report.step(steps=len(batch))

    scores = {form: average_precisions(annotation_file(detection, "val"), found[form]) for form in models}
    write_json(folder / "metrics.json", {form: scores[form] for form in ("fused", "trained")})
    write_record(
        folder / "evaluation.json",
        {"row": run["row"], "preset": run["preset"], "seed": run["seed"], "images": len(images)}
        | {"detections": {form: len(found[form]) for form in models}}
        | scores
        | {"outputs": {"largest": largest, "difference": difference, "relative": difference / largest}}
        | {"files": hashes(folder, "weights.safetensors", "metrics.json")}
        | record,
    )


def read_detector(folder: Path) -> dict:
    """The record that training left in `folder`. Raises UserError where there is none or it is damaged."""
    path = Path(folder) / "run.json"
    try:
        run = json.loads(path.read_text())
        run["row"], run["detection"], run["annotations"]
    except FileNotFoundError:
        raise UserError(f"no detector at {path}; train the row first") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error!r}); train the row again") from None
    return run


def average_precisions(annotations: Path, found: list[dict]) -> dict[str, float | None]:
    """COCO's box AP, in %, of all detections `found`; None where a size has no objects."""
    if not found:
        return dict.fromkeys(METRICS, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its own table
        truth = COCO(annotations)
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: 100 * float(value) if value >= 0 else None for name, value in zip(METRICS, evaluation.stats)}


def _detections(sample, numbers: list[int]) -> list[dict]:
    """One image's, in COCO's result format; boxes in pixels of the image as it is stored."""
    instances = sample.pred_instances
    return [
        {
            "image_id": sample.img_id,
            "category_id": numbers[label],
            "bbox": [left, top, right - left, bottom - top],
            "score": score,
        }
        for (left, top, right, bottom), score, label in zip(
            instances.bboxes.tolist(), instances.scores.tolist(), instances.labels.tolist()
        )
    ]
