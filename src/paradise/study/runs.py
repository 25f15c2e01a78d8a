"""The folder of one run: its record, and its network in both forms."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from torch import nn

from paradise.errors import UserError
from paradise.fusion import fuse
from paradise.names import WIDTH
from paradise.resnet import ResNet
from paradise.study.hashes import sha256
from paradise.study.preset import EvaluationData, PresetPart, Recipe
from paradise.study.provenance import begin_record
from paradise.study.records import Damaged, Fused, Imported, Trained, read_record, write_record
from paradise.study.rows import Row, Run
from paradise.study.steps.fuse import entries
from paradise.weights import load_weights, save_weights

Section = TypeVar("Section", bound=PresetPart)


def read_run(folder: Path) -> Trained | Imported:
    """The record that training, or an import, left in `folder`.

    Raises:
        UserError: There is none, or it is damaged.
    """
    path = Path(folder) / "run.json"
    try:
        try:
            record: Trained | Imported | None = read_record(path, Trained)
        except Damaged as damaged:
            try:
                record = read_record(path, Imported)
            except Damaged:
                raise damaged from None
    except Damaged as damaged:
        raise UserError(f"{damaged}; train the row again") from None
    if record is None:
        raise UserError(f"no run at {path}; train the row first")
    if "row" not in record.of:
        raise UserError(f"{path} is of a start of the lottery's, not of a row; its evidence evaluates it")
    return record


def run_of(record: Trained | Imported) -> Run:
    """The run that a record is of."""
    seed = int(record.of["seed"]) if isinstance(record, Trained) else None
    return Run(Row.parse(record.row), seed)


def data_of(record: Trained | Imported) -> EvaluationData:
    """What of the preset's `data` the run is evaluated with, as it was when the run was made.

    Raises:
        UserError: Its record has settings that there are no longer.
    """
    where = {"folder": record.data_folder} | ({"source": record.data_source} if record.data_source else {})
    data = _section(record, "data")
    data.pop("augment", None)
    return _as_today(record, EvaluationData, data | where)


def batch_size(record: Trained | Imported) -> int:
    """Images of one forward pass, as in training. Raises UserError as `data_of` does."""
    if isinstance(record, Imported):
        return record.batch_size
    recipe = _recipe_of(record)
    return recipe.device_batch_size or recipe.batch_size


def _recipe_of(record: Trained) -> Recipe:
    return _as_today(record, Recipe, _section(record, "recipe"))


def _section(record: Trained | Imported, name: str) -> dict[str, Any]:
    section = record.settings.get(name)
    return dict(section) if isinstance(section, dict) else {}


def _as_today(record: Trained | Imported, section: type[Section], values: dict[str, Any]) -> Section:
    try:
        return section.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = ".".join(map(str, first["loc"]))
        raise UserError(f"{run_of(record)} was made with another '{what}' ({first['msg']}); train it again") from None


def trained_model(folder: Path) -> nn.Module:
    """The network that was trained in `folder`, in eval mode.

    Raises:
        UserError: Its weights are not those of its record.
    """
    record = read_run(folder)
    model = _network(record)
    weights = Path(folder) / "weights.safetensors"
    load_weights(model, weights)
    if sha256(weights) != record.outputs.get("weights.safetensors"):
        raise UserError(f"{weights} is not what {folder}/run.json records; pull both or train again")
    return model.eval()


def fused_model(folder: Path) -> nn.Module:
    """The fused form of the network that was trained in `folder`, as `write_fused` stored it.

    Raises:
        UserError: It is not there, or was made of other weights, or changed since.
    """
    record, path = read_run(folder), Path(folder) / "fused.safetensors"
    model = fuse(_network(record))
    load_weights(model, path)
    try:
        fused = read_record(Path(folder) / "fused.json", Fused)
    except Damaged as damaged:
        raise UserError(f"{damaged}; run `paradise fuse {folder}` again") from None
    if fused is None or fused.outputs.get(path.name) != sha256(path):
        raise UserError(f"{path} is not what {folder}/fused.json records; run `paradise fuse {folder}` again")
    if (fused.preset, fused.of) != (record.preset, {"row": record.row, "run": run_of(record).name}):
        raise UserError(f"{folder}/fused.json is of another run; run `paradise fuse {folder}` again")
    if fused.inputs.get("weights.safetensors") != record.outputs.get("weights.safetensors"):
        raise UserError(f"{path} was made of other weights; run `paradise fuse {folder}` again")
    return model


def _network(record: Trained | Imported) -> ResNet:
    width = _recipe_of(record).width if isinstance(record, Trained) else None
    return Row.parse(record.row).build(record.num_classes, width or WIDTH)


def write_fused(folder: Path) -> None:
    """Fuses `weights.safetensors` of `folder` into `fused.safetensors`, with its record `fused.json`."""
    run, folder = read_run(folder), Path(folder)
    of = {"row": run.row, "run": run_of(run).name}
    inputs = {"weights.safetensors": folder / "weights.safetensors"}
    model = trained_model(folder)
    record = begin_record("fuse", run.preset, of, {}, inputs, entries(Row.parse(run.row)))
    path = folder / "fused.safetensors"
    save_weights(fuse(model), path)
    write_record(folder / "fused.json", Fused, record | {"outputs": {path.name: sha256(path)}})
