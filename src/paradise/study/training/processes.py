"""The processes of one run: a single one, or those that torchrun started, each with a device of its own."""

import ctypes
import logging
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.nn.parallel import DistributedDataParallel

from paradise.errors import INTERRUPTED
from paradise.study.device import pick_device

PR_SET_PDEATHSIG = 1  # of Linux's prctl


@dataclass(frozen=True)
class Processes:
    """This process's place among all of a run; made by `joined`."""

    rank: int
    size: int
    device: torch.device

    def sums(self, *values: float) -> list[float]:
        """The sum of each value over all processes: exact for integers, correctly rounded for floats."""
        shares = zip(*self.gather(values))
        return [sum(share) if isinstance(share[0], int) else math.fsum(share) for share in shares]

    def gather(self, value: Any) -> list[Any]:
        """The `value` of every process, by rank; plain values and tensors on the CPU."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def any(self, *flags: bool) -> list[bool]:
        """Whether each flag is up in any process."""
        if self.size == 1:
            return list(flags)
        tensor = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return tensor.bool().tolist()

    def parallel(self, model: nn.Module) -> nn.Module:
        """`model` with gradients averaged over the processes.

        BatchNorm normalises by each process's own images, as the published recipe does, and its running statistics stay
        apart until `average_statistics`.
        """
        if self.size == 1:
            return model
        # Without unused parameters to look for, DDP regroups its buckets after the first backward pass, so that a run
        # that was resumed would add in another order than one that was not.
        fixed_order = self.device.type == "cpu"
        with warnings.catch_warnings():
            # The name that replaces `broadcast_buffers` is newer than the oldest PyTorch that this runs with.
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=fixed_order)

    def local(self, parallel: nn.Module) -> AbstractContextManager[None]:
        """A context in which backward passes of a `parallel` model only add to this process's gradients."""
        return parallel.no_sync() if isinstance(parallel, DistributedDataParallel) else nullcontext()

    @torch.no_grad()
    def average_statistics(self, model: nn.Module) -> None:
        """Replaces the running statistics of every BatchNorm by their mean over the processes."""
        if self.size > 1:
            for buffer in model.buffers():
                if buffer.is_floating_point():
                    dist.all_reduce(buffer)
                    buffer /= self.size


@contextmanager
def joined(gpus: int | None) -> Iterator[Processes]:
    """This process among those of its run, as torchrun's environment describes them; alone without one.

    `gpus`: how many the run may use, see `pick_device`. Processes talk through gloo on CPUs and NCCL on GPUs.
    """
    size = int(os.environ.get("WORLD_SIZE", 1))
    own = pick_device(gpus, int(os.environ.get("LOCAL_RANK", 0)))
    if own.type == "cuda":
        torch.cuda.set_device(own)
    if size == 1:
        yield Processes(0, 1, own)
        return
    # Where the launcher is killed, its processes end as well: they would wait for each other for ever.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    dist.init_process_group("cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo")
    try:
        yield Processes(dist.get_rank(), size, own)
    finally:
        # PyTorch waits for gloo's threads with Python's lock held, and a thread that has still to free a tensor waits
        # for that lock: without a moment to do so, both would wait for ever.
        time.sleep(0.1)
        dist.destroy_process_group()


def launch(processes: int, arguments: list[str]) -> int:
    """`torchrun --nproc_per_node PROCESSES -m paradise ARGUMENTS`; returns the exit code of the first that failed.

    torchrun itself ends with 1 and a traceback whatever happened; here a user's error, and an interruption that can be
    gone on from, stay what they are. Where one process fails the others are ended.
    """
    logging.disable()  # torchrun says at length what `paradise` says in a line
    # It hands on to the processes what asks it to end; a scheduler's warning is none of these to it.
    signal.signal(signal.SIGUSR1, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    # What each may use is set by `--threads`; without a value here torchrun sets one, and says so at length.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # DDP's advice on `fixed_order`
    options = ["--standalone", f"--nproc-per-node={processes}", "--module", "paradise"]
    try:
        torchrun.run(torchrun.parse_args([*options, *arguments]))
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        if first.exitcode < 0:
            print(f"error: process {first.local_rank} of {processes} was killed: {first.message}", file=sys.stderr)
        return first.exitcode if first.exitcode > 0 else 1
    except SignalException:
        return INTERRUPTED
    return 0
