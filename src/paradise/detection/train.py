"""Trains one detection row with mmdetection's own runner: data, schedule and losses are mmdetection's."""

import contextlib
import io
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner

from paradise import preset as presets
from paradise.causes import code, hashes, write_record
from paradise.conversion import calibrate
from paradise.detection.config import detector_config
from paradise.detection.data import prepared
from paradise.detection.outputs import head_outputs, some_boxes
from paradise.device import keep_memory
from paradise.errors import Interrupted, UserError
from paradise.files import locked, sha256, write_csv
from paradise.names import backbone_of
from paradise.progress import Reporter, reporting
from paradise.record import provenance
from paradise.training.signals import signals
from paradise.training.state import States
from paradise.weights import save_weights

CALIBRATED = 8  # images


def train_detector(
    row: str,
    preset: dict,
    preset_name: str,
    seed: int,
    threads: int,
    backbone: Path,
    output: Path,
    save_minutes: float,
    restart: bool,
    accept_changes: bool,
) -> None:
    """Trains `row` from the classification run in `backbone`.

    Writes `weights.safetensors`, `log.csv` (losses of every iteration) and `run.json` into `output`. Goes on from the
    newest state there; where the schedule counts epochs, as COCO's does, states are of the ends of epochs. Raises
    UserError for a loss that is no number, a state of another run, or data or weights that are not there; Interrupted
    after a signal.
    """
    detection = presets.detection(preset, row)
    annotations = prepared(detection)
    weights = backbone / "weights.safetensors"
    if not weights.exists():
        raise UserError(f"no weights at {weights}; train '{backbone_of(row)}' first, or fetch them")
    torch.set_num_threads(threads)
    keep_memory()
    distributed = "RANK" in os.environ
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.use_deterministic_algorithms(device.type == "cpu")
    record = provenance("train_detector", device)
    fingerprint = {
        "row": row,
        "seed": seed,
        **{f"data.{split}": digest for split, digest in annotations.items()},
        **{f"recipe.{key}": value for key, value in detection.get("recipe", {}).items()},
        "backbone": sha256(weights),
        "threads": threads,
        "processes": int(os.environ.get("WORLD_SIZE", 1)),
        "device": device.type,
        "code": code("train_detector")[:10],
    }
    states = States(output / "state", fingerprint)
    first = os.environ.get("RANK", "0") == "0"
    taken = f"another run is at work in {output}; wait until it ends"
    with (
        locked(states.folder / ".lock", taken) if first else contextlib.nullcontext(),
        tempfile.TemporaryDirectory() as scratch,
        signals() as caught,
    ):
        if restart:
            states.clear()
        state, damaged, changes = states.load(accept_changes)
        for path in damaged:
            print(f"{row} seed {seed}: {path} is damaged; going back to the state before it", file=sys.stderr)
        config = detector_config(row, detection, weights)
        config.update(
            work_dir=scratch,
            randomness={"seed": seed},
            launcher="pytorch" if distributed else "none",
            **{f"{name}_{part}": None for name in ("val", "test") for part in ("cfg", "dataloader", "evaluator")},
        )
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools says that it reads
            runner = Runner.from_cfg(config)
            runner.train_loop  # noqa: B018  builds the data sets
        began = time.monotonic()
        with reporting(f"{row} seed {seed}", runner.max_iters, state["iteration"] if state else 0, not first) as report:
            watch = Watch(
                f"{row} seed {seed}", report, states if first else None, save_minutes * 60, seed, caught, state
            )
            runner.register_hook(watch, "LOWEST")
            runner.train()
        if not first:
            return
        seconds = watch.seconds + time.monotonic() - began
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        save_weights(model, output / "weights.safetensors")
        write_csv(output / "log.csv", watch.log[0], (line.values() for line in watch.log))
        source = json.loads((backbone / "run.json").read_text())
        write_record(
            output / "run.json",
            {
                "row": row,
                "preset": preset_name,
                "seed": seed,
                "detection": detection,
                "iterations": runner.max_iters,
                "processes": fingerprint["processes"],
                "precision": "float32",
                "annotations": annotations,
                "backbone": {"row": source["row"], "seed": source["seed"], "weights": fingerprint["backbone"]},
                "files": hashes(output, "weights.safetensors", "log.csv"),
                "accepted_changes": [changes] if changes else [],
                "seconds": seconds,
            }
            | record,
        )
        shutil.rmtree(states.folder)


@torch.no_grad()
def _calibrate(runner: Runner) -> None:
    """Gives blocks in pyramid and heads, where there are any, the statistics of the first training images."""
    detector = runner.model.module if is_model_wrapper(runner.model) else runner.model
    images = runner.train_loop.dataloader.dataset
    batch = pseudo_collate([images[index] for index in range(min(len(images), CALIBRATED))])
    inputs = detector.data_preprocessor(batch, False)["inputs"]
    boxes = some_boxes(100, min(inputs.shape[2:])).to(inputs.device)
    calibrate(detector, lambda detector: head_outputs(detector, inputs, boxes))


class Watch(Hook):
    """Shows how a training goes, keeps its log, saves its states and goes on from one."""

    def __init__(
        self,
        title: str,
        report: Reporter,
        states: States | None,
        save_every: float,
        seed: int,
        caught: list[int],
        state: dict | None,
    ):
        self.title, self.report, self.states, self.save_every = title, report, states, save_every
        self.seed, self.caught, self.state = seed, caught, state
        self.log = state["log"] if state else []
        self.seconds = state["seconds"] if state else 0.0
        self.began = self.saved = time.monotonic()

    def before_train(self, runner: Runner) -> None:
        if self.state is None:
            _calibrate(runner)
            return
        runner.model.load_state_dict(self.state["model"])
        runner.optim_wrapper.load_state_dict(self.state["optimizer"])
        for scheduler, saved in zip(runner.param_schedulers, self.state["schedulers"]):
            scheduler.load_state_dict(saved)
        runner.train_loop._iter, runner.train_loop._epoch = self.state["iteration"], self.state["epoch"]
        self.report.say(f"going on from iteration {runner.iter} of {runner.max_iters}")

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        # What is drawn in an iteration depends on its number alone, so that it is the same after an interruption.
        draw = self.seed * 1_000_003 + runner.iter
        random.seed(draw)
        np.random.seed(draw % 2**32)
        torch.manual_seed(draw)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        losses = {name: float(value.detach()) for name, value in outputs.items() if "loss" in name}
        done = runner.iter + 1
        rate = runner.optim_wrapper.get_lr()["lr"][0]
        if not math.isfinite(losses["loss"]):
            last = (self.states and self.states.newest()) or "none"
            raise UserError(
                f"{self.title}: the loss is {losses['loss']} at iteration {done}, learning rate {rate:g}; "
                f"the last state is {last}"
            )
        self.log.append({"iteration": done, "learning_rate": rate} | losses)
        self.report.step(f"loss {losses['loss']:.3f}, learning rate {rate:.2g}")
        due = time.monotonic() - self.saved > self.save_every
        if (self.caught or due) and done < runner.max_iters and not isinstance(runner.train_loop, EpochBasedTrainLoop):
            # The schedules have taken their step, this hook being the last; the loop counts after it.
            self._save(runner, done, runner.epoch)

    def after_train_epoch(self, runner: Runner) -> None:
        if isinstance(runner.train_loop, EpochBasedTrainLoop) and runner.epoch + 1 < runner.max_epochs:
            self._save(runner, runner.iter, runner.epoch + 1)

    def _save(self, runner: Runner, iteration: int, epoch: int) -> None:
        if self.states is not None:
            state = {
                "iteration": iteration,
                "epoch": epoch,
                "model": runner.model.state_dict(),
                "optimizer": runner.optim_wrapper.state_dict(),
                "schedulers": [scheduler.state_dict() for scheduler in runner.param_schedulers],
                "log": self.log,
                "seconds": self.seconds + time.monotonic() - self.began,
            }
            path = self.states.save(iteration, state)
            self.saved = time.monotonic()
            if self.caught:
                name = signal.Signals(self.caught[0]).name
                raise Interrupted(f"{self.title}: {name} ended it; the same command goes on from {path}")
