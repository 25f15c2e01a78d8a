"""Checkpoints of others as runs of this project: the ParaDise authors' (`.pth.tar`) and torchvision's (`.pth`)."""

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paradise.errors import UserError
from paradise.study.hashes import sha256
from paradise.study.preset import Preset
from paradise.study.provenance import begin_record
from paradise.study.records import Imported, write_record
from paradise.study.rows import Row, Run
from paradise.study.steps.import_checkpoint import entries
from paradise.weights import fit, save_weights

# What the authors call the parts of a block, and what they are called here.
AUTHORS = {
    "ori_conv": "standard1.conv",
    "ori_bn": "standard1.bn",
    "new_conv": "standard2.conv",
    "new_bn": "standard2.bn",
    "ac_convbn.ver_conv": "skeleton.vertical.conv",
    "ac_convbn.ver_bn": "skeleton.vertical.bn",
    "ac_convbn.hor_conv": "skeleton.horizontal.conv",
    "ac_convbn.hor_bn": "skeleton.horizontal.bn",
    "group_conv": "group.conv",
    "group_bn": "group.bn",
    "fc.0": "gate.reduce",
    "fc.2": "gate.expand",
}
SAID = 1e9  # no epoch and no accuracy is larger, or is no number
IN_BLOCK = re.compile(rf"(layer\d\.\d+\.conv\d\.)({'|'.join(map(re.escape, AUTHORS))})\.(\w+)")


def import_checkpoint(path: Path, run: Run, preset: Preset, output: Path) -> None:
    """Turns a checkpoint of a row into `weights.safetensors` and `run.json`.

    From then on they are fused and evaluated, on the data of `preset`, like weights that were trained here.

    Args:
        path: The checkpoint.
        run: The row that it is of; a run without a seed.
        preset: The study that it is shown in.
        output: The folder to write to.

    Raises:
        UserError: The file is no plain checkpoint (a pickle that wants to run code is not opened) or is not one of this
            row; nothing was written.
    """
    assert isinstance(run.row, Row)
    checkpoint = read_checkpoint(path)
    state = translate(checkpoint.get("state_dict", checkpoint))
    if not all(isinstance(value, Tensor) for value in state.values()) or "fc.weight" not in state:
        raise UserError(f"{path} holds no weights of a ResNet (no 'fc.weight')")
    model = run.row.build(len(state["fc.weight"]))
    # Weights of the first PyTorch releases do not count batches; nothing here reads that count.
    counters = {key: value for key, value in model.state_dict().items() if key.endswith("num_batches_tracked")}
    fit(model, counters | state, path)

    settings = {"data": preset.data.evaluated()}
    record = begin_record(
        "import_checkpoint", preset.name, {"row": run.row.id}, settings, {path.name: path}, entries(run.row)
    )
    weights = output / "weights.safetensors"
    save_weights(model, weights)
    imported = {
        "outputs": {weights.name: sha256(weights)},
        "num_classes": model.fc.out_features,
        "data_folder": preset.data.folder,
        "data_source": preset.data.source,
        "batch_size": preset.training.device_batch_size or preset.training.batch_size,
        "precision": "float32",
        "source": "authors' checkpoint" if "state_dict" in checkpoint else "torchvision-format weights",
        "checkpoint": {"file": path.name, "sha256": sha256(path)} | _said(checkpoint),
    }
    write_record(output / "run.json", Imported, record | imported)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The dict that torch saved in `path`: tensors and plain values, nothing that runs."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no checkpoint at {path}") from None
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it wants to call {wanted[1]}" if wanted else "it is damaged or no checkpoint"
        raise UserError(f"{path} is refused: {reason}; only tensors and plain values are read") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = next(iter(str(error).splitlines()), repr(error))
        raise UserError(f"{path} is damaged or no checkpoint ({reason})") from None
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict", {}), dict):
        raise UserError(f"{path} is no checkpoint: it holds no dict of weights")
    return checkpoint


def translate(state: dict[str, Any]) -> dict[str, Any]:
    """Keys as they are here, without the `module.` of parallel training."""
    translated = {}
    for key, value in state.items():
        key = str(key).removeprefix("module.")
        if match := IN_BLOCK.fullmatch(key):
            key = f"{match[1]}{AUTHORS[match[2]]}.{match[3]}"
        translated[key] = value
    return translated


def _said(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its training, so far as that is what it should be."""
    said = {}
    for key, kind in (("arch", str), ("epoch", int | float), ("best_prec1", int | float)):
        value = checkpoint.get(key)
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, kind) and (isinstance(value, str) or (abs(value) <= SAID and not isinstance(value, bool))):
            said[key] = value
    return said
