"""What a result was made from: the settings and the code that decide what a step writes.

Every record names its causes, so that a result can be told from one that today's preset and code would make, and is
sealed, so that it can be told from one that was edited. `dvc.yaml` lists the same causes as the dependencies of its
stages. No torch here.
"""

import hashlib
import json
from pathlib import Path

from paradise import preset as presets
from paradise.files import sha256, write_json

MODEL = ("block.py", "attention.py", "resnet.py", "models.py")
DATA = ("digits", "fashion_mnist", "pixels", "imagenet", "images", "manifest", "prepare")
LOADERS = ("data/loaders.py", "data/dali.py", "data/memory.py")
TRAINING = tuple(f"training/{name}.py" for name in ("loop", "schedule", "optimizer", "processes", "state"))
CODE = {
    "prepare": tuple(f"data/{name}.py" for name in DATA),
    "import": (*MODEL, "checkpoints.py"),
    "train": (*MODEL, *LOADERS, "names.py", "device.py", "weights.py", *TRAINING),
    "fuse": (*MODEL, "fusion.py"),
    "evaluate": (*MODEL, "fusion.py", *LOADERS, "device.py", "evaluate.py", "accuracy.py"),
    "complexity": (*MODEL, "fusion.py", "profiling/complexity.py"),
    "latency": (*MODEL, "fusion.py", "profiling/latency.py"),
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


def write_recipes(preset: dict, results: Path) -> None:
    """Writes `recipes.json`, each row's recipe, into `results`, unless it says so already."""
    recipes = presets.recipes(preset)
    path = results / "recipes.json"
    if not path.exists() or json.loads(path.read_text()) != recipes:
        write_json(path, recipes)
