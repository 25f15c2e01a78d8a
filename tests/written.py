"""A study on disk without a training: valid, sealed records of every step, as the steps and the schemas say.

All of it is written below the current folder, where a preset has its `results/` and looks for the paper's tables: a
test goes to a folder of its own first, by `monkeypatch.chdir(tmp_path)`. It takes about a millisecond a file.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from paradise.study.hashes import sha256
from paradise.study.predictions import write_predictions
from paradise.study.preset import Preset
from paradise.study.records import (
    FORMS,
    PREDICTIONS,
    Complexity,
    DetectorProfiles,
    Evaluated,
    EvaluatedDetector,
    EvidenceRecord,
    Fused,
    Imported,
    Latencies,
    Prepared,
    PreparedDetection,
    Trained,
    TrainedDetector,
    write_record,
)
from paradise.study.rows import Row, Run
from paradise.study.stale import Survey
from paradise.study.steps import Job, all_steps, run_from

REPOSITORY = Path(__file__).parent.parent
CLASSES = 10
IMAGES = 360  # that were held out
Right = Callable[[Run], Sequence[bool]]  # on which of them the networks of a run are right
COMMIT = "0123456789" * 4
TIME = "2026-01-02T03:04:05+00:00"
MACHINE = dict(system="Linux", processor="Example CPU", cores=2, threads=1, instructions="AVX2", device="cpu", gpu=None)
DIFFERENCE = {"largest": 10.0, "difference": 1e-5, "relative": 1e-6}


def some_right(run: Run) -> list[bool]:
    """Right on the first 300 images and some more, more or fewer for each row and seed."""
    number = int(hashlib.sha256(str(run).encode()).hexdigest(), 16)
    return [image < 300 + number % 60 for image in range(IMAGES)]


def make_study(
    rows: str | list[str] = "all",
    seeds: Sequence[int] = (0,),
    *,
    name: str = "digits",
    right: Right = some_right,
    evidence: Mapping[str, dict[str, Any]] | None = None,
    **sections: Any,
) -> Preset:
    """A study that is done but for its tables and report.

    Args:
        rows: The classification rows; all detectors come with "all" rows, and none with others.
        seeds: The seeds.
        name: The preset's.
        right: On which validation images a run's networks are right, both forms alike.
        evidence: What the pieces' records say, by their names; `some_evidence` has all. None by default.
        sections: Other values of the preset: a section's keys one by one, None for a section that it has not.

    Returns:
        The preset; `config/NAME.yaml` has it.
    """
    preset = make_preset(rows, seeds, name=name, **sections)
    evidence = evidence or {}
    jobs = {path: job for job in Survey(preset).jobs.values() for path in (*job.outputs, *job.vouched.values())}
    done: set[Path] = set()

    def write(job: Job) -> None:
        if job.record not in done:
            done.add(job.record)
            for path in job.needs:
                if path in jobs:
                    write(jobs[path])
            write_job(job, right, evidence)

    for job in jobs.values():
        piece = job.wildcards.get("piece", "lottery" if job.step.name == "train_start" else None)
        if not job.step.view and (piece is None or piece in evidence):
            write(job)
    return preset


def make_preset(
    rows: str | list[str] = "all", seeds: Sequence[int] = (0,), *, name: str = "digits", **sections: Any
) -> Preset:
    """The digits preset with other rows and seeds, in `config/NAME.yaml` below the current folder.

    The paper's tables are linked to. Arguments as `make_study`'s.
    """
    values = yaml.safe_load((REPOSITORY / "config" / "digits.yaml").read_text())
    values |= {"rows": rows, "seeds": list(seeds)}
    if rows != "all":
        del values["detection"]
        matching = {key: of for key, of in values["overrides"].items() if any(fnmatchcase(row, key) for row in rows)}
        values["overrides"] = matching
    for key, value in sections.items():
        values[key] = values.get(key, {}) | value if isinstance(value, dict) else value
    values = {key: value for key, value in values.items() if value is not None}
    if not Path("data/paper").exists():
        Path("data").mkdir(exist_ok=True)
        Path("data/paper").symlink_to(REPOSITORY / "data" / "paper")
    path = Path("config", f"{name}.yaml")
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return Preset.load(path)


def job_of(preset: Preset, step: str, **wildcards: str) -> Job:
    """The job of a step: `job_of(preset, "train", row="resnet18", seed="0")`."""
    return all_steps()[step].job(preset, **wildcards)


def write_job(
    job: Job, right: Right = some_right, evidence: Mapping[str, dict[str, Any]] | None = None, **changes: Any
) -> None:
    """Writes what a job leaves: its files, and its record, sealed. What it is made of must be there.

    Args:
        job: Of any step that measures.
        right: See `make_study`.
        evidence: See `make_study`.
        changes: Keys of the record that have other values, such as `code` or `settings`.
    """
    for path in job.inputs.values():
        if not path.exists():  # a checkpoint of others
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{path}\n")
    for path in {*job.outputs[:-1], *job.vouched.values()}:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name == PREDICTIONS:
            _write_predictions(path, right(run_from(job.wildcards)))
        else:
            path.write_text(_text(job, path, right, evidence or {}))
    record = {
        "step": job.step.name,
        "preset": job.preset.name,
        "of": dict(job.wildcards),
        "settings": job.settings,
        "inputs": {name: sha256(path) for name, path in job.inputs.items()},
        "outputs": {name: sha256(path) for name, path in job.vouched.items()},
        "code": job.code,
        "time": TIME,
        "commit": COMMIT,
        "versions": {"python": "3.11.0", "snakemake": "9.27.1"} | _versions(*job.step.packages),
        "machine": MACHINE,
    }
    write_record(job.record, job.step.schema, record | _measured(job, right, evidence or {}) | changes)


def change_record(job: Job, **changes: Any) -> None:
    """Gives keys of a record that is there other values, and seals it anew."""
    values = json.loads(job.record.read_text())
    write_record(job.record, job.step.schema, {key: of for key, of in values.items() if key != "seal"} | changes)


def other_code(job: Job, module: str) -> None:
    """Makes a record one of other code in `module`, one of its own."""
    assert module in job.code
    change_record(job, code=job.code | {module: "0" * 12})


def some_evidence(classes: Sequence[str] = ("zero", "one")) -> dict[str, dict[str, Any]]:
    """What records of all evidence say, as small as it can be.

    Args:
        classes: The names of the data's classes: two.
    """
    import numpy as np

    from paradise.study.evidence.measures.gradcam import pack

    branches = ["standard1", "standard2", "skeleton", "group"]
    likeness = np.eye(4).tolist()
    shares = {"kernel_norms": [1] * 4, "histograms": [[0.5, 0.5]] * 4}
    layers = {"layer1.0.conv1": {"kernel_similarity": likeness, "output_similarity": likeness} | shares}
    weights = {"mean": [0.25] * 4, "std": [0.1] * 4, "by_class": [[0.25] * 4] * 2, "frozen_at": [0.25] * 4}
    right = {"accuracy": 90.0, "accuracy_frozen": 80.0, "right_only_with_gate": 9, "right_only_frozen": 1}
    gated = {"branches": branches, "layers": layers, "gate": {"layers": {"layer1.0.conv1": weights}} | right}
    arrays = {row: np.ones((2, 4, 4), np.float16) for row in ("resnet18", "pd_a_resnet18")}
    arrays["images"] = np.zeros((2, 32, 32, 3), np.uint8)
    starts = ("random", "rest", "maximum", "magnitude", "fused")

    def curve(start: int, seed: int) -> list[float]:
        return [100 * (hits + start + seed) / IMAGES for hits in (180, 200, 216)]

    run = {"accuracy": [40.0, 50.0], "fused_accuracy": 50.0}
    perceptron = {"runs": {"0": run}, "params_training": 4000, "params_fused": 1000}
    looks = {"stage": "layer2", "predicted": [0, 1], "share_above_half": 0.2, "likeness_to_plain": 0.9}
    without = dict(zip(branches, (10.0, 80.0, 70.0, 60.0)))
    return {
        "lottery": {
            "curves": {start: {str(seed): curve(i, seed) for seed in range(3)} for i, start in enumerate(starts)},
            "images": IMAGES,
        },
        "perceptrons": {
            "kinds": {kind: perceptron for kind in ("plain", "summed", "gated", "wide")},
            "hidden": 64,
            "branches": 4,
            "images": IMAGES,
        },
        "diversity": {
            "edges": [-1, 0, 1],
            "classes": list(classes),
            "rows": {"pd_a_resnet18": {"branches": branches, "layers": layers}, "pd_b_resnet18": gated},
        },
        "pruning": {"rows": {"pd_a_resnet18": {"whole": 90.0, "without": without}}, "images": IMAGES},
        "gradcam": {
            "rows": {row: looks for row in ("resnet18", "pd_a_resnet18")},
            "labels": [0, 1],
            "classes": list(classes),
            "images": 200,
            "arrays": pack(arrays),
        },
    }


def _text(job: Job, path: Path, right: Right, evidence: Mapping[str, dict[str, Any]]) -> str:
    """What is in a file that comes with a job's record."""
    schema = job.step.schema
    if schema is Prepared:
        return _write_images(path, _images(job, right))
    if path.name == "log.csv":
        if schema is TrainedDetector:
            iterations = _measured(job, right, {})["iterations"]
            return "iteration,learning_rate,loss\n" + "".join(f"{i},0.001,{3 / i}\n" for i in range(1, iterations + 1))
        header = "epoch,learning_rate,train_loss,train_top1,val_top1,val_top5\n"
        top1 = enumerate(_learning_curve(job, evidence, _images(job, right)), start=1)
        return header + "".join(f"{i},0.01,{1 / i},{100 - 50 / i},{value},100.0\n" for i, value in top1)
    if path.name == "metrics.json":
        measured = _measured(job, right, {})
        keys = ("top1", "top5") if schema is Evaluated else measured["fused"]
        return json.dumps({form: {key: measured[form][key] for key in keys} for form in ("fused", "trained")}) + "\n"
    return f"{path.name} of {job}\n"


def _images(job: Job, right: Right) -> int:
    """How many images were held out."""
    return len(right(job.preset.runs[0]))


def _write_images(manifest: Path, held_out: int) -> str:
    """Writes what stands for images, beside their manifest; returns its text. Of very many the last are not here."""
    lines = ["split,path,label,sha256"]
    for split, count in (("train", CLASSES), ("val", held_out)):
        for number in range(count):
            label, content = number % CLASSES, f"{split} {number}"
            image = manifest.parent / split / str(label) / f"{number:04d}.png"
            if number < IMAGES:
                image.parent.mkdir(parents=True, exist_ok=True)
                image.write_text(content)
            hashed = hashlib.sha256(content.encode()).hexdigest()
            lines.append(f"{split},{image.relative_to(manifest.parent)},{label},{hashed}")
    return "\n".join(lines) + "\n"


def _write_predictions(path: Path, right: Sequence[bool]) -> None:
    """Each image's five best classes: its own the first where a network is right, else the second."""
    orders = {True: (0, 1, 2, 3, 4), False: (1, 0, 2, 3, 4)}
    labels = [number % CLASSES for number in range(len(right))]
    best = [[(label + step) % CLASSES for step in orders[bool(hit)]] for label, hit in zip(labels, right)]
    images = [f"val/{label}/{number:04d}.png" for number, label in enumerate(labels)]
    write_predictions(path, images, labels, dict.fromkeys(FORMS, best))


def _measured(job: Job, right: Right, evidence: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """What a record says beside what all records say."""
    preset, schema = job.preset, job.step.schema
    data = {"data_folder": preset.data.folder, "data_source": preset.data.source}
    if schema is Prepared:
        return {"classes": CLASSES, "train": CLASSES, "val": _images(job, right)}
    if schema is PreparedDetection:
        return {"splits": {split: {"images": 4, "objects": 9} for split in ("train", "val")}}
    if schema is Trained:
        images = _images(job, right)
        return (
            data | _trained(job, _learning_curve(job, evidence, images), images) | {"start": job.wildcards.get("start")}
        )
    if schema is Imported:
        ((file, path),) = job.inputs.items()
        source = {"source": "authors' checkpoint", "checkpoint": {"file": file, "sha256": sha256(path)}}
        return data | source | {"num_classes": CLASSES, "batch_size": 32, "precision": "float32"}
    if schema is Fused:
        return {}
    if schema is Evaluated:
        hits = right(run_from(job.wildcards))
        top1, images = sum(map(bool, hits)), len(hits)
        accuracy = {"top1_hits": top1, "top5_hits": images, "top1": 100 * top1 / images, "top5": 100.0}
        return {"images": images, "trained": accuracy, "fused": accuracy, "logits": DIFFERENCE}
    if schema is TrainedDetector:
        run = run_from(job.wildcards)
        assert not isinstance(run.row, Row)
        recipe = preset.detection_of(run.row).recipe
        iterations = {"iterations": recipe.iterations if recipe else 60}
        trained = iterations | {"processes": 1, "precision": "float32", "accepted_changes": [], "seconds": 60.0}
        return data | trained | {"backbone": {"row": run.row.backbone.id, "seed": run.seed}}
    if schema is EvaluatedDetector:
        precision = {"ap": 4.0, "ap50": 9.0, "ap75": 3.0, "ap_s": None, "ap_m": 5.0, "ap_l": 12.0}
        found = {"detections": {"trained": 50, "fused": 50}, "heads": DIFFERENCE}
        return {"images": 100, "trained": precision, "fused": precision} | found
    if schema is EvidenceRecord:
        return {"evidence": evidence[job.wildcards["piece"]]}
    return _profile(preset, schema)


def _learning_curve(job: Job, evidence: Mapping[str, dict[str, Any]], images: int) -> list[float]:
    """The accuracy after each epoch: it rises; of a start of the lottery's, as the evidence says."""
    if "start" in job.wildcards:
        curve: list[float] = evidence["lottery"]["curves"][job.wildcards["start"]][job.wildcards["seed"]]
        return curve
    epochs = job.settings["recipe"]["epochs"]
    return [100 * round(images * (1 - 0.6 / epoch)) / images for epoch in range(1, epochs + 1)]


def _trained(job: Job, curve: list[float], images: int) -> dict[str, Any]:
    size = job.settings["recipe"]["batch_size"]
    return {
        "num_classes": CLASSES,
        "images": {"train": CLASSES, "val": images},
        "precision": "float32",
        "batch": {"size": size, "processes": 1, "passes": 1, "images": size},
        "sessions": 1,
        "accepted_changes": [],
        "best": {"epoch": curve.index(max(curve)) + 1, "val_top1": max(curve), "val_top5": 100.0},
        "seconds": 60.0,
        "seconds_waiting_for_data": 1.0,
        "seconds_saving": 0.5,
        "weights_stay": bool(job.preset.weights_stay),
    }


def _profile(preset: Preset, schema: type) -> dict[str, Any]:
    """What was counted, of every row the same, and timed, of the plain ones less."""
    counts = {"params": 11_689_512, "flops": 1_822_176_768, "macs": 1_814_073_344}
    if schema is Complexity:
        return {"rows": {row.id: counts | {"deploy_params": 11_684_712} for row in preset.models}}
    if schema is Latencies:
        timed = [*preset.models, *(row.plain for row in preset.models)]
        return {"rows": {row.id: _times(16.032 if row == row.plain else 20.04, preset.latency.rounds) for row in timed}}
    assert schema is DetectorProfiles and preset.detection is not None, f"what does a {schema.__name__} say?"
    form = counts | _times(100.0, preset.detection.latency.rounds)
    rows = {row.id: {"trained": form, "fused": form} for row in preset.detectors}
    return {"image_size": preset.detection.latency.image_size, "rows": rows}


def _times(median: float, rounds: int) -> dict[str, list[float]]:
    """Of so many rounds, around a median."""
    return {"times_ms": [median + (index - (rounds - 1) / 2) * 2 / rounds for index in range(rounds)]}


def _versions(*packages: str) -> dict[str, str]:
    """Those of the packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
