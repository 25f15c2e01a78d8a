"""Checkpoints of others as runs of this project: the ParaDise authors' (`.pth.tar`) and torchvision's (`.pth`)."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paradise.errors import UserError
from paradise.study.hashes import sha256
from paradise.study.preset import Preset
from paradise.study.provenance import begin_record
from paradise.study.records import Imported, write_record
from paradise.study.rows import Row, Run
from paradise.study.steps.import_checkpoint import entries
from paradise.weights import check, count_rows, fit, listed, read_weights, save_weights

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
IN_BLOCK = re.compile(rf"(layer\d\.\d+\.conv\d\.)({'|'.join(map(re.escape, AUTHORS))})\.(\w+)")
WRAPPERS = re.compile(r"((module|_orig_mod|model)\.)*")  # of parallel training, torch.compile, AveragedModel, Lightning
CLASSIFIER = "fc.weight"
DEPTH = 4  # of dicts in a checkpoint


def import_checkpoint(path: Path, run: Run, preset: Preset, output: Path) -> None:
    """Turns a checkpoint of a row into `weights.safetensors` and `run.json`.

    From then on they are fused and evaluated, on the data of `preset`, like weights that were trained here.

    Args:
        path: The checkpoint.
        run: The row that it is of; a run without a seed.
        preset: The study that it is shown in.
        output: The folder to write to.

    Raises:
        UserError: The file is no plain checkpoint (a pickle that wants to run code is not opened), is not one of this
            row, or holds weights twice or what is no number; nothing was written.
    """
    assert isinstance(run.row, Row)
    checkpoint = read_checkpoint(path)
    entry, found = find_weights(checkpoint, path)
    state = translate(without_wrappers(found, path), path)
    classes = count_rows(state, CLASSIFIER, 1)
    with torch.device("meta"):  # what the file claims takes no memory before it was checked
        claimed = run.row.build(classes)
    # Weights of the first PyTorch releases do not count batches; nothing here reads that count.
    state = {key: torch.tensor(0) for key in claimed.state_dict() if key.endswith("num_batches_tracked")} | state
    check(claimed, state, path)
    _check_use(state, path)
    model = run.row.build(classes)
    fit(model, state, path)

    theirs = entry == "state_dict" and "arch" in checkpoint
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
        "source": "authors' checkpoint" if theirs else "torchvision-format weights",
        "checkpoint": {"file": path.name, "sha256": sha256(path)}
        | ({"entry": entry} if entry else {})
        | _said(checkpoint),
    }
    write_record(output / "run.json", Imported, record | imported)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The dict in `path`, from torch or safetensors: tensors and plain values, nothing that runs."""
    if not path.exists():
        raise UserError(f"no checkpoint at {path}")
    if not path.is_file():
        raise UserError(f"{path} is no file")
    if path.suffix == ".safetensors":
        return read_weights(path)
    try:
        _check_size(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about what the file was written by
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it wants to call {wanted[1]}" if wanted else "it is damaged or no checkpoint"
        raise UserError(f"{path} is refused: {reason}; only tensors and plain values are read") from None
    except Exception as error:  # whatever a stranger's bytes make of the reader
        reason = next(iter(str(error).splitlines()), repr(error))
        raise UserError(f"{path} is damaged or no checkpoint ({reason})") from None
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict", {}), dict):
        raise UserError(f"{path} is no checkpoint: it holds no dict of weights")
    return checkpoint


def _check_size(path: Path) -> None:
    """Refuses an archive that unpacks to more than the file's size: torch compresses nothing."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > path.stat().st_size:
            raise UserError(f"{path} is refused: it unpacks to {unpacked} bytes, more than the file has")


def find_weights(checkpoint: dict[str, Any], path: Path) -> tuple[str, dict[str, Any]]:
    """The one dict in a checkpoint that holds a ResNet's weights.

    Args:
        checkpoint: What the file holds.
        path: The file, for messages.

    Returns:
        Where it lies, such as "state_dict", empty for the checkpoint itself; and the dict.

    Raises:
        UserError: There is none, or there are several, such as raw and averaged weights.
    """
    found = list(_networks(checkpoint, "", 0))
    if not found:
        raise UserError(f"{path} holds no weights of a ResNet (no '{CLASSIFIER}')")
    if len(found) > 1:
        names = " and ".join(repr(name) for name, _ in found)
        raise UserError(f"{path} holds weights in {names}; save the ones that you mean alone, by torch.save")
    return found[0]


def _networks(values: dict[Any, Any], name: str, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
    if any(_is_classifier(key) and isinstance(value, Tensor) for key, value in values.items()):
        yield name, values
    elif depth < DEPTH:
        for key, value in values.items():
            if isinstance(value, dict):
                yield from _networks(value, f"{name}.{key}" if name else str(key), depth + 1)


def _is_classifier(key: Any) -> bool:
    return isinstance(key, str) and f".{key}".endswith(f".{CLASSIFIER}")


def without_wrappers(state: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """Weights without the prefix that parallel training, `torch.compile` and others put before every key.

    Args:
        state: Key → tensor, as the file has it.
        path: The file, for messages.

    Returns:
        Key → tensor.

    Raises:
        UserError: There are several networks, another prefix, keys that have none, or what is no plain tensor.
    """
    prefixes = sorted({key.removesuffix(CLASSIFIER) for key in state if _is_classifier(key)})
    if len(prefixes) > 1:
        raise UserError(
            f"{path} holds several networks, whose keys begin with {', '.join(map(repr, prefixes))}; keep one"
        )
    prefix = prefixes[0]
    if not WRAPPERS.fullmatch(prefix):
        raise UserError(f"{path}: its keys begin with {prefix!r}, which is unknown; save it without that prefix")
    # What torch's AveragedModel counts beside the network.
    keys = [key for key in state if key != "n_averaged"]
    if others := [str(key) for key in keys if not str(key).startswith(prefix)]:
        raise UserError(f"{path}: beside the network's keys, which begin with {prefix!r}, it has {listed(others)}")
    for key in keys:
        if fault := _fault(key, state[key]):
            raise UserError(f"{path}: {str(key)!r} is {fault}")
    return {key.removeprefix(prefix): state[key] for key in keys}


def _fault(key: Any, value: Any) -> str | None:
    """Why a checkpoint's entry is no plain tensor with all of its values, in words."""
    if not isinstance(key, str):
        return "no name of a tensor"
    if type(value) not in (Tensor, nn.Parameter):
        return f"of type {type(value).__name__}, no tensor"
    if value.layout is not torch.strided:
        return f"a tensor of layout {str(value.layout).removeprefix('torch.')}; save it by to_dense()"
    if value.is_quantized:
        return "a quantised tensor; save it by dequantize()"
    if value.is_meta or value.untyped_storage().nbytes() < value.numel() * value.element_size():
        return f"of shape {'×'.join(map(str, value.shape))}, more values than the file holds"
    return None


def translate(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Keys as they are here, for the authors' names and those of compiled parts."""
    translated: dict[str, Tensor] = {}
    for key, value in state.items():
        key = key.replace("_orig_mod.", "")
        if match := IN_BLOCK.fullmatch(key):
            key = f"{match[1]}{AUTHORS[match[2]]}.{match[3]}"
        if key in translated:
            raise UserError(f"{path} has {listed([key])} twice, under two names")
        translated[key] = value
    return translated


def _check_use(state: dict[str, Tensor], path: Path) -> None:
    """Refuses weights that give every image the same logits, or of which there are not two classes."""
    for key in ("conv1.weight", CLASSIFIER):
        if not state[key].any():
            raise UserError(f"{path}: '{key}' is all zeros, so the network says the same of every image")
    if len(state[CLASSIFIER]) < 2:
        raise UserError(f"{path} has one class; two or more can be told apart")


def _said(checkpoint: dict[str, Any]) -> dict[str, str | int | float]:
    """What a checkpoint says of itself, where it is what a record can hold: text, or a number."""
    said: dict[str, str | int | float] = {}
    if isinstance(arch := checkpoint.get("arch"), str):
        said["arch"] = arch
    for key in ("epoch", "best_prec1"):
        value = checkpoint.get(key)
        if isinstance(value, Tensor) and value.numel() == 1 and _fault(key, value) is None:
            value = value.item()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63:
            said[key] = value
    return said
