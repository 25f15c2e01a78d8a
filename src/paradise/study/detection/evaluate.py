"""Average precision of a trained detector in both its forms, by pycocotools, over every validation image once."""

import contextlib
import io
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmengine.dataset import pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from pydantic import ValidationError
from torch import nn

from paradise.errors import UserError
from paradise.fusion import fuse
from paradise.mmcv_operators import name_operators
from paradise.study.accuracy import Differences
from paradise.study.detection.boxes import some_boxes
from paradise.study.detection.config import detector_config
from paradise.study.detection.data import categories, prepared
from paradise.study.detection.detectors import Detector
from paradise.study.device import pick_device
from paradise.study.files import write_json
from paradise.study.hashes import sha256
from paradise.study.preset import DetectionData
from paradise.study.provenance import begin_record
from paradise.study.records import Damaged, EvaluatedDetector, TrainedDetector, read_record, write_record
from paradise.study.registry import DETECTION_SETS, DETECTORS
from paradise.study.rows import DetectorRow
from paradise.study.steps.evaluate_detector import entries
from paradise.study.terminal.progress import reporting
from paradise.weights import load_weights

METRICS = ("ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l")
COMPARED = 8  # images whose head outputs are compared


def build_detector(row: DetectorRow, section: DetectionData) -> nn.Module:
    """The detector of `row`, in eval mode, with weights of no meaning."""
    init_default_scope("mmdet")
    if not MMLogger.check_instance_created("paradise"):
        MMLogger.get_instance("paradise", log_level="ERROR")  # mmengine lists every weight that it initialises
    detector: nn.Module = MODELS.build(detector_config(row, section, None).model)
    return detector.eval()


def read_detector(folder: Path) -> TrainedDetector:
    """The record that training left in `folder`. Raises UserError where there is none, or it or the weights changed."""
    path, weights = folder / "run.json", folder / "weights.safetensors"
    try:
        run = read_record(path, TrainedDetector)
    except Damaged as damaged:
        raise UserError(f"{damaged}; train the row again") from None
    if run is None:
        raise UserError(f"no detector at {path}; train the row first")
    if not weights.exists():
        raise UserError(f"no weights at {weights}; fetch them, or train the row again")
    if sha256(weights) != run.outputs.get(weights.name):
        raise UserError(f"{weights} is not what {path} records; pull both or train again")
    return run


def section_of(run: TrainedDetector) -> DetectionData:
    """The data and the recipe that a detector was trained with.

    Raises:
        UserError: Its record has settings that there are no longer.
    """
    where = {"folder": run.data_folder} | ({"source": run.data_source} if run.data_source else {})
    try:
        return DetectionData.model_validate(run.settings["detection"] | where)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{run.row} was trained with another 'detection.{name}' ({first['msg']}); train it again"
        ) from None


@torch.no_grad()
def evaluate_detector(folder: Path, threads: int, gpus: int | None = None) -> None:
    """Evaluates both forms of the detector in `folder`, in float32.

    Writes `metrics.json` (the six average precisions of each form, in %) and `evaluation.json` (the record).

    Args:
        folder: A run's.
        threads: Processor threads.
        gpus: How many may be used; see `device.pick_device`.

    Raises:
        UserError: The data are not those that it was trained on, or a file of the run is not its own.
    """
    folder = Path(folder)
    run = read_detector(folder)
    row, section = DetectorRow.parse(run.row), section_of(run)
    torch.set_num_threads(threads)
    device = pick_device(gpus)
    if any(run.inputs.get(name) != digest for name, digest in prepared(section).items()):
        raise UserError(f"{section.folder} is not the data that {folder} was trained on; train again")
    truth = DETECTION_SETS.get(section.dataset).annotations(section, "val")
    inputs = {"annotations of val": truth, "weights.safetensors": folder / "weights.safetensors"}
    record = begin_record(
        "evaluate_detector", run.preset, run.of, run.settings, inputs, entries(row, section.dataset), device
    )
    record["versions"]["mmcv operators"] = name_operators()
    trained = build_detector(row, section)
    load_weights(trained, folder / "weights.safetensors")
    models = {form: model.to(device) for form, model in (("trained", trained), ("fused", fuse(trained)))}
    images, found, difference = _detect(models, row, section, device, f"{row} {folder.name}: evaluation")
    scores = {form: average_precisions(truth, found[form]) for form in models}
    write_json(folder / "metrics.json", {form: scores[form] for form in ("fused", "trained")})
    measured = {
        "outputs": {"metrics.json": sha256(folder / "metrics.json")},
        "images": images,
        "detections": {form: len(found[form]) for form in models},
        "heads": difference,
    }
    write_record(folder / "evaluation.json", EvaluatedDetector, record | measured | scores)


def _detect(
    models: dict[str, Any], row: DetectorRow, section: DetectionData, device: torch.device, title: str
) -> tuple[int, dict[str, list[dict[str, Any]]], dict[str, float]]:
    """The number of images, each form's detections in all of them, and how the forms' head outputs differ."""
    detector: Detector = DETECTORS.get(row.detector)
    loader = detector_config(row, section, None).val_dataloader
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools says that it reads
        images = DATASETS.build(loader.dataset)
    numbers = list(categories(section).values())
    found: dict[str, list[dict[str, Any]]] = {form: [] for form in models}
    differences = Differences(title)
    with reporting(title, len(images)) as report:
        for begin in range(0, len(images), loader.batch_size):
            batch = [images[index] for index in range(begin, min(begin + loader.batch_size, len(images)))]
            data = models["trained"].data_preprocessor(pseudo_collate(batch), False)
            for form, model in models.items():
                for sample in model(**data, mode="predict"):
                    found[form] += detections(sample, numbers)
            if begin < COMPARED:
                boxes = some_boxes(100, min(data["inputs"].shape[2:])).to(device)
                outputs = [detector.head_outputs(model, data["inputs"], boxes) for model in models.values()]
                for a, b in zip(*outputs, strict=True):
                    differences.add(a, b)
            report.step(steps=len(batch))
    return len(images), found, differences.values()


def average_precisions(annotations: Path, found: list[dict[str, Any]]) -> dict[str, float | None]:
    """Box AP as COCO defines it.

    Args:
        annotations: The truth, a file as the study writes it.
        found: All detections, in COCO's format of results.

    Returns:
        The six of `METRICS`, in %; None where a size has no objects.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its own table
        truth = COCO(annotations)
        evaluation = COCOeval(truth, truth.loadRes(found) if found else _nothing(truth), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: 100 * float(value) if value >= 0 else None for name, value in zip(METRICS, evaluation.stats)}


def _nothing(truth: COCO) -> COCO:
    """No detections, which pycocotools cannot load."""
    nothing = COCO()
    nothing.dataset = truth.dataset | {"annotations": []}
    nothing.createIndex()
    return nothing


def detections(sample: DetDataSample, numbers: list[int]) -> list[dict[str, Any]]:
    """One image's detections in COCO's format of results; boxes in pixels of the image as it is stored.

    Args:
        sample: mmdetection's prediction.
        numbers: The categories' numbers in the annotations, by class.
    """
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
