"""The folder of one run: its record, and its network in both forms."""

import json
from pathlib import Path

from torch import nn

from paradise.causes import code
from paradise.errors import UserError
from paradise.files import sha256
from paradise.fusion import fuse
from paradise.models import create_model
from paradise.names import parse_row
from paradise.weights import load_weights, save_weights


def read_run(folder: Path) -> dict:
    """The record that training left in `folder`. Raises UserError where there is none or it is damaged."""
    path = Path(folder) / "run.json"
    try:
        run = json.loads(path.read_text())
        run["row"], run["num_classes"], run["data"], run["recipe"], run["files"]["weights.safetensors"]
    except FileNotFoundError:
        raise UserError(f"no run at {path}; train the row first") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error!r}); train the row again") from None
    return run


def trained_model(folder: Path) -> nn.Module:
    """The network that was trained in `folder`, in eval mode.

    Raises UserError where its weights are not those of its record.
    """
    run = read_run(folder)
    name, branches = parse_row(run["row"])
    model = create_model(name, run["num_classes"], branches)
    weights = Path(folder) / "weights.safetensors"
    load_weights(model, weights)
    if sha256(weights) != run["files"]["weights.safetensors"]:
        raise UserError(f"{weights} is not what {folder}/run.json records; pull both or train again")
    return model.eval()


def fused_model(folder: Path) -> nn.Module:
    """The fused form of the network that was trained in `folder`, as `write_fused` stored it."""
    run = read_run(folder)
    name, branches = parse_row(run["row"])
    model = fuse(create_model(name, run["num_classes"], branches))
    load_weights(model, Path(folder) / "fused.safetensors")
    return model


def write_fused(folder: Path) -> None:
    """Fuses `weights.safetensors` of `folder` into `fused.safetensors`."""
    causes = {"code": code("fuse"), "weights": read_run(folder)["files"]["weights.safetensors"]}
    save_weights(fuse(trained_model(folder)), Path(folder) / "fused.safetensors", **causes)
