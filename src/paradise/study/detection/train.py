"""Trains one detection row with mmdetection's own runner: data, schedule and losses are mmdetection's."""

import contextlib
import io
import math
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner

from paradise.conversion import calibrate
from paradise.errors import Interrupted, UserError
from paradise.mmcv_operators import name_operators
from paradise.study.code import digest
from paradise.study.detection.boxes import some_boxes
from paradise.study.detection.config import detector_config
from paradise.study.detection.data import prepared
from paradise.study.detection.detectors import Detector
from paradise.study.device import keep_memory
from paradise.study.files import locked, write_csv
from paradise.study.hashes import sha256
from paradise.study.preset import DetectionData, Preset
from paradise.study.provenance import begin_record
from paradise.study.records import TrainedDetector, write_record
from paradise.study.registry import DETECTION_SETS, DETECTORS
from paradise.study.rows import DetectorRow, Run
from paradise.study.runs import read_run, run_of
from paradise.study.steps.train_detector import entries, settings
from paradise.study.terminal.progress import Reporter, reporting
from paradise.study.training.signals import signals
from paradise.study.training.state import States
from paradise.weights import save_weights

CALIBRATED = 8  # images


def train_detector(
    run: Run,
    preset: Preset,
    threads: int,
    backbone: Path,
    output: Path,
    save_minutes: float,
    restart: bool,
    accept_changes: bool,
) -> None:
    """Trains a detector from a classification run.

    Writes `weights.safetensors`, `log.csv` (losses of every iteration) and `run.json` into `output`. Goes on from the
    newest state there; where the schedule counts epochs, as COCO's does, states are of the ends of epochs.

    Args:
        run: One of the preset's detectors, and the seed.
        preset: The study.
        threads: Processor threads.
        backbone: The folder of the run that the backbone's weights are of.
        output: The folder of this one.
        save_minutes: Time between saved states.
        restart: Whether to begin anew, whatever was saved.
        accept_changes: Whether to go on though code or recipe changed since, which the record then names.

    Raises:
        UserError: The loss is no number, the state is of another run, or data or weights are not there.
        Interrupted: A signal ended it; its state is saved.
    """
    row, seed = run.row, run.seed
    assert isinstance(row, DetectorRow) and seed is not None
    section, weights, title = preset.detection_of(row), backbone / "weights.safetensors", f"{row} seed {seed}"
    prepared(section)
    if not weights.exists():
        raise UserError(f"no weights at {weights}; train '{row.backbone}' first, or fetch them")
    source = read_run(backbone)
    torch.set_num_threads(threads)
    keep_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.use_deterministic_algorithms(device.type == "cpu")
    of = {"detector": row.id, "seed": str(seed)}
    inputs = DETECTION_SETS.get(section.dataset).annotation_files(section) | {"backbone": weights}
    record = begin_record(
        "train_detector", preset.name, of, settings(preset, of), inputs, entries(row, section.dataset), device
    )
    record["versions"]["mmcv operators"] = name_operators()
    if record["inputs"]["backbone"] != source.outputs.get(weights.name):
        raise UserError(f"{weights} is not what {backbone}/run.json records; pull both or train again")
    states = States(output / "state", _fingerprint(row, seed, section, threads, record), "paradise detection train")
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
            print(f"{title}: {path} is damaged; going back to the state before it", file=sys.stderr)
        runner = _build_runner(detector_config(row, section, weights), seed, scratch)
        if first:
            states.require_room(runner.model, moments=2)  # AdamW's; SGD, of mmdetection's own recipe, keeps one
        done = state["iteration"] if state else 0
        with reporting(title, runner.max_iters, done, silent=not first) as report:
            watch = Watch(row, seed, report, states if first else None, save_minutes * 60, caught, state, changes)
            runner.register_hook(watch, "LOWEST")
            runner.train()
        if first:
            with states.kept():
                _write(output, runner, watch, section, run_of(source), record)
            states.remove()


def _fingerprint(
    row: DetectorRow, seed: int, section: DetectionData, threads: int, record: dict[str, Any]
) -> dict[str, Any]:
    """What must be the same for a state of one run to be a state of another."""
    return {
        "row": row.id,
        "seed": seed,
        **{f"data.{name}": hashed for name, hashed in record["inputs"].items() if name != "backbone"},
        **{f"recipe.{key}": value for key, value in (section.recipe.values() if section.recipe else {}).items()},
        "backbone": record["inputs"]["backbone"],
        "threads": threads,
        "processes": _processes(),
        "device": record["machine"]["device"],
        "operators": record["versions"]["mmcv operators"],
        "code": digest(record["code"]),
    }


def _write(
    output: Path, runner: Runner, watch: "Watch", section: DetectionData, begins_with: Run, record: dict[str, Any]
) -> None:
    """Writes the results of a training that has come to its end."""
    save_weights(_model(runner), output / "weights.safetensors")
    write_csv(output / "log.csv", watch.log[0], (line.values() for line in watch.log))
    measured = {
        "outputs": {name: sha256(output / name) for name in ("weights.safetensors", "log.csv")},
        "data_folder": section.folder,
        "data_source": section.source,
        "backbone": {"row": begins_with.row.id, "seed": begins_with.seed},
        "iterations": runner.max_iters,
        "processes": _processes(),
        "precision": "float32",
        "accepted_changes": watch.accepted,
        "seconds": watch.seconds(),
    }
    write_record(output / "run.json", TrainedDetector, record | measured)


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", 1))


def _build_runner(config: Config, seed: int, scratch: str) -> Runner:
    """mmdetection's runner, with its data sets, that neither validates nor tests."""
    config.update(
        work_dir=scratch,
        randomness={"seed": seed},
        launcher="pytorch" if "RANK" in os.environ else "none",
        **{f"{name}_{part}": None for name in ("val", "test") for part in ("cfg", "dataloader", "evaluator")},
    )
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools says that it reads
        runner = Runner.from_cfg(config)
        runner.train_loop  # noqa: B018  builds the data sets
    return runner


def _model(runner: Runner) -> Any:
    """The detector, without what shares it among processes."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


@torch.no_grad()
def _calibrate(runner: Runner, detector: Detector) -> None:
    """Gives blocks in pyramid and heads, where there are any, the statistics of the first training images."""
    model, images = _model(runner), runner.train_loop.dataloader.dataset
    batch = pseudo_collate([images[index] for index in range(min(len(images), CALIBRATED))])
    inputs = model.data_preprocessor(batch, False)["inputs"]
    boxes = some_boxes(100, min(inputs.shape[2:])).to(inputs.device)
    calibrate(model, lambda model: detector.head_outputs(model, inputs, boxes))


class Watch(Hook):
    """Shows how a training goes, keeps its log, saves its states and goes on from one.

    Args:
        row: What is trained.
        seed: By what its draws begin.
        report: Where to show it.
        states: Where to save; None in all processes but the first.
        save_every: Seconds between saved states.
        caught: The signals that came so far.
        state: What to go on from, if anything.
        changes: What differs from when it was saved, and was accepted.
    """

    def __init__(
        self,
        row: DetectorRow,
        seed: int,
        report: Reporter,
        states: States | None,
        save_every: float,
        caught: list[int],
        state: dict[str, Any] | None,
        changes: str,
    ):
        self.title, self.seed, self.detector = f"{row} seed {seed}", seed, DETECTORS.get(row.detector)
        self.report, self.states, self.save_every = report, states, save_every
        self.caught, self.state = caught, state
        self.log: list[dict[str, float]] = state["log"] if state else []
        self.accepted: list[str] = state["accepted"] if state else []
        if state and changes:
            self.accepted.append(f"iteration {state['iteration']}: {changes}")
        self.before: float = state["seconds"] if state else 0.0
        self.began = self.saved = time.monotonic()

    def seconds(self) -> float:
        """How long the training took so far, in all sessions."""
        return self.before + time.monotonic() - self.began

    def before_train(self, runner: Runner) -> None:
        if self.state is None:
            _calibrate(runner, self.detector)
            return
        runner.model.load_state_dict(self.state["model"])
        runner.optim_wrapper.load_state_dict(self.state["optimizer"])
        for scheduler, saved in zip(runner.param_schedulers, self.state["schedulers"]):
            scheduler.load_state_dict(saved)
        runner.train_loop._iter, runner.train_loop._epoch = self.state["iteration"], self.state["epoch"]
        self.report.say(f"going on from iteration {runner.iter} of {runner.max_iters}")

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        # What is drawn in an iteration depends on its number alone, so that it is the same after an interruption.
        draw = self.seed * 1_000_003 + runner.iter
        random.seed(draw)
        np.random.seed(draw % 2**32)
        torch.manual_seed(draw)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
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
            self._end_if_asked()

    def after_train_epoch(self, runner: Runner) -> None:
        if isinstance(runner.train_loop, EpochBasedTrainLoop) and runner.epoch + 1 < runner.max_epochs:
            self._save(runner, runner.iter, runner.epoch + 1)
            self._end_if_asked()

    def after_train(self, runner: Runner) -> None:
        # Where the weights cannot be written, nothing is lost.
        self._save(runner, runner.iter, runner.epoch)

    def _save(self, runner: Runner, iteration: int, epoch: int) -> None:
        if self.states is not None:
            state = {
                "iteration": iteration,
                "epoch": epoch,
                "model": runner.model.state_dict(),
                "optimizer": runner.optim_wrapper.state_dict(),
                "schedulers": [scheduler.state_dict() for scheduler in runner.param_schedulers],
                "log": self.log,
                "accepted": self.accepted,
                "seconds": self.seconds(),
            }
            self.states.save(iteration, state)
            self.saved = time.monotonic()

    def _end_if_asked(self) -> None:
        if self.states is not None and self.caught:
            name = signal.Signals(self.caught[0]).name
            raise Interrupted(f"{self.title}: {name} ended it; the same command goes on from {self.states.newest()}")
