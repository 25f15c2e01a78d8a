"""What a result was made from: the settings and the code that decide what a step writes.

Every record names its causes, so that a result can be told from one that today's preset and code would make, and is
sealed, so that it can be told from one that was edited. `dvc.yaml` lists the same causes as the dependencies of its
stages. No torch here.
"""

import hashlib
import json
from pathlib import Path

from paradise.study import preset as presets
from paradise.study.files import sha256, write_json

BLOCK = ("block.py", "normsum.py", "dynamic.py", "kernels.py")
MODEL = (*BLOCK, "attention.py", "resnet.py", "models.py")
DATA = ("digits", "fashion_mnist", "pixels", "imagenet", "images", "manifest", "prepare")
LOADERS = ("data/loaders.py", "data/dali.py", "data/memory.py")
TRAINING = tuple(f"training/{name}.py" for name in ("loop", "schedule", "optimizer", "processes", "state", "signals"))
FUSION = ("structure.py", "fusion.py")
DETECTORS = [
    f"detection/configs/{detector}-{backbone}.py"
    for detector in ("retinanet", "cascade_rcnn")
    for backbone in ("resnet50", "pd_a_resnet50", "pd_b_resnet50", "pd_b_resnet50-inside")
]
DETECTION = (
    *(*BLOCK, "conversion.py", *FUSION, "weights.py"),
    *(f"detection/{name}.py" for name in ("modules", "config", "data")),
    *DETECTORS,
)
TICKET = ("evidence/__init__.py", "evidence/networks.py", "evidence/lottery.py")
EVIDENCE = (*TICKET, *(f"evidence/{name}.py" for name in ("perceptrons", "diversity", "pruning", "gradcam", "make")))
TRAIN = (*MODEL, *LOADERS, "names.py", "device.py", "weights.py", *TRAINING)
CODE = {
    "prepare": tuple(f"data/{name}.py" for name in DATA),
    "import": (*MODEL, "checkpoints.py"),
    "train": TRAIN,
    "train_start": (*TRAIN, *TICKET),
    "fuse": (*MODEL, *FUSION),
    "evaluate": (*MODEL, *FUSION, *LOADERS, "device.py", "evaluate.py", "accuracy.py"),
    "complexity": (*MODEL, *FUSION, "profiling/complexity.py"),
    "latency": (*MODEL, *FUSION, "profiling/latency.py"),
    "make_evidence": (*MODEL, *FUSION, *LOADERS, "device.py", *EVIDENCE),
    "report": (
        *("study.py", "tables.py", "claims.py", "figures.py", "report.py", "report.html.jinja"),
        "evidence/shown.py",
    ),
    "prepare_detection": ("data/digits.py", "data/pixels.py", "detection/digits.py", "detection/data.py"),
    "train_detector": (
        *DETECTION,
        "detection/outputs.py",
        "detection/train.py",
        "training/state.py",
        "training/signals.py",
        "device.py",
    ),
    "evaluate_detector": (*DETECTION, "detection/outputs.py", "detection/evaluate.py", "device.py"),
    "profile_detectors": (
        *(*DETECTION, "detection/outputs.py", "detection/profile.py"),
        *("profiling/complexity.py", "profiling/latency.py"),
    ),
}


def code(step: str) -> str:
    """One hash over the files of this package that decide what `step` writes."""
    digest = hashlib.sha256()
    for name in CODE[step]:
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()


def write_record(path: Path, record: dict) -> None:
    """Writes `record` as JSON, sealed."""
    write_json(path, record | {"seal": seal(record)})


def seal(record: dict) -> str:
    """A hash over all of `record` but its seal."""
    text = json.dumps({key: value for key, value in record.items() if key != "seal"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def hashes(folder: Path, *names: str) -> dict[str, str]:
    """The SHA-256 of files in `folder`, by name."""
    return {name: sha256(folder / name) for name in names}


def other_settings(run: dict, preset: dict) -> str | None:
    """What of the record `run` is not as `preset` has it now, in words; None where it is a run of this preset."""
    # A checkpoint of others has no recipe of ours.
    wanted = run["recipe"] if "checkpoint" in run else presets.recipe(preset, run["row"])
    changed = [key for key in wanted | run["recipe"] if wanted.get(key) != run["recipe"].get(key)]
    changed += [f"data.{key}" for key, value in preset["data"].items() if run["data"].get(key) != value]
    manifest = Path(preset["data"]["folder"], "manifest.csv")
    if "checkpoint" not in run and manifest.exists() and sha256(manifest) != run["data"]["manifest_sha256"]:
        changed.append(str(manifest))
    return f"{', '.join(changed)} changed" if changed else None


def other_detection(run: dict, preset: dict, results: Path) -> str | None:
    """What of a detector's record `run` is not as `preset`, its data and its backbone are now, in words, or None."""
    wanted, made = presets.detection(preset, run["row"]), run["detection"]
    changed = [key for key in wanted | made if wanted.get(key) != made.get(key)]
    prepared = Path(wanted["folder"], "detection.json")
    if prepared.exists() and json.loads(prepared.read_text())["annotations"] != run["annotations"]:
        changed.append(str(prepared))
    source = results / run["backbone"]["row"] / f"seed{run['backbone']['seed']}" / "run.json"
    if source.exists() and json.loads(source.read_text())["files"]["weights.safetensors"] != run["backbone"]["weights"]:
        changed.append("its backbone")
    return f"{', '.join(changed)} changed" if changed else None


def inputs(preset: dict, results: Path) -> str:
    """One hash over all records that a study's report shows, and the code of the report."""
    digest = hashlib.sha256(code("report").encode())
    rows = [*presets.rows(preset), *(f"detection/{row}" for row in presets.detectors(preset))]
    runs = [f"{row}/seed{seed}" for row in rows for seed in preset["seeds"]]
    runs += [f"{row}/imported" for row in preset.get("checkpoints", {})]
    for place in (*runs, "profile", "evidence"):
        for path in sorted((results / place).glob("*.json")):
            digest.update(path.relative_to(results).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def write_recipes(preset: dict, results: Path) -> None:
    """Writes `recipes.json`, each row's recipe, into `results`, unless it says so already."""
    recipes = presets.recipes(preset)
    path = results / "recipes.json"
    if not path.exists() or json.loads(path.read_text()) != recipes:
        write_json(path, recipes)
