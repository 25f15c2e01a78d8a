"""COCO by mmdetection's own schedule, which counts epochs: a small folder of its layout, small images, two epochs."""

import shutil
import signal
from pathlib import Path

import pytest
import torch
from projects import write_backbones
from safetensors.torch import load_file

from paradise.errors import Interrupted
from paradise.study.detection import evaluate as evaluation
from paradise.study.detection import train as training
from paradise.study.detection.config import detector_config, study_config
from paradise.study.detection.data import prepare
from paradise.study.detection.evaluate import build_detector, evaluate_detector, read_detector, section_of
from paradise.study.preset import Preset
from paradise.study.records import EvaluatedDetector, read_record
from paradise.study.rows import DetectorRow, Run

pytestmark = pytest.mark.slow
ROW = DetectorRow.parse("retinanet-pd_a_resnet50")


@pytest.fixture(scope="module")
def backbones(tmp_path_factory) -> Path:
    return write_backbones(tmp_path_factory.mktemp("backbones"))


@pytest.fixture
def preset(detectors, tmp_path, monkeypatch) -> Preset:
    composed, root = Path(detectors.detection.folder), tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        shutil.copytree(composed / split, root / f"{split}2017")
        shutil.copy(
            composed / "annotations" / f"instances_{split}.json", root / "annotations" / f"instances_{split}2017.json"
        )
    monkeypatch.setenv("COCO_DIR", str(root))
    values = detectors.values()
    latency = {"image_size": 64, "rounds": 1, "threads": 1}
    values["detection"] = {"dataset": "coco", "folder": str(tmp_path / "data"), "rows": "all", "latency": latency}
    preset = Preset.of(values, Path("config/coco.yaml"))
    prepare(preset.detection, preset.name)
    return preset


@pytest.fixture
def shortened(monkeypatch):
    """Two epochs instead of twelve, 64 pixels instead of 1333 × 800; all else as it is."""

    def shorter(*arguments):
        config = detector_config(*arguments)
        config.train_cfg.max_epochs = 2
        for loader in (config.train_dataloader, config.val_dataloader):
            for step in loader.dataset.pipeline:
                if step["type"] == "Resize":
                    step["scale"] = (64, 64)
        return config

    for module in (training, evaluation):
        monkeypatch.setattr(module, "detector_config", shorter)


def train(preset: Preset, backbones: Path, output: Path) -> None:
    backbone = backbones / "pd_a_resnet50" / "seed0"
    training.train_detector(Run(ROW, 0), preset, 1, backbone, output, 10, restart=False, accept_changes=False)


def test_an_epochs_end_is_what_a_run_goes_on_from(preset, backbones, shortened, tmp_path, monkeypatch):
    save = training.Watch._save

    def asked_to_end(watch, *arguments):
        watch.caught.append(signal.SIGTERM)
        save(watch, *arguments)

    ended = pytest.raises(Interrupted, match=rf"^{ROW} seed 0: SIGTERM ended it; the same command goes on from")
    with monkeypatch.context() as patch, ended:
        patch.setattr(training.Watch, "_save", asked_to_end)
        train(preset, backbones, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "state").glob("*.pt")] == ["step-00000010.pt"]
    train(preset, backbones, tmp_path / "run")
    lines = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [str(iteration) for iteration in range(1, 21)]
    run = read_detector(tmp_path / "run")
    assert run.iterations == 20 and run.settings == {"detection": {"dataset": "coco"}}
    assert (run.data_folder, run.data_source) == (preset.detection.folder, None)
    assert section_of(run).trained() == preset.detection.trained()
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_a_source_is_found_again(preset, backbones, shortened, tmp_path, monkeypatch):
    """Evaluation knows no preset: what it needs of the data's place is in the record."""
    root = tmp_path / "elsewhere"
    (tmp_path / "coco").rename(root)
    monkeypatch.delenv("COCO_DIR")
    values = preset.values()
    values["detection"]["source"] = str(root)
    train(Preset.of(values, preset.path), backbones, tmp_path / "run")
    evaluate_detector(tmp_path / "run", 1)
    record = read_record(tmp_path / "run" / "evaluation.json", EvaluatedDetector)
    assert record is not None and record.images == 20 and record.preset == "coco"


def test_classes_and_scales_are_cocos(preset):
    config = detector_config(ROW, preset.detection_of(ROW), None)
    assert config.train_cfg.max_epochs == 12 and config.auto_scale_lr.enable
    assert config.model.bbox_head.num_classes == 2  # as many as this folder has
    assert build_detector(ROW, preset.detection).bbox_head.retina_cls.out_channels == 9 * 2
    assert [step["scale"] for step in config.val_dataloader.dataset.pipeline if step["type"] == "Resize"] == [
        (1333, 800)
    ]


def test_mmdetections_own_hooks_are_left_to_its_own_tools(preset):
    """A training here has a log, states and weights of its own; a written configuration has mmdetection's."""
    ours, theirs = (build(ROW, preset.detection, None) for build in (detector_config, study_config))
    assert ours.default_hooks == {"logger": None, "checkpoint": None}
    assert theirs.default_hooks.checkpoint.type == "CheckpointHook" and theirs.log_level == "INFO"
