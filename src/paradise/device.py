"""What a run computes on, and in which precision."""

import torch


def pick_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pick_precision(wanted: str, device: torch.device) -> torch.dtype:
    """The dtype of a preset's `precision`. "auto" is bfloat16 only in hardware: emulated, it is far too slow."""
    if wanted == "auto":
        wanted = "bfloat16" if _has_bfloat16(device) else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[wanted]


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
