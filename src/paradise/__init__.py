"""ParaDise: parameter disentanglement for neural networks, reproduced."""

import importlib

_PUBLIC = {
    "create_model": "paradise.models",
    "list_models": "paradise.names",
    "fuse": "paradise.fusion",
    "convert": "paradise.conversion",
    "calibrate": "paradise.conversion",
    "load_weights": "paradise.weights",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    # Loaded on first use: the commands that only read and write tables must not wait for torch.
    if name not in _PUBLIC:
        raise AttributeError(f"module 'paradise' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
