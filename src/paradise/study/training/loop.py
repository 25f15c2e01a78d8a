"""Trains one row: stochastic gradient descent on cross-entropy, as the preset's recipe says."""

import math
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paradise.errors import Interrupted, UserError
from paradise.names import WIDTH
from paradise.study.accuracy import count_hits
from paradise.study.code import digest
from paradise.study.data.loaders import EvaluationImages, Loader, share_batch
from paradise.study.data.prepare import prepared
from paradise.study.device import keep_memory, pick_precision, use_precision
from paradise.study.files import locked, write_csv
from paradise.study.hashes import sha256
from paradise.study.preset import Preset
from paradise.study.provenance import begin_record
from paradise.study.records import Trained, write_record
from paradise.study.registry import LOADERS
from paradise.study.rows import Row, Run
from paradise.study.steps.train import entries
from paradise.study.terminal.options import SAVE_MINUTES
from paradise.study.terminal.progress import Reporter, reporting
from paradise.study.training.optimizer import create_optimizer
from paradise.study.training.processes import Processes, joined
from paradise.study.training.schedule import learning_rate
from paradise.study.training.signals import signals
from paradise.study.training.state import States
from paradise.weights import save_weights

LOOK_EVERY = {"cpu": 1, "cuda": 10}  # steps: to look at the loss makes a GPU wait


def train(
    run: Run,
    preset: Preset,
    threads: int,
    output: Path,
    gpus: int | None = None,
    save_minutes: float = SAVE_MINUTES,
    restart: bool = False,
    accept_changes: bool = False,
    begin: Callable[["Training"], None] = lambda training: None,
) -> None:
    """Trains a row with one seed; writes `weights.safetensors`, `log.csv` (a line per epoch) and `run.json`.

    On a CPU the weights depend, to the bit, on nothing but the preset, the seed, the number of processes and threads
    and the versions and machine that `run.json` names; not on how often the run was ended.

    Args:
        run: The row and the seed.
        preset: The study.
        threads: Processor threads of all processes together.
        output: The folder to write to. Training goes on from the newest state in it.
        gpus: How many may be used; see `device.pick_device`.
        save_minutes: Time between saved states; one more is saved when a signal asks the run to end.
        restart: Delete the states and begin anew.
        accept_changes: Go on from a state also where code or recipe changed since, which the record then names.
        begin: May change what a run starts from.

    Raises:
        UserError: The loss is no longer finite, or the state in `output` is of another run, or another process trains
            there.
        Interrupted: A signal ended it.
    """
    with joined(gpus) as processes:
        training = Training(run, preset, threads, output, processes)
        first, taken = processes.rank == 0, f"another run is at work in {output}; wait until it ends"
        with locked(training.states.folder / ".lock", taken) if first else nullcontext():
            if restart and first:
                training.states.clear()
            processes.gather(None)  # nobody reads a state that is being deleted
            begin(training)
            if first:
                training.states.require_room(training.model, moments=1 if training.recipe.momentum else 0)
            training.resume(accept_changes)
            training.train(save_minutes * 60)
            training.save()  # where the weights cannot be written, nothing is lost
            if first:
                with training.states.kept():
                    training.write()
                training.states.remove()


class Training:
    """One run in one of its processes: what it trains, how far it is, and its results."""

    def __init__(self, run: Run, preset: Preset, threads: int, output: Path, processes: Processes):
        assert isinstance(run.row, Row) and run.seed is not None
        self.row, self.seed, self.output, self.processes = run.row, run.seed, output, processes
        self.recipe, self.data = preset.recipe(run.row), preset.data
        self.weights_stay = preset.weights_stay or False
        self.start: str | None = None
        self.device = processes.device
        self.threads = max(threads // processes.size, 1)
        self.precision = pick_precision(self.recipe.precision, self.device)
        if self.recipe.compile and not any(map(shutil.which, ("g++", "clang++", "c++"))):
            raise UserError("'training.compile' needs a C++ compiler, and there is none; install g++ or leave it away")
        self.manifest = prepared(self.data)
        if processes.size > len(self.manifest.val):
            raise UserError(f"{processes.size} processes are more than the {len(self.manifest.val)} validation images")
        self.batch = share_batch(self.recipe, len(self.manifest.train), processes.rank, processes.size)
        self.steps = self.batch.steps(len(self.manifest.train))  # in an epoch

        torch.set_num_threads(self.threads)
        keep_memory()
        random.seed(self.seed)
        np.random.seed(self.seed)
        torch.manual_seed(self.seed)
        torch.use_deterministic_algorithms(self.device.type == "cpu")
        torch.backends.cudnn.benchmark = True
        self.record = begin_record(
            "train",
            preset.name,
            {"row": self.row.id, "seed": str(self.seed)},
            {"recipe": self.recipe.values(), "data": self.data.seen()},
            {"manifest.csv": Path(self.data.folder, "manifest.csv")},
            entries(self.row, self.data.dataset, self.data.loader),
            self.device,
        )
        self.model: nn.Module = self.row.build(self.manifest.num_classes, self.recipe.width or WIDTH)
        self.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.parallel = processes.parallel(self.model)
        self.forward: Callable[[Tensor], Tensor] = self.parallel
        if self.recipe.compile:
            self.forward = torch.compile(self.parallel)
        self.optimizer = create_optimizer(self.model, self.recipe)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "float16")

        self.step, self.sessions = 0, 1
        self.epochs: list[dict[str, float]] = []
        self.accepted: list[str] = []
        self.clock = Clock()
        self.hits = torch.zeros((), dtype=torch.int64, device=self.device)  # of this process in this epoch
        self.loss = torch.zeros((), dtype=torch.float64, device=self.device)
        self.unseen: list[Tensor] = []  # losses that were not looked at yet
        self.states = States(output / "state", self._fingerprint(), "paradise train")

    def _fingerprint(self) -> dict[str, Any]:
        """What must be the same for a state of one run to be a state of another."""
        return {
            "row": self.row.id,
            "seed": self.seed,
            **{f"training.{key}": value for key, value in self.recipe.values().items()},
            **{f"data.{key}": value for key, value in self.data.values().items()},
            "manifest": self.manifest.sha256,
            "processes": self.processes.size,
            "images in a pass": self.batch.images,
            "threads": self.threads,
            "device": self.device.type,
            "precision": self.precision,
            "code": digest(self.record["code"]),
            **{name: self.record["versions"].get(name) for name in ("torch", "nvidia-dali-cuda130")},
        }

    def resume(self, accept_changes: bool = False) -> None:
        """Makes this run what its newest state says, if there is one, and opens the data where it left them."""
        state, damaged, changes = self.states.load(accept_changes)
        for path in damaged:
            self.say(f"{path} is damaged; going back to the state before it")
        own: dict[str, Any] = state["processes"][self.processes.rank] if state else {"images": None}
        loader: Loader = LOADERS.get(self.data.loader)
        self.images = loader.training(
            self.manifest.train, self.data, self.batch, self.seed, self.threads, self.device, own["images"]
        )
        self.held_out = loader.evaluation(
            self.manifest.val,
            self.data,
            self.batch.images,
            self.threads,
            self.device,
            self.processes.rank,
            self.processes.size,
        )
        if state:
            self.step, self.epochs, self.sessions = state["step"], state["epochs"], state["sessions"] + 1
            self.accepted = state["accepted"] + ([f"step {self.step}: {changes}"] if changes else [])
            self.model.load_state_dict(state["model"] | own["buffers"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            self.hits += own["hits"]
            self.loss += own["loss"]
            self.clock = Clock(**own["clock"])
            _set_generators(own["generators"], self.device)
            self.say(f"going on from step {self.step} of {self.steps * self.recipe.epochs}")

    def save(self) -> None:
        """Saves where the run is; all processes together."""
        with self.clock("saving"):
            own = {
                "buffers": {key: value.cpu() for key, value in self.model.named_buffers()},
                "hits": int(self.hits),
                "loss": float(self.loss),
                "images": self.images.state(),
                "generators": _generators(self.device),
                "clock": self.clock.seconds(),
            }
            processes = self.processes.gather(own)
            if self.processes.rank == 0:
                state = {
                    "step": self.step,
                    "epochs": self.epochs,
                    "sessions": self.sessions,
                    "accepted": self.accepted,
                    "model": self.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "processes": processes,
                }
                self.states.save(self.step, state)

    def train(self, save_every: float) -> None:
        """All steps that are left, with an evaluation after each epoch; saves a state every `save_every` seconds."""
        epochs, look_every = self.recipe.epochs, LOOK_EVERY[self.device.type]
        title, silent = f"{self.row} seed {self.seed}", self.processes.rank > 0
        saved = time.monotonic()
        with signals() as caught, reporting(title, epochs * self.steps, self.step, silent) as report:
            while len(self.epochs) < epochs:
                self.model.train()
                while (done := self.step - len(self.epochs) * self.steps) < self.steps:
                    self.train_step()
                    ends, due = self.processes.any(bool(caught), time.monotonic() - saved > save_every)
                    if ends or due or self.step % look_every == 0 or done + 1 == self.steps:
                        self.look(report)
                    if ends or due:
                        self.save()
                        saved = time.monotonic()
                    if ends:
                        name = signal.Signals(caught[0]).name if caught else "a signal"
                        raise Interrupted(
                            f"{title}: {name} ended it; the same command goes on from {self.states.newest()}"
                        )
                self.end_epoch(report)

    def train_step(self) -> None:
        """One step of the optimizer, on `batch.passes` forward passes of every process."""
        rate = learning_rate(self.recipe, self.step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        losses = []
        for last in [False] * (self.batch.passes - 1) + [True]:
            with self.clock("waiting"):
                images, labels = next(self.images)
            with nullcontext() if last else self.processes.local(self.parallel):
                with use_precision(self.precision, self.device):
                    logits = self.forward(images)
                    loss = F.cross_entropy(logits, labels)
                self.scaler.scale(loss / self.batch.passes).backward()
            losses.append(loss.detach())
            self.hits += (logits.argmax(1) == labels).sum()
            self.loss += loss.detach().double() * len(labels)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        self.unseen.append(torch.stack(losses).sum())

    def look(self, report: Reporter) -> None:
        """Shows how the epoch goes. Raises UserError where a loss since the last look is not finite."""
        first = self.step - len(self.unseen)
        for step, loss in enumerate(torch.stack(self.unseen).tolist(), start=first):
            # The scaler leaves out such a step, and makes the scale smaller, until that is no help any more.
            if not math.isfinite(loss) and not (self.scaler.is_enabled() and self.scaler.get_scale() >= 1):
                rate = learning_rate(self.recipe, step, self.steps)
                raise UserError(
                    f"{self.row} seed {self.seed}: the loss is {loss} at step {step}, learning rate {rate:g}; "
                    f"the last state is {self.states.newest() or 'none'}"
                )
        trained = (self.step - len(self.epochs) * self.steps) * self.batch.passes * self.batch.images
        self.unseen.clear()
        report.step(
            f"epoch {len(self.epochs) + 1}/{self.recipe.epochs}, loss {float(self.loss) / trained:.3f}, "
            f"accuracy {int(self.hits) / trained:.1%}, {self.speed():.0f} images/s",
            self.step - first,
        )

    def speed(self) -> float:
        """Images a second, of all processes together, in this epoch."""
        done = (self.step - len(self.epochs) * self.steps) * self.batch.size
        return done / self.clock.seconds()["epoch"]

    def end_epoch(self, report: Reporter) -> None:
        """Evaluates and adds a line to the log."""
        speed, trained = self.speed(), self.steps * self.batch.size
        hits, loss = self.processes.sums(int(self.hits), float(self.loss))
        self.processes.average_statistics(self.model)
        top1, top5, seen = self.processes.sums(*validate(self.model, self.held_out, self.precision))
        images = len(self.manifest.val)
        if seen != images:
            raise UserError(f"evaluation saw {seen} images, not the {images} of {self.data.folder}/manifest.csv")
        seconds = self.clock.seconds()
        self.epochs.append(
            {
                "epoch": len(self.epochs) + 1,
                "learning_rate": learning_rate(self.recipe, self.step - 1, self.steps),
                "train_loss": loss / trained,
                "train_top1": 100 * hits / trained,
                "val_top1": 100 * top1 / images,
                "val_top5": 100 * top5 / images,
                "images_per_second": speed,
                "seconds": seconds["epoch"],
                "seconds_waiting": seconds["waiting"] - sum(line["seconds_waiting"] for line in self.epochs),
            }
        )
        report.say(
            f"epoch {len(self.epochs)}/{self.recipe.epochs}, loss {loss / trained:.3f}, "
            f"validation {top1 / images:.1%}, {speed:.0f} images/s"
        )
        self.hits.zero_()
        self.loss.zero_()
        self.clock.begin_epoch()

    def write(self) -> None:
        """Writes the results of a run that has come to its end."""
        save_weights(self.model, self.output / "weights.safetensors")
        write_csv(self.output / "log.csv", self.epochs[0], (line.values() for line in self.epochs))
        best = max(self.epochs, key=lambda line: line["val_top1"])
        seconds = self.clock.seconds()
        measured = {
            "outputs": {name: sha256(self.output / name) for name in ("weights.safetensors", "log.csv")},
            "num_classes": self.manifest.num_classes,
            "images": {"train": len(self.manifest.train), "val": len(self.manifest.val)},
            "data_folder": self.data.folder,
            "data_source": self.data.source,
            "batch": {
                "size": self.batch.size,
                "processes": self.processes.size,
                "passes": self.batch.passes,
                "images": self.batch.images,
            },
            "precision": self.precision,
            "weights_stay": self.weights_stay,
            "best": {key: best[key] for key in ("epoch", "val_top1", "val_top5")},
            "sessions": self.sessions,
            "accepted_changes": self.accepted,
            "seconds": seconds["all"],
            "seconds_waiting_for_data": seconds["waiting"],
            "seconds_saving": seconds["saving"],
            "start": self.start,
        }
        write_record(self.output / "run.json", Trained, self.record | measured)

    def say(self, text: str) -> None:
        with suppress(OSError):  # a full disk below a log ends no training
            if self.processes.rank == 0:
                print(f"{self.row} seed {self.seed}: {text}", file=sys.stderr)


class Clock:
    """Seconds that a run has taken, over all its sessions."""

    def __init__(self, all: float = 0, epoch: float = 0, waiting: float = 0, saving: float = 0):
        now = time.monotonic()
        self.run_began, self.epoch_began = now - all, now - epoch
        self.spent = {"waiting": waiting, "saving": saving}

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Counts the time in its block as spent on `what`."""
        began = time.monotonic()
        yield
        self.spent[what] += time.monotonic() - began

    def begin_epoch(self) -> None:
        self.epoch_began = time.monotonic()

    def seconds(self) -> dict[str, float]:
        now = time.monotonic()
        return {"all": now - self.run_began, "epoch": now - self.epoch_began} | self.spent


@torch.no_grad()
def validate(model: nn.Module, images: EvaluationImages, precision: str) -> tuple[int, int, int]:
    """Top-1 and top-5 hits of the model, left in eval mode, over all of `images`, and how many these are."""
    model.eval()
    hits1, hits5, seen = 0, 0, 0
    for x, labels in images:
        with use_precision(precision, x.device):
            logits = model(x)
        first, among = count_hits(logits, labels)
        hits1, hits5, seen = hits1 + first, hits5 + among, seen + len(labels)
    return hits1, hits5, seen


def _generators(device: torch.device) -> dict[str, Any]:
    """The states of all random number generators, as plain values and tensors."""
    numpy: Any = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "python": random.getstate(),
        "numpy": (numpy[0], numpy[1].tolist(), *numpy[2:]),
    }


def _set_generators(states: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(states["torch"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
