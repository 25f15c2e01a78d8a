import csv
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from conftest import REPOSITORY
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from safetensors.torch import load_file

from paradise import preset as presets
from paradise.causes import seal
from paradise.detection.evaluate import METRICS, _detections, average_precisions, evaluate_detector
from paradise.detection.profile import profile_detectors
from paradise.errors import INTERRUPTED, UserError
from paradise.verify import unmade

pytestmark = pytest.mark.slow
ROW = "cascade_rcnn-pd_b_resnet50-inside"  # the one with most parts, and random proposals


@pytest.fixture(scope="module")
def preset(detectors, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("preset") / "small.yaml"
    path.write_text(yaml.safe_dump(detectors))
    return path


def start(preset: Path, backbones: Path, output: Path, *more: str, row: str = ROW) -> subprocess.Popen:
    command = [sys.executable, "-m", "paradise", "detection", "train", row, "--preset", str(preset)]
    backbone = backbones / row.split("-")[1]
    return subprocess.Popen(
        [*command, "--backbone", str(backbone), "--output", str(output), *more],
        cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def ended(process: subprocess.Popen) -> tuple[int, str]:
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


@pytest.fixture(scope="module")
def finished(preset, backbones, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("results") / "detection" / ROW / "seed0"
    code, said = ended(start(preset, backbones, output))
    assert code == 0, said
    # Nothing but how far it is, which a slow machine has time to say.
    assert all(re.match(rf"{ROW} seed 0: \d/3 loss ", line) for line in said.splitlines()), said
    evaluate_detector(output, 1)
    return output


def assert_same_run(a: Path, b: Path) -> None:
    assert (a / "log.csv").read_text() == (b / "log.csv").read_text()
    one, other = load_file(a / "weights.safetensors"), load_file(b / "weights.safetensors")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_what_a_training_leaves(finished, preset):
    assert {path.name for path in finished.iterdir()} == {
        "weights.safetensors", "log.csv", "run.json", "evaluation.json", "metrics.json",
    }  # fmt: skip
    run = json.loads((finished / "run.json").read_text())
    assert run["seal"] == seal(run)
    assert (run["row"], run["seed"], run["iterations"], run["backbone"]["row"]) == (ROW, 0, 3, "pd_b_resnet50")
    assert run["detection"] == presets.detection(presets.load(preset), ROW)
    with (finished / "log.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["iteration"] for line in lines] == ["1", "2", "3"]
    assert all(math.isfinite(float(line["loss"])) for line in lines)


def test_blocks_in_pyramid_and_heads_begin_calibrated(finished):
    """As after ten updates of their statistics; then an iteration makes one of a pyramid's, five of a shared head's."""
    weights = load_file(finished / "weights.safetensors")
    assert weights["neck.fpn_convs.0.conv.group.bn.num_batches_tracked"] == 10 + 3
    assert weights["rpn_head.rpn_conv.group.bn.num_batches_tracked"] == 10 + 3 * 5


def test_a_seed_fixes_the_weights(finished, preset, backbones, tmp_path):
    code, said = ended(start(preset, backbones, tmp_path / "again"))
    assert code == 0, said
    assert_same_run(finished, tmp_path / "again")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_was_ended_goes_on_to_the_same_weights(finished, preset, backbones, tmp_path, number):
    output = tmp_path / "run"
    process = start(preset, backbones, output, "--save-minutes", "0")
    end = time.monotonic() + 120
    while not list(output.glob("state/step-*.pt")):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    code, said = ended(process)
    if number == signal.SIGTERM:
        assert code == INTERRUPTED
        assert f"{ROW} seed 0: SIGTERM ended it; the same command goes on from {output}/state/step-" in said
    code, said = ended(start(preset, backbones, output))
    assert code == 0 and "going on from iteration" in said
    assert_same_run(finished, output)
    assert not (output / "state").exists()


def test_a_state_of_another_run_is_refused(preset, backbones, tmp_path):
    output = tmp_path / "run"
    process = start(preset, backbones, output, "--save-minutes", "0")
    while not list(output.glob("state/step-*.pt")):
        time.sleep(0.02)
        assert process.poll() is None
    process.terminate()
    ended(process)
    code, said = ended(start(preset, backbones, output, "--seed", "1"))
    assert code == 2 and "is of another run: seed was 0 and is 1" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda arguments: arguments.update(backbone="nowhere"),
         "error: no weights at nowhere/weights.safetensors; train 'pd_b_resnet50' first, or fetch them\n"),
        (lambda arguments: arguments.update(backbone="pd_a_resnet50"), "is of another model: it lacks"),
        (lambda arguments: arguments.update(row="retinanet-pd_c_resnet50"),
         "has no detector 'retinanet-pd_c_resnet50'; did you mean 'retinanet-pd_"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_leave_nothing(preset, backbones, tmp_path, spoil, said):
    arguments = {"row": ROW, "backbone": "pd_b_resnet50"}
    spoil(arguments)
    backbone = backbones / arguments["backbone"] if arguments["backbone"] != "nowhere" else Path("nowhere")
    code, output = ended(start(preset, backbones, tmp_path / "run", "--backbone", str(backbone), row=arguments["row"]))
    assert code == 2 and said in output and output.count("\n") == 1
    assert not list(tmp_path.rglob("*.safetensors")) and not list(tmp_path.rglob("*.json"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs")
def test_gpus_that_are_not_there_are_refused(preset, backbones, tmp_path):
    for count in ("1", "2"):
        code, said = ended(start(preset, backbones, tmp_path / "run", "--gpus", count))
        assert code == 2 and said == f"error: {count} GPUs are asked for and 0 are here; ask for fewer\n"


def test_a_loss_that_is_no_number_ends_the_run(detectors, backbones, tmp_path):
    hot = yaml.safe_load(yaml.safe_dump(detectors))
    hot["detection"]["recipe"] |= {"learning_rate": 1e30, "iterations": 9}
    (tmp_path / "hot.yaml").write_text(yaml.safe_dump(hot))
    code, said = ended(start(tmp_path / "hot.yaml", backbones, tmp_path / "run"))
    assert code == 2 and said.count("\n") == 1
    assert f"error: {ROW} seed 0: the loss is nan at iteration" in said and "the last state is none" in said
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_both_forms_are_evaluated(finished):
    evaluation = json.loads((finished / "evaluation.json").read_text())
    assert evaluation["images"] == 20
    for form in ("trained", "fused"):
        assert evaluation[form].keys() == set(METRICS)
    assert 0 < evaluation["outputs"]["relative"] < 1e-4
    assert json.loads((finished / "metrics.json").read_text())["fused"] == evaluation["fused"]


def test_results_are_known_by_what_made_them(finished, preset):
    settings = presets.load(preset)
    assert unmade("train_detector", finished, settings) is None
    assert unmade("evaluate_detector", finished, settings) is None
    settings["detection"]["recipe"]["learning_rate"] = 9
    assert unmade("train_detector", finished, settings) == "recipe changed"


def test_detections_are_in_cocos_format():
    found = InstanceData(
        bboxes=torch.tensor([[10.0, 20.0, 40.0, 80.0]]), scores=torch.tensor([0.5]), labels=torch.tensor([1])
    )
    sample = DetDataSample(metainfo={"img_id": 7}, pred_instances=found)
    assert _detections(sample, [3, 90]) == [
        {"image_id": 7, "category_id": 90, "bbox": [10.0, 20.0, 30.0, 60.0], "score": 0.5}
    ]


def test_average_precision_is_pycocotools(detectors):
    """The truth itself as detections has 100 in every column; half of it, half; nothing, 0; of the wrong class, 0."""
    path = Path(detectors["detection"]["folder"], "annotations", "instances_val.json")
    truth = json.loads(path.read_text())["annotations"]
    perfect = [{key: a[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9} for a in truth]
    assert average_precisions(path, perfect) == pytest.approx(dict.fromkeys(METRICS, 100.0))
    assert average_precisions(path, []) == dict.fromkeys(METRICS, 0.0)
    wrong = [detection | {"category_id": detection["category_id"] % 10 + 1} for detection in perfect]
    assert average_precisions(path, wrong)["ap"] < 5
    random.seed(0)
    half = average_precisions(path, random.sample(perfect, len(perfect) // 2))["ap"]
    assert 30 < half < 70


def test_the_profile(detectors, tmp_path):
    profile_detectors(detectors, tmp_path / "profile" / "detection.json")
    record = json.loads((tmp_path / "profile" / "detection.json").read_text())
    rows = record["rows"]
    assert list(rows) == presets.detectors(detectors)
    for detector in ("retinanet", "cascade_rcnn"):
        plain = rows[f"{detector}-resnet50"]
        summed = rows[f"{detector}-pd_a_resnet50"]
        for key in ("params", "flops", "macs"):
            assert summed["fused"][key] == plain["fused"][key]
            assert summed["trained"][key] > plain["trained"][key]
        assert rows[f"{detector}-pd_b_resnet50"]["fused"]["params"] > plain["fused"]["params"]
    assert unmade("profile_detectors", tmp_path / "profile", detectors) is None


def test_missing_mmdetection_is_one_line(preset, tmp_path):
    """As if it, or the operators, were not installed."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == os.environ['HIDE']:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )
    for hide, said in (("mmcv._ext", "mmcv without its compiled operators"), ("mmdet", "no mmdet")):
        path = os.pathsep.join((str(tmp_path), str(REPOSITORY / "src")))
        done = subprocess.run(
            [sys.executable, "-m", "paradise", "detection", "evaluate", "nowhere"],
            env=os.environ | {"PYTHONPATH": path, "HIDE": hide},
            capture_output=True, text=True, cwd=REPOSITORY,
        )  # fmt: skip
        assert done.returncode == 2
        assert done.stderr == (
            f"error: Table 3 needs mmdetection, and here is {said}; run `make detection` in the project's folder\n"
        )


def test_a_folder_without_a_detector(tmp_path):
    with pytest.raises(UserError, match=r"^no detector at .*run\.json; train the row first$"):
        evaluate_detector(tmp_path, 1)
