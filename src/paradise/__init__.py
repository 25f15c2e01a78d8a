"""ParaDise: parameter disentanglement for neural networks.

The method as a library: the block, the networks of the paper, `convert` for any other, `fuse`, weights and export. The
paper's reproduction, `paradise.study`, stands on it and brings packages of its own.
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paradise.conversion import calibrate as calibrate
    from paradise.conversion import convert as convert
    from paradise.errors import UserError as UserError
    from paradise.exporter import export as export
    from paradise.fusion import fuse as fuse
    from paradise.models import create_model as create_model
    from paradise.names import list_models as list_models
    from paradise.weights import load_weights as load_weights
    from paradise.weights import save_weights as save_weights

_PUBLIC = {
    "create_model": "paradise.models",
    "list_models": "paradise.names",
    "fuse": "paradise.fusion",
    "convert": "paradise.conversion",
    "calibrate": "paradise.conversion",
    "load_weights": "paradise.weights",
    "save_weights": "paradise.weights",
    "export": "paradise.exporter",
    "UserError": "paradise.errors",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    # Loaded on first use: the commands that only read and write tables must not wait for torch.
    if name == "__version__":
        return importlib.metadata.version("paradise-nn")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'paradise' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
