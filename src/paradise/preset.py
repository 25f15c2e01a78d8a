"""Presets: one YAML file is one study. Checked against `preset.schema.json`, which says what each key means."""

import json
from pathlib import Path

import jsonschema
import yaml

from paradise.errors import UserError, nearest
from paradise.names import all_rows, parse_row

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
    error = jsonschema.exceptions.best_match(validator.iter_errors(preset))
    if error is not None:
        raise UserError(f"{path}: {_explain(error)}")
    for row in [*([] if preset["rows"] == "all" else preset["rows"]), *preset.get("overrides", {})]:
        try:
            parse_row(row)
        except UserError as reason:
            raise UserError(f"{path}: {reason}") from None


def rows(preset: dict, paper: Path = PAPER) -> list[str]:
    """The identifiers of the rows to train."""
    return all_rows(paper) if preset["rows"] == "all" else preset["rows"]


def recipe(preset: dict, row: str) -> dict:
    """The training recipe of `row`: the preset's `training`, changed by its `overrides` of this row."""
    return preset["training"] | preset.get("overrides", {}).get(row, {})


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
