import os
import subprocess
import sys

import pytest
import torch

from paradise.errors import UserError
from paradise.study.device import pick_device, pick_precision, reserve, use_precision

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


def test_jobs_share_out_the_gpus_and_give_them_back(tmp_path):
    """By real processes, as Snakemake's jobs are, of a machine with two GPUs."""
    script = (
        "import sys; from paradise.study.device import least_used; "
        "print(least_used(['4', '7'], int(sys.argv[1]))); input()"
    )

    def job(count: int) -> tuple[subprocess.Popen, str]:
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TMPDIR": str(tmp_path)},
        )
        return process, process.stdout.readline().strip()

    jobs = [job(count) for count in (1, 1, 1, 2)]
    # Each its own as long as they last; then they share.
    assert [names for _, names in jobs] == ["['4']", "['7']", "['4']", "['7', '4']"]
    jobs[1][0].kill()
    jobs[1][0].wait()
    jobs.append(job(1))
    assert jobs[-1][1] == "['7']"
    for process, _ in jobs:
        process.kill()
        process.wait()


def test_without_gpus_none_is_reserved_and_none_is_seen(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    reserve(0)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    with pytest.raises(UserError, match="99 GPUs are asked for"):
        reserve(99)


def test_memory_of_a_freed_tensor_is_kept(tmp_path):
    """Page faults of most training steps, in a process of its own: the setting outlasts the test.

    A single tensor, made again and again, would say nothing: the C library may put a small block behind it.
    """
    script = """
import resource, statistics, sys, torch
from torch import nn
from paradise.study.device import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
model = nn.Sequential(*(nn.Conv2d(3 if i == 0 else 16, 16, 3, padding=1) for i in range(4)))
images = torch.rand(4, 3, 256, 256)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    model(images).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(statistics.median_low([faults() for _ in range(12)]))
"""
    kept, returned = (
        int(subprocess.run([sys.executable, "-c", script, word], capture_output=True, text=True, check=True).stdout)
        for word in ("keep", "return")
    )
    assert kept < returned / 20
