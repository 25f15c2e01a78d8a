"""Whether a record's numbers follow from the files that came with it, and from the preset. No torch here.

A record's seal tells an edit that was not sealed anew; these tell one that was, where a number follows from others.
They are the steps' `check`: each returns what is wrong, or None. What is not here, such as data, tells nothing.
"""

import csv
import json
import lzma
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from paradise.names import PLAIN
from paradise.study.hashes import remembered
from paradise.study.preset import Preset
from paradise.study.records import (
    FORMS,
    PREDICTIONS,
    Complexity,
    DetectorProfiles,
    Evaluated,
    EvaluatedDetector,
    EvidenceRecord,
    Imported,
    Latencies,
    Prepared,
    Timing,
    Trained,
    TrainedDetector,
    is_share,
)
from paradise.study.rows import DetectorRow, Row
from paradise.study.steps import Job

# What a file raises that is not what it should be.
MALFORMED = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
    csv.Error,
    lzma.LZMAError,
)
Rows = Iterable[Row] | Iterable[DetectorRow]


def check_prepared(job: Job, record: Prepared) -> str | None:
    """The numbers of images and classes are the manifest's."""
    said = {"train": record.train, "val": record.val, "classes": record.classes}
    return _other_images(job.preset, said)


def check_training(job: Job, record: Trained) -> str | None:
    """Batches and precision are the recipe's, the best epoch is the log's, accuracies are shares of the images."""
    row = Row.parse(record.of.get("row", Row(PLAIN, 18).id))  # the lottery trains plain networks
    recipe = job.preset.recipe(row)
    if record.batch.size != recipe.batch_size:
        return f"{job.record}: batches of {record.batch.size} are not the recipe's"
    if recipe.precision not in ("auto", record.precision):
        return f"{job.record}: {record.precision} is not the recipe's precision"
    path, best = job.record.with_name("log.csv"), record.best
    epochs = _read(path, _read_epochs)
    if epochs is not None:
        if not epochs or epochs["count"] != recipe.epochs or epochs["best"] != [*best.model_dump().values()]:
            return f"{path} does not have the epochs of its record"
        if wrong := [top1 for top1 in epochs["val_top1"] if not is_share(top1, record.images.val)]:
            return f"{path}: {wrong[0]} % is no share of {record.images.val} images"
    said = {"train": record.images.train, "val": record.images.val, "classes": record.num_classes}
    return _other_images(job.preset, said)


def check_import(job: Job, record: Imported) -> str | None:
    """The classes are the data's."""
    return _other_images(job.preset, {"classes": record.num_classes})


def check_evaluation(job: Job, record: Evaluated) -> str | None:
    """Hits are those of the predictions, and accuracies those of `metrics.json`."""
    path = job.record.with_name(PREDICTIONS)
    forms = {form: getattr(record, form) for form in FORMS}
    said = {"images": record.images} | {form: [of.top1_hits, of.top5_hits] for form, of in forms.items()}
    if _read(path, _count_hits) not in (None, said):
        return f"{path} does not have the hits of its record"
    metrics = {form: {"top1": of.top1, "top5": of.top5} for form, of in forms.items()}
    return _other_metrics(job, metrics) or _other_images(job.preset, {"val": record.images})


def check_detector(job: Job, record: TrainedDetector) -> str | None:
    """The backbone is the row's, of the same seed, and the iterations are the recipe's and the log's."""
    row = DetectorRow.parse(record.row)
    if (record.backbone.row, str(record.backbone.seed)) != (row.backbone.id, record.of["seed"]):
        return f"{job.record}: the backbone is not {row.backbone} seed{record.of['seed']}"
    recipe = job.preset.detection_of(row).recipe
    if recipe is not None and record.iterations != recipe.iterations:
        return f"{job.record}: {record.iterations} iterations are not the recipe's"
    path = job.record.with_name("log.csv")
    logged = _read(path, _count_iterations)
    return None if logged in (None, record.iterations) else f"{path} does not have the iterations of its record"


def check_detections(job: Job, record: EvaluatedDetector) -> str | None:
    """Average precisions are those of `metrics.json`."""
    return _other_metrics(job, {form: getattr(record, form).model_dump() for form in FORMS})


def check_complexity(job: Job, record: Complexity) -> str | None:
    """The models are the settings'."""
    return _other_rows(job, record.rows, job.preset.models)


def check_latency(job: Job, record: Latencies) -> str | None:
    """The models, rounds and threads are the settings'."""
    wanted, models = job.preset.latency, job.preset.models
    if _were_timed(record.rows.values(), wanted.rounds) and record.machine.threads == wanted.threads:
        return _other_rows(job, record.rows, dict.fromkeys([*models, *(row.plain for row in models)]))
    return f"{job.record} was not timed as its settings say"


def check_profiles(job: Job, record: DetectorProfiles) -> str | None:
    """The detectors, rounds, threads and the image's size are the settings'."""
    assert job.preset.detection is not None
    wanted, profiles = job.preset.detection.latency, record.rows.values()
    forms = [getattr(profile, form) for profile in profiles for form in FORMS]
    if _were_timed(forms, wanted.rounds) and (record.machine.threads, record.image_size) == (
        wanted.threads,
        wanted.image_size,
    ):
        return _other_rows(job, record.rows, job.preset.detectors)
    return f"{job.record} was not timed as its settings say"


def check_evidence(job: Job, record: EvidenceRecord) -> str | None:
    """The lottery's curves are those of its trainings' logs."""
    from paradise.study.evidence.starts import STARTS, log  # which no other step loads

    if record.piece != "lottery":
        return None
    for start in STARTS:
        for seed in job.preset.evidence_seeds:
            path = job.preset.results / log(start, seed)
            epochs = _read(path, _read_epochs)
            if epochs is not None and _within(record.evidence, "curves", start, str(seed)) != epochs.get("val_top1"):
                return f"{job.record}: the curve of {start}, seed {seed}, is not that of {path}"
    return None


def _were_timed(timings: Iterable[Timing], rounds: int) -> bool:
    return all(len(timing.times_ms) == rounds for timing in timings)


def _within(value: Any, *keys: str) -> Any:
    """What nested mappings have under `keys`; None where they have it not."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _other_rows(job: Job, rows: Mapping[str, Any], wanted: Rows) -> str | None:
    other = sorted(rows.keys() ^ {row.id for row in wanted})
    return f"{job.record} does not have the rows of its settings: {other[0]}" if other else None


def _other_metrics(job: Job, metrics: dict[str, dict[str, float | None]]) -> str | None:
    path = job.record.with_name("metrics.json")
    return None if _read(path, _read_json) in (None, metrics) else f"{path} does not have the numbers of its record"


def _other_images(preset: Preset, said: dict[str, int]) -> str | None:
    path = Path(preset.data.folder, "manifest.csv")
    counted = _read(path, _count_images)
    for what, count in said.items():
        if counted is not None and counted.get(what) != count:
            return f"{path} lists {counted.get(what)} and not {count} ({what})"
    return None


def _read(path: Path, how: Callable[[Path], Any]) -> Any:
    """What a file says, remembered; None where it is not here, nothing where it is not what it should be."""
    if not path.exists():
        return None
    # What is known of a file was found out by this one: with another it is found out again.
    told_by = Path(__file__).stat().st_mtime_ns
    try:
        return remembered(f"{how.__name__} {told_by}", path, how)
    except MALFORMED:
        return {}


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def _count_iterations(path: Path) -> int:
    """How many iterations a detector's log has; 0 where these are not numbered, or one has no loss."""
    lines = _read_lines(path)
    numbered = [int(line["iteration"]) for line in lines] == list(range(1, len(lines) + 1))
    return len(lines) if numbered and all(math.isfinite(float(line["loss"])) for line in lines) else 0


def _count_images(path: Path) -> dict[str, int]:
    lines = _read_lines(path)
    splits = [line["split"] for line in lines]
    classes = max(int(line["label"]) for line in lines) + 1
    return {"train": splits.count("train"), "val": splits.count("val"), "classes": classes}


def _read_epochs(path: Path) -> dict[str, Any]:
    """How many epochs a training's log has (0 where these are not numbered), the best, and the accuracy after each."""
    lines = _read_lines(path)
    numbered = [int(line["epoch"]) for line in lines] == list(range(1, len(lines) + 1))
    top1 = [float(line["val_top1"]) for line in lines]
    best = lines[top1.index(max(top1))]
    numbers = [int(best["epoch"]), float(best["val_top1"]), float(best["val_top5"])]
    return {"count": len(lines) if numbered else 0, "best": numbers, "val_top1": top1}


def _count_hits(path: Path) -> dict[str, Any]:
    """How many images there are, and each form's top-1 and top-5 hits."""
    from paradise.study.predictions import read_predictions  # which no other step loads

    said = read_predictions(path)
    labels = said["label"]
    hits: dict[str, Any] = {"images": len(labels)}
    for form in FORMS:
        ranks = [classes for name, classes in said.items() if name.startswith(f"{form}_")]
        first = sum(map(str.__eq__, said[f"{form}_1"], labels))
        hits[form] = [first, sum(label in best for label, *best in zip(labels, *ranks))]
    return hits
