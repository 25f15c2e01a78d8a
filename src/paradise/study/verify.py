"""Whether results are those that today's preset and code would make, as their records tell. No torch here."""

import json
from pathlib import Path

from safetensors import safe_open

from paradise.study import preset as presets
from paradise.study.causes import code, hashes, inputs, other_detection, other_settings, seal
from paradise.study.data.manifest import other_images, read_manifest
from paradise.errors import UserError
from paradise.study.evidence import NAMES, SOURCE
from paradise.study.results import Study
from paradise.study.tables import render


def unmade(step: str, folder: Path, preset: dict) -> str | None:
    """Why what `step` (a stage of `dvc.yaml`) left in `folder` is not what it would make now; None where it is."""
    try:
        return CHECKS[step](folder, preset)
    except FileNotFoundError as error:
        return f"{error.filename} is not here"
    except UserError as error:
        return str(error)
    except (KeyError, TypeError, ValueError, OSError) as error:
        return f"a record in {folder} is damaged ({error!r})"


def _prepare(folder: Path, preset: dict) -> str | None:
    made = _read(folder / "prepared.json")
    changed = [key for key in ("dataset", "per_class", "hold_out") if made.get(key) != preset["data"].get(key)]
    if changed:
        return f"{', '.join(changed)} changed"
    if wrong := other_images(read_manifest(folder)):
        return f"{wrong[0]} is not the image that was prepared"
    return _other_code(made, "prepare")


def _recipes(folder: Path, preset: dict) -> str | None:
    made = json.loads((folder / "recipes.json").read_text())
    return None if made == presets.recipes(preset) else "the recipes changed"


def _train(folder: Path, preset: dict) -> str | None:
    run = _read(folder / "run.json")
    return other_settings(run, preset) or _other_code(run, "train") or _other_files(run, folder)


def _fuse(folder: Path, preset: dict) -> str | None:
    with safe_open(folder / "fused.safetensors", "np") as file:
        made = file.metadata()
    if made["weights"] != _read(folder / "run.json")["files"]["weights.safetensors"]:
        return "fused from other weights"
    return _other_code(made, "fuse")


def _evaluate(folder: Path, preset: dict) -> str | None:
    evaluation = _read(folder / "evaluation.json")
    return _other_code(evaluation, "evaluate") or _other_files(evaluation, folder)


def _complexity(folder: Path, preset: dict) -> str | None:
    return _other_models(_read(folder / "complexity.json"), "complexity", preset)


def _latency(folder: Path, preset: dict) -> str | None:
    made = _read(folder / "latency.json")
    if (made["rounds"], made["machine"]["threads"]) != (preset["latency"]["rounds"], preset["latency"]["threads"]):
        return "rounds or threads changed"
    return _other_models(made, "latency", preset)


def _prepare_detection(folder: Path, preset: dict) -> str | None:
    made = _read(folder / "detection.json")
    changed = [key for key in ("dataset", "images") if made[key] != preset["detection"].get(key)]
    return f"{', '.join(changed)} changed" if changed else _other_code(made, "prepare_detection")


def _train_detector(folder: Path, preset: dict) -> str | None:
    run = _read(folder / "run.json")
    changed = other_detection(run, preset, folder.parents[2])
    return changed or _other_code(run, "train_detector") or _other_files(run, folder)


def _evaluate_detector(folder: Path, preset: dict) -> str | None:
    evaluation = _read(folder / "evaluation.json")
    return _other_code(evaluation, "evaluate_detector") or _other_files(evaluation, folder)


def _profile_detectors(folder: Path, preset: dict) -> str | None:
    made, latency = _read(folder / "detection.json"), preset["detection"]["latency"]
    if (made["image_size"], made["rounds"], made["machine"]["threads"]) != tuple(
        latency[key] for key in ("image_size", "rounds", "threads")
    ):
        return "image_size, rounds or threads changed"
    if list(made["rows"]) != presets.detectors(preset):
        return "its rows changed"
    return _other_code(made, "profile_detectors")


def _train_start(folder: Path, preset: dict) -> str | None:
    run, source = _read(folder / "run.json"), folder.parents[3] / SOURCE / f"seed{preset['seeds'][0]}" / "run.json"
    if _read(source)["files"]["weights.safetensors"] != run["source"]:
        return f"started from other weights than those of {SOURCE}"
    return other_settings(run, preset) or _other_code(run, "train_start") or _other_files(run, folder)


def _make_evidence(folder: Path, preset: dict) -> str | None:
    """Of all pieces at once."""
    results = folder.parent
    for name in NAMES:
        made = _read(folder / f"{name}.json")
        for place, weights in made["weights"].items():
            if _read(results / place / "run.json")["files"]["weights.safetensors"] != weights:
                return f"{name}.json is of other weights of {place}"
        if reason := _other_code(made, "make_evidence"):
            return f"{name}.json: {reason}"
    return None


def _report(folder: Path, preset: dict) -> str | None:
    page = (folder / "report.html").read_text()
    return (
        None if f'content="{inputs(preset, folder)}"' in page else "report.html does not show the results as they are"
    )


def _tables(folder: Path, preset: dict) -> str | None:
    results = folder.parent
    study = Study(preset, results)
    for table in presets.tables(preset):
        for file, text in render(table, study, results.name).items():
            if (folder / file).read_text() != text:
                return f"{folder / file} does not show the results as they are"
    return None


CHECKS = {
    "prepare": _prepare,
    "recipes": _recipes,
    "train": _train,
    "fuse": _fuse,
    "evaluate": _evaluate,
    "complexity": _complexity,
    "latency": _latency,
    "prepare_detection": _prepare_detection,
    "train_detector": _train_detector,
    "evaluate_detector": _evaluate_detector,
    "profile_detectors": _profile_detectors,
    "train_start": _train_start,
    "make_evidence": _make_evidence,
    "tables": _tables,
    "report": _report,
}


def _read(path: Path) -> dict:
    record = json.loads(path.read_text())
    if record["seal"] != seal(record):
        raise UserError(f"{path.name} was edited by hand")
    return record


def _other_code(record: dict, step: str) -> str | None:
    return None if record["code"] == code(step) else "made by other code than today's"


def _other_files(record: dict, folder: Path) -> str | None:
    now = hashes(folder, *record["files"])
    changed = [name for name in now if now[name] != record["files"][name]]
    return f"{', '.join(changed)} changed since" if changed else None


def _other_models(record: dict, step: str, preset: dict) -> str | None:
    return _other_code(record, step) if list(record["rows"]) == presets.models(preset) else "its rows changed"
