"""Weights as safetensors files, and what is said when they do not fit."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from paradise.errors import UserError
from paradise.files import replacing


def save_weights(model: nn.Module, path: str | Path, **metadata: str) -> None:
    """Writes a network's state as a safetensors file, which appears whole or not at all.

    Args:
        model: The network, on any device.
        path: The file; its folder is made.
        **metadata: Goes into the file's header.

    Raises:
        UserError: It cannot be written: a full disk, say.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(state, metadata))


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Loads a safetensors file into a network, in place.

    Args:
        model: The network; it stays as it was where anything is raised.
        path: The file.

    Raises:
        UserError: The file is missing or damaged, or its keys, shapes or classes are not the network's.
    """
    fit(model, read_weights(path), path)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The state in a safetensors file.

    Args:
        path: The file.

    Returns:
        Key → tensor, on the processor.

    Raises:
        UserError: The file is missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"no weights at {path}") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged or no safetensors file ({error}); train or fetch it again") from None


def fit(model: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Loads a state into a network, in place.

    Args:
        model: The network; it stays as it was where anything is raised.
        state: Key → tensor.
        path: The file that the state was read from, for messages.

    Raises:
        UserError: Its keys, shapes or classes are not the network's.
    """
    wanted = model.state_dict()
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or unexpected:
        parts = [f"{word} {_listed(keys)}" for word, keys in (("lacks", missing), ("has", unexpected)) if keys]
        raise UserError(f"{path} is of another model: it {' and '.join(parts)}")
    if "fc.weight" in wanted and len(state["fc.weight"]) != len(wanted["fc.weight"]):
        have, want = len(state["fc.weight"]), len(wanted["fc.weight"])
        raise UserError(f"{path} has {have} classes, the model {want}; create the model with num_classes={have}")
    misshapen = [key for key in wanted if wanted[key].shape != state[key].shape]
    if misshapen:
        raise UserError(f"{path} is of another model: other shapes of {_listed(misshapen)}")
    model.load_state_dict(state)


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - 3} more keys" if len(keys) > 3 else ""
    return f"{', '.join(keys[:3])}{more}"
