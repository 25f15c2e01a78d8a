"""COCO by mmdetection's own schedule, which counts epochs: a small folder of its layout, small images, two epochs."""

import json
import multiprocessing
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from paradise import preset as presets
from paradise.detection import train as training
from paradise.detection.config import detector_config
from paradise.detection.data import prepare
from paradise.detection.evaluate import build_detector
from paradise.errors import Interrupted

pytestmark = pytest.mark.slow
ROW = "retinanet-pd_a_resnet50"


@pytest.fixture
def preset(detectors, tmp_path, monkeypatch) -> dict:
    composed, root = Path(detectors["detection"]["folder"]), tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        shutil.copytree(composed / split, root / f"{split}2017")
        shutil.copy(
            composed / "annotations" / f"instances_{split}.json", root / "annotations" / f"instances_{split}2017.json"
        )
    monkeypatch.setenv("COCO_DIR", str(root))
    coco = {"dataset": "coco", "folder": str(tmp_path / "data"), "rows": "all", "latency": {}}
    prepare(coco)
    return {"rows": "all", "seeds": [0], "detection": coco}


@pytest.fixture
def shortened(monkeypatch):
    """Two epochs instead of twelve, 64 pixels instead of 1333 × 800; all else as it is."""

    def shorter(*arguments):
        config = detector_config(*arguments)
        config.train_cfg.max_epochs = 2
        for step in config.train_dataloader.dataset.pipeline:
            if step["type"] == "Resize":
                step["scale"] = (64, 64)
        return config

    monkeypatch.setattr(training, "detector_config", shorter)


def train(preset: dict, backbones: Path, output: Path) -> None:
    training.train_detector(
        ROW, preset, "coco", 0, 1, backbones / "pd_a_resnet50", output, 10, restart=False, accept_changes=False
    )


def test_an_epochs_end_is_what_a_run_goes_on_from(preset, backbones, shortened, tmp_path, monkeypatch):
    save = training.Watch._save

    def asked_to_end(watch, *arguments):
        watch.caught.append(signal.SIGTERM)
        save(watch, *arguments)

    def interrupted():
        with pytest.raises(Interrupted, match=rf"^{ROW} seed 0: SIGTERM ended it; the same command goes on from"):
            train(preset, backbones, tmp_path / "run")

    with monkeypatch.context() as patch:
        patch.setattr(training.Watch, "_save", asked_to_end)
        # A process of its own, whose workers end with it.
        process = multiprocessing.get_context("fork").Process(target=interrupted)
        process.start()
        process.join()
        assert process.exitcode == 0
    assert [path.name for path in (tmp_path / "run" / "state").glob("*.pt")] == ["step-00000010.pt"]
    train(preset, backbones, tmp_path / "run")
    lines = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [str(iteration) for iteration in range(1, 21)]
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["iterations"] == 20 and "recipe" not in run["detection"]
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_classes_and_scales_are_cocos(preset):
    config = detector_config(ROW, presets.detection(preset, ROW), None)
    assert config.train_cfg.max_epochs == 12 and config.auto_scale_lr.enable
    assert config.model.bbox_head.num_classes == 10  # as many as this folder has
    assert build_detector(ROW, preset["detection"]).bbox_head.retina_cls.out_channels == 9 * 10
    assert [step["scale"] for step in config.val_dataloader.dataset.pipeline if step["type"] == "Resize"] == [
        (1333, 800)
    ]
