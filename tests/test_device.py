import subprocess
import sys

import pytest
import torch

from paradise.device import pick_device, pick_precision, use_precision
from paradise.errors import UserError

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_precision_by_name(precision):
    assert pick_precision(precision, CPU) == precision
    with use_precision(precision, CPU):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == getattr(torch, precision)


def test_auto_never_emulates_bfloat16():
    """By the processor's own flags."""
    with open("/proc/cpuinfo") as file:
        flags = next(line for line in file if line.startswith("flags")).split()
    hardware = "avx512_bf16" in flags or "amx_bf16" in flags
    assert pick_precision("auto", CPU) == ("bfloat16" if hardware else "float32")


def test_tf32_is_used_where_it_is_asked_for_and_nowhere_else():
    use_precision("tf32", CPU)
    assert torch.backends.cudnn.conv.fp32_precision == torch.backends.cuda.matmul.fp32_precision == "tf32"
    assert torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32
    use_precision("float32", CPU)
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_what_torch_asks_of_itself_can_be_answered(precision):
    """Its compiler and its exporter read these flags, and refuse a mixture."""
    use_precision(precision, CPU)
    with torch.backends.cudnn.flags():
        pass
    use_precision("float32", CPU)


def test_tf32_needs_a_gpu():
    with pytest.raises(UserError, match="'tf32' needs an NVIDIA GPU"):
        pick_precision("tf32", CPU)


def test_device():
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device(0) == CPU


def test_a_gpu_that_is_not_there_is_refused():
    here = torch.cuda.device_count()
    with pytest.raises(UserError, match=f"{here + 1} GPUs are asked for and {here} are here"):
        pick_device(here + 1)
    with pytest.raises(UserError, match=f"{here + 1} GPUs are asked for and {here} are here"):
        pick_device(1, here)


def test_memory_of_a_freed_tensor_is_kept(tmp_path):
    """Page faults of a tensor made a second time, in a process of its own: they outlast the setting otherwise."""
    script = """
import resource, sys, torch
from paradise.device import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""
    kept, returned = (
        int(subprocess.run([sys.executable, "-c", script, word], capture_output=True, text=True, check=True).stdout)
        for word in ("keep", "return")
    )
    assert kept < 100 < returned
