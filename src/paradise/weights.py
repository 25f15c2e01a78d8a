"""Weights as safetensors files, and what is said when they do not fit."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from paradise.errors import UserError
from paradise.files import replacing

# The number types whose every value another type holds.
HELD_BY = {
    torch.float32: {torch.float16, torch.bfloat16},
    torch.float64: {torch.float16, torch.bfloat16, torch.float32},
    torch.int64: {torch.int32, torch.int16, torch.int8, torch.uint8},
}


def save_weights(model: nn.Module, path: str | Path, **metadata: str) -> None:
    """Writes a network's state as a safetensors file, which appears whole or not at all.

    Args:
        model: The network, on any device.
        path: The file; its folder is made.
        **metadata: Goes into the file's header.

    Raises:
        UserError: It cannot be written: a full disk, say.
        TypeError: A value of the metadata is no text.
    """
    for name, text in metadata.items():
        if not isinstance(text, str):
            raise TypeError(f"metadata '{name}' is of type {type(text).__name__}, not text")
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    seen: set[int] = set()
    for key, value in state.items():  # what is shared is written at each of its places
        place = value.untyped_storage().data_ptr()
        state[key] = value.clone() if place in seen else value
        seen.add(place)
    content = save(state, metadata)
    with replacing(path, len(content)) as temporary:
        temporary.write_bytes(content)


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


def count_rows(state: dict[str, Tensor], key: str, otherwise: int) -> int:
    """The length of a tensor's first dimension, such as the classes of `fc.weight`.

    Args:
        state: Key → tensor.
        key: Which tensor.
        otherwise: What is returned where there is no such tensor, or none with values.

    Returns:
        The number of rows.
    """
    tensor = state.get(key)
    return len(tensor) if tensor is not None and tensor.ndim and tensor.numel() else otherwise


def fit(model: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Loads a state into a network, in place.

    Args:
        model: The network; it stays as it was where anything is raised.
        state: Key → tensor.
        path: The file that the state was read from, for messages.

    Raises:
        UserError: As `check` does.
    """
    check(model, state, path)
    model.load_state_dict(state)


def check(model: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Refuses a state that is not a network's.

    Args:
        model: The network; on the device "meta" as well, where it takes no memory.
        state: Key → tensor.
        path: The file that the state was read from, for messages.

    Raises:
        UserError: Its keys, shapes or classes are not the network's, or a tensor holds what is no number or what the
            network's cannot hold exactly.
    """
    wanted = model.state_dict()
    missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or unexpected:
        parts = [f"{word} {listed(keys)}" for word, keys in (("lacks", missing), ("has", unexpected)) if keys]
        raise UserError(f"{path} is of another model: it {' and '.join(parts)}")
    if "fc.weight" in wanted:
        have, want = (tuple(tensors["fc.weight"].shape) for tensors in (state, wanted))
        if have[1:] == want[1:] and have[:1] != want[:1] and have[0] > 0:
            raise UserError(
                f"{path} has {have[0]} classes, the model {want[0]}; create the model with num_classes={have[0]}"
            )
    misshapen = [key for key in wanted if wanted[key].shape != state[key].shape]
    if misshapen:
        raise UserError(f"{path} is of another model: other shapes of {listed(misshapen)}")
    for fault in (_other_type, _no_number, _negative):
        if keys := [key for key in wanted if fault(key, state[key], wanted[key])]:
            raise UserError(f"{path}: {fault(keys[0], state[keys[0]], wanted[keys[0]])} in {listed(keys)}")


def _other_type(key: str, value: Tensor, wanted: Tensor) -> str | None:
    if value.dtype == wanted.dtype or value.dtype in HELD_BY.get(wanted.dtype, ()):
        return None
    have, want = (str(tensor.dtype).removeprefix("torch.") for tensor in (value, wanted))
    return f"numbers of type {have}, which the model's {want} does not hold exactly,"


def _no_number(key: str, value: Tensor, wanted: Tensor) -> str | None:
    return None if value.isfinite().all() else "NaN or infinity"


def _negative(key: str, value: Tensor, wanted: Tensor) -> str | None:
    return "a negative variance" if key.endswith("running_var") and (value < 0).any() else None


def listed(keys: list[str]) -> str:
    """The first three keys, and how many more there are, in one line."""
    more = f" and {len(keys) - 3} more keys" if len(keys) > 3 else ""
    return f"{', '.join(key if key.isprintable() else repr(key) for key in keys[:3])}{more}"
