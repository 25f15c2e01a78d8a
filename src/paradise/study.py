"""The records of one preset under `results/<preset>`: what tables, claims, figures and report show. No torch here."""

import json
from pathlib import Path

import jsonschema

from paradise.causes import other_detection, other_settings, seal
from paradise.errors import UserError

ACCURACY = {"type": "object", "required": ["top1_hits", "top1", "top5"]}
PRECISION = {"type": "object", "required": ["ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l"]}
FILES = {"type": "object", "required": ["weights.safetensors"]}
# What must be in a record for its numbers to be shown.
EVALUATION = {
    "type": "object",
    "required": ["images", "trained", "fused", "files"],
    "properties": {"images": {"type": "integer"}, "files": FILES},
}
CLASSIFICATION = EVALUATION | {
    "required": [*EVALUATION["required"], "logits"],
    "properties": EVALUATION["properties"] | {"trained": ACCURACY, "fused": ACCURACY},
}
DETECTION = EVALUATION | {
    "required": [*EVALUATION["required"], "outputs"],
    "properties": EVALUATION["properties"] | {"trained": PRECISION, "fused": PRECISION},
}
RUN = {"type": "object", "required": ["row", "files", "machine", "commit"], "properties": {"files": FILES}}
PROFILE = {"type": "object", "required": ["rows"]}


class Study:
    """What was measured of `preset`. A run that was made with other settings does not count; `stale` lists these.

    Raises UserError for a damaged record, or where not `strict`, leaves it out and says so in `damaged`.
    """

    def __init__(self, preset: dict, results: Path, strict: bool = True):
        self.preset, self.results, self.strict = preset, results, strict
        self.stale: list[str] = []
        self.damaged: list[str] = []
        self._runs: dict[str, list[dict]] = {}
        self.complexity, self.latency, self.detection = (
            self.read(results / "profile" / f"{name}.json", PROFILE) or {"rows": {}}
            for name in ("complexity", "latency", "detection")
        )

    def runs(self, row: str) -> list[dict]:
        """The evaluated runs of `row`, one for each seed that counts: its evaluation, with its record as `run`.

        `folder` is where they lie, `anchor` names them in the report.
        """
        return self._of_seeds(row, CLASSIFICATION)

    def detectors(self, row: str) -> list[dict]:
        """As `runs`, of a detection row."""
        return self._of_seeds(f"detection/{row}", DETECTION)

    def imported(self, row: str) -> list[dict]:
        """The evaluated checkpoint of others for `row`, as `runs` has those trained here; one or none."""
        wanted = row in self.preset.get("checkpoints", {})
        return self._once(f"{row}/imported", ["imported"] if wanted else [], row, CLASSIFICATION)

    def read(self, path: Path, schema: dict) -> dict | None:
        """The record in `path`, None where there is none; a damaged one as the class says."""
        try:
            record = json.loads(path.read_text())
            jsonschema.validate(record, schema)
            if record.get("seal", seal(record)) != seal(record):
                raise ValueError("edited by hand")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, jsonschema.ValidationError) as error:
            reason = getattr(error, "message", error)
            if self.strict:
                raise UserError(f"{path} is damaged ({reason}); delete it and run snakemake") from None
            self.damaged.append(f"{path} ({reason})")
            return None
        return record

    def _of_seeds(self, place: str, schema: dict) -> list[dict]:
        return self._once(place, [f"seed{seed}" for seed in self.preset["seeds"]], place, schema)

    def _once(self, key: str, names: list[str], place: str, schema: dict) -> list[dict]:
        if key not in self._runs:
            runs = [self._run(self.results / place / name, schema) for name in names]
            self._runs[key] = [run for run in runs if run is not None]
        return self._runs[key]

    def _run(self, folder: Path, schema: dict) -> dict | None:
        evaluation, run = self.read(folder / "evaluation.json", schema), self.read(folder / "run.json", RUN)
        if evaluation is None or run is None:
            return None
        place = folder.relative_to(self.results)
        try:
            same = run["files"]["weights.safetensors"] == evaluation["files"]["weights.safetensors"]
            current = same and self._other(run) is None
        except (KeyError, TypeError, AttributeError) as error:
            if self.strict:
                raise UserError(
                    f"a record in {folder} is damaged ({error!r}); delete the folder and run snakemake"
                ) from None
            self.damaged.append(f"{folder / 'run.json'} ({error!r})")
            return None
        if not current:
            # A number of another training than this preset's must not stand in its table.
            self.stale.append(f"{place.parent} {place.name}")
            return None
        return evaluation | {"run": run, "folder": folder, "anchor": "-".join(place.parts)}

    def _other(self, run: dict) -> str | None:
        if "detection" in run:
            return other_detection(run, self.preset, self.results)
        return other_settings(run, self.preset)
