"""Presets: one YAML file is one study. Checked against `preset.schema.json`, which says what each key means."""

import fnmatch
import json
from pathlib import Path

import jsonschema
import yaml

from paradise.errors import UserError, nearest
from paradise.names import all_rows, backbone_of, detection_rows, list_models, parse_row

SCHEMA = Path(__file__).with_name("preset.schema.json")
PAPER = Path("data/paper")


def load(path: Path) -> dict:
    """The preset in `path`, checked. Raises UserError where it cannot be read or is not a preset."""
    try:
        preset = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError:
        raise UserError(f"no preset at {path}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    check(preset, path)
    return preset


def check(preset, path: Path) -> None:
    """Raises UserError, naming the key, where `preset` (read from `path`) breaks the schema or names an unknown row."""
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    errors = list(validator.iter_errors(preset))
    if errors:
        # A misspelt key is missing under its right name too: the misspelling is what to mend.
        unknown = [error for error in errors if error.validator == "additionalProperties"]
        raise UserError(f"{path}: {_explain(unknown[0] if unknown else jsonschema.exceptions.best_match(errors))}")
    try:
        _check_data(preset["data"])
        for row in rows(preset):
            parse_row(row)
        for row in preset.get("checkpoints", {}):
            if row not in models(preset):
                raise UserError(f"checkpoints: '{row}' is none of the preset's models{nearest(row, models(preset))}")
        for pattern in preset.get("overrides", {}):
            if not fnmatch.filter(rows(preset), pattern):
                raise UserError(f"overrides: '{pattern}' matches no row{nearest(pattern, rows(preset))}")
        _check_detection(preset)
    except UserError as reason:
        raise UserError(f"{path}: {reason}") from None


def rows(preset: dict, paper: Path = PAPER) -> list[str]:
    """The identifiers of the rows to train."""
    return all_rows(paper) if preset["rows"] == "all" else preset["rows"]


def models(preset: dict) -> list[str]:
    """Its rows in the order of the first table, which shows them with complexity and latency."""
    return [model for model in list_models() if model in rows(preset)]


def tables(preset: dict) -> list[str]:
    """The tables that a preset makes: the paper's, and its claims."""
    return ["imagenet", "ablation"] + ["detection"] * ("detection" in preset) + ["claims"]


def detectors(preset: dict, paper: Path = PAPER) -> list[str]:
    """The identifiers of the detection rows to train; none without a section `detection`."""
    if "detection" not in preset:
        return []
    wanted = preset["detection"]["rows"]
    return [row for row, _ in detection_rows(paper)] if wanted == "all" else wanted


def detection(preset: dict, row: str) -> dict:
    """The preset's `detection` for one row: its recipe, if there is one, changed by the `overrides` that match."""
    section = {key: value for key, value in preset["detection"].items() if key not in ("rows", "overrides", "latency")}
    for pattern, changes in preset["detection"].get("overrides", {}).items():
        if fnmatch.fnmatchcase(row, pattern):
            section["recipe"] = section["recipe"] | changes
    return section


def recipe(preset: dict, row: str) -> dict:
    """The training recipe of `row`: the preset's `training`, changed by each of its `overrides` that matches."""
    recipe = dict(preset["training"])
    for pattern, changes in preset.get("overrides", {}).items():
        if fnmatch.fnmatchcase(row, pattern):
            recipe |= changes
    return recipe


def recipes(preset: dict) -> dict[str, dict]:
    """The training recipe of every row."""
    return {row: recipe(preset, row) for row in rows(preset)}


def _check_detection(preset: dict) -> None:
    known = [row for row, _ in detection_rows(PAPER)] if "detection" in preset else []
    for row in detectors(preset):
        if row not in known:
            raise UserError(f"detection.rows: unknown row '{row}'{nearest(row, known)}")
        if backbone_of(row) not in rows(preset):
            raise UserError(f"detection.rows: '{row}' starts from '{backbone_of(row)}', which is none of the rows")
    for pattern in preset.get("detection", {}).get("overrides", {}):
        if not fnmatch.filter(detectors(preset), pattern):
            raise UserError(f"detection.overrides: '{pattern}' matches no row{nearest(pattern, detectors(preset))}")


def _check_data(data: dict) -> None:
    if "hold_out" in data and data["dataset"] == "imagenet":
        raise UserError("'data.hold_out' is not for imagenet")
    if data["resize"] < data["image_size"]:
        raise UserError(f"'data.resize': {data['resize']} is smaller than 'data.image_size' ({data['image_size']})")
    for key in ("area", "aspect"):
        low, high = data["augment"][key]
        if low > high:
            raise UserError(f"'data.augment.{key}': the range [{low}, {high}] begins above its end")


def _explain(error: jsonschema.ValidationError) -> str:
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        allowed = error.schema["properties"]
        key = next(key for key in error.instance if key not in allowed)
        return f"unknown key '{'.'.join([where, key] if where else [key])}'{nearest(key, allowed)}"
    if error.validator == "required":
        key = next(key for key in error.validator_value if key not in error.instance)
        return f"the key '{'.'.join([where, key] if where else [key])}' is missing"
    return f"'{where}': {error.message}" if where else error.message
