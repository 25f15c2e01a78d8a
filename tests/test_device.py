import torch

from paradise.device import pick_device, pick_precision


def test_precision_by_name():
    assert pick_precision("float32", torch.device("cpu")) == torch.float32
    assert pick_precision("bfloat16", torch.device("cpu")) == torch.bfloat16


def test_auto_never_emulates_bfloat16():
    """By the processor's own flags."""
    with open("/proc/cpuinfo") as file:
        flags = next(line for line in file if line.startswith("flags")).split()
    hardware = "avx512_bf16" in flags or "amx_bf16" in flags
    assert pick_precision("auto", torch.device("cpu")) == (torch.bfloat16 if hardware else torch.float32)


def test_device():
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
