import csv
import json
import math
import os
import random
import re
import shutil
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
from projects import ended, start, write_project
from safetensors.torch import load_file

from paradise.errors import INTERRUPTED, UserError
from paradise.study.detection.evaluate import METRICS, average_precisions, detections, evaluate_detector, section_of
from paradise.study.detection.profile import profile_detectors
from paradise.study.hashes import sha256
from paradise.study.preset import Preset
from paradise.study.records import DetectorProfiles, EvaluatedDetector, Measurement, TrainedDetector, read_record
from paradise.study.rows import DetectorRow
from paradise.study.steps import Job, all_steps

pytestmark = pytest.mark.slow
ROW = "cascade_rcnn-pd_b_resnet50-inside"  # the one with most parts, and random proposals


@pytest.fixture(scope="module")
def project(tmp_path_factory, detectors) -> Path:
    return write_project(tmp_path_factory.mktemp("project"), detectors)


@pytest.fixture(scope="module")
def preset(project) -> Preset:
    return Preset.load(project / "config" / "small.yaml")


def train(project: Path, *more: str | Path, row: str = ROW, preset: str = "config/small.yaml") -> subprocess.Popen:
    return start(project, "train", row, "--preset", preset, *more)


@pytest.fixture(scope="module")
def finished(project) -> Path:
    code, said = ended(train(project))
    assert code == 0, said
    # Nothing but how far it is, which a slow machine has time to say.
    assert all(re.match(rf"{ROW} seed 0: \d/3 loss ", line) for line in said.splitlines()), said
    output = project / "results" / "small" / "detection" / ROW / "seed0"
    evaluate_detector(output, 1)
    return output


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of a finished run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def assert_same_run(a: Path, b: Path) -> None:
    assert (a / "log.csv").read_text() == (b / "log.csv").read_text()
    one, other = load_file(a / "weights.safetensors"), load_file(b / "weights.safetensors")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def assert_what_the_step_declares(record: Measurement, job: Job) -> None:
    """That a record says of settings, files and code what the job of its step does."""
    assert (record.step, record.preset, record.of) == (job.step.name, job.preset.name, dict(job.wildcards))
    assert record.settings == job.settings
    assert record.inputs == {name: sha256(path) for name, path in job.inputs.items()}
    assert record.outputs == {name: sha256(path) for name, path in job.vouched.items()}
    assert record.code == job.code


def test_what_a_training_leaves(finished, project, preset, monkeypatch):
    assert {path.name for path in finished.iterdir()} == {
        "weights.safetensors",
        "log.csv",
        "run.json",
        "evaluation.json",
        "metrics.json",
    }
    run = read_record(finished / "run.json", TrainedDetector)
    assert run is not None
    assert (run.row, run.of["seed"], run.iterations, run.processes, run.precision) == (ROW, "0", 3, 1, "float32")
    assert run.backbone.model_dump() == {"row": "pd_b_resnet50", "seed": 0}
    assert run.accepted_changes == [] and run.seconds > 0
    assert section_of(run).trained() == preset.detection_of(DetectorRow.parse(ROW)).trained()
    assert section_of(run).folder == preset.detection.folder
    monkeypatch.chdir(project)
    assert_what_the_step_declares(run, all_steps()["train_detector"].job(preset, detector=ROW, seed="0"))
    with (finished / "log.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["iteration"] for line in lines] == ["1", "2", "3"]
    assert all(math.isfinite(float(line["loss"])) for line in lines)


def test_blocks_in_pyramid_and_heads_begin_calibrated(finished):
    """As after ten updates of their statistics, which stay: the recipe says `norm_eval`."""
    weights = load_file(finished / "weights.safetensors")
    assert weights["neck.fpn_convs.0.conv.group.bn.num_batches_tracked"] == 10
    assert weights["rpn_head.rpn_conv.group.bn.num_batches_tracked"] == 10


def test_a_seed_fixes_the_weights(finished, project, tmp_path):
    code, said = ended(train(project, "--output", tmp_path / "again"))
    assert code == 0, said
    assert_same_run(finished, tmp_path / "again")


def saved(process: subprocess.Popen, output: Path) -> None:
    """Waits until a state of the run is there."""
    end = time.monotonic() + 120
    while not list(output.glob("state/step-*.pt")):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_was_ended_goes_on_to_the_same_weights(finished, project, tmp_path, number):
    output = tmp_path / "run"
    process = train(project, "--output", output, "--save-minutes", "0")
    saved(process, output)
    process.send_signal(number)
    code, said = ended(process)
    if number == signal.SIGTERM:
        assert code == INTERRUPTED
        assert f"{ROW} seed 0: SIGTERM ended it; the same command goes on from {output}/state/step-" in said
    code, said = ended(train(project, "--output", output))
    assert code == 0 and "going on from iteration" in said
    assert_same_run(finished, output)
    assert not (output / "state").exists()


def test_where_the_weights_cannot_be_written_nothing_is_lost(finished, project, tmp_path):
    output = tmp_path / "run"
    (output / "weights.safetensors").mkdir(parents=True)
    code, said = ended(train(project, "--output", output))
    assert code == 2
    assert said.splitlines()[-1].endswith(f"; the same command goes on from {output}/state/step-00000003.pt")
    (output / "weights.safetensors").rmdir()
    code, said = ended(train(project, "--output", output))
    assert code == 0 and "going on from iteration 3 of 3" in said
    assert_same_run(finished, output)
    assert not (output / "state").exists()


def test_a_state_of_another_run_is_refused_and_accepted_changes_are_recorded(project, detectors, tmp_path):
    output = tmp_path / "run"
    process = train(project, "--output", output, "--save-minutes", "0")
    saved(process, output)
    process.terminate()
    ended(process)
    code, said = ended(
        train(project, "--output", output, "--seed", "1", "--backbone", "results/small/pd_b_resnet50/seed0")
    )
    assert code == 2 and said.count("\n") == 1
    assert re.fullmatch(
        rf"error: {output}/state/step-\d+\.pt is of another run: seed was 0 and is 1; "
        r"`paradise detection train --restart` deletes it and begins anew\n",
        said,
    )
    hotter = detectors.values()
    hotter["detection"]["recipe"]["learning_rate"] = 1e-3
    (tmp_path / "hotter.yaml").write_text(yaml.safe_dump(hotter))
    again = ("--output", output, "--backbone", "results/small/pd_b_resnet50/seed0")
    preset = str(tmp_path / "hotter.yaml")
    code, said = ended(train(project, *again, preset=preset))
    assert code == 2 and "recipe.learning_rate was 0.0001 and is 0.001; " in said and "`--accept-changes`" in said
    process = train(project, *again, "--accept-changes", "--save-minutes", "0", preset=preset)
    code, said = ended(process)
    assert code == 0, said
    run = read_record(output / "run.json", TrainedDetector)
    assert run is not None
    assert re.fullmatch(
        r"iteration [12]: recipe\.learning_rate was 0\.0001 and is 0\.001", "".join(run.accepted_changes)
    )


@pytest.mark.parametrize(
    ("row", "backbone", "said"),
    [
        (
            ROW,
            "nowhere",
            "error: no weights at nowhere/weights.safetensors; train 'pd_b_resnet50' first, or fetch them\n",
        ),
        (
            ROW,
            "results/small/pd_a_resnet50/seed0",
            "error: results/small/pd_a_resnet50/seed0/weights.safetensors is of another model: it lacks "
            "layer1.0.conv2.gate.expand.bias, layer1.0.conv2.gate.expand.weight, layer1.0.conv2.gate.reduce.bias "
            "and 61 more keys\n",
        ),
        (
            "retinanet-pd_c_resnet50",
            "results/small/pd_b_resnet50/seed0",
            "error: config/small.yaml has no detector 'retinanet-pd_c_resnet50'; did you mean "
            "'retinanet-pd_b_resnet50'?\n",
        ),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(project, tmp_path, row, backbone, said):
    assert ended(train(project, "--output", tmp_path / "run", "--backbone", backbone, row=row)) == (2, said)
    assert not list(tmp_path.rglob("*.safetensors")) and not list(tmp_path.rglob("*.json"))


def test_weights_that_are_not_their_records_are_refused(project, tmp_path):
    backbone = tmp_path / "backbone"
    shutil.copytree(project / "results" / "small" / "pd_b_resnet50" / "seed0", backbone)
    other = project / "results" / "small" / "pd_a_resnet50" / "seed0" / "weights.safetensors"
    shutil.copy(other, backbone / "weights.safetensors")
    assert ended(train(project, "--output", tmp_path / "run", "--backbone", backbone)) == (
        2,
        f"error: {backbone}/weights.safetensors is not what {backbone}/run.json records; pull both or train again\n",
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there are GPUs")
def test_gpus_that_are_not_there_are_refused(project, tmp_path):
    for count in ("1", "2"):
        code, said = ended(train(project, "--output", tmp_path / "run", "--gpus", count))
        assert code == 2 and said == f"error: {count} GPUs are asked for and 0 are here; ask for fewer\n"


def test_a_loss_that_is_no_number_ends_the_run(project, detectors, tmp_path):
    hot = detectors.values()
    hot["detection"]["recipe"] |= {"learning_rate": 1000, "iterations": 9}
    (tmp_path / "hot.yaml").write_text(yaml.safe_dump(hot))
    backbone = "results/small/pd_b_resnet50/seed0"
    arguments = ("--output", tmp_path / "run", "--backbone", backbone)
    code, said = ended(train(project, *arguments, preset=str(tmp_path / "hot.yaml")))
    assert code == 2 and said.count("\n") == 1
    assert f"error: {ROW} seed 0: the loss is nan at iteration" in said and "the last state is none" in said
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_both_forms_are_evaluated(finished, project, preset, monkeypatch):
    evaluation = read_record(finished / "evaluation.json", EvaluatedDetector)
    assert evaluation is not None and evaluation.images == 20
    assert evaluation.detections.trained > 0 and evaluation.detections.fused > 0
    assert 0 < evaluation.heads.relative < 1e-4
    assert evaluation.heads.relative == evaluation.heads.difference / evaluation.heads.largest
    forms = {form: getattr(evaluation, form).model_dump() for form in ("fused", "trained")}
    assert all(list(scores) == list(METRICS) for scores in forms.values())
    assert json.loads((finished / "metrics.json").read_text()) == forms
    monkeypatch.chdir(project)
    assert_what_the_step_declares(evaluation, all_steps()["evaluate_detector"].job(preset, detector=ROW, seed="0"))


def other_weights(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes() + b" ")


def no_weights(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()


def edited(folder: Path) -> None:
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"iterations": 300}))


def no_record(folder: Path) -> None:
    (folder / "run.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (other_weights, "{0}/weights.safetensors is not what {0}/run.json records; pull both or train again"),
        (no_weights, "no weights at {0}/weights.safetensors; fetch them, or train the row again"),
        (edited, "{0}/run.json is damaged (edited by hand); train the row again"),
        (no_record, "no detector at {0}/run.json; train the row first"),
    ],
)
def test_a_folder_that_is_not_as_training_left_it_is_refused(copied, spoil, said):
    (copied / "evaluation.json").unlink()
    spoil(copied)
    with pytest.raises(UserError) as raised:
        evaluate_detector(copied, 1)
    assert str(raised.value) == said.format(copied)
    assert not (copied / "evaluation.json").exists()


def test_detections_are_in_cocos_format():
    found = InstanceData(
        bboxes=torch.tensor([[10.0, 20.0, 40.0, 80.0]]), scores=torch.tensor([0.5]), labels=torch.tensor([1])
    )
    sample = DetDataSample(metainfo={"img_id": 7}, pred_instances=found)
    assert detections(sample, [3, 90]) == [
        {"image_id": 7, "category_id": 90, "bbox": [10.0, 20.0, 30.0, 60.0], "score": 0.5}
    ]


def test_average_precision_is_pycocotools(detectors):
    """The truth itself as detections has 100 in every column; half of it, half; nothing, 0; of the wrong class, 0."""
    path = Path(detectors.detection.folder, "annotations", "instances_val.json")
    truth = json.loads(path.read_text())["annotations"]
    perfect = [{key: a[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.9} for a in truth]
    assert average_precisions(path, perfect) == pytest.approx(dict.fromkeys(METRICS, 100.0))
    assert average_precisions(path, []) == dict.fromkeys(METRICS, 0.0)
    wrong = [detection | {"category_id": detection["category_id"] % 10 + 1} for detection in perfect]
    assert average_precisions(path, wrong)["ap"] < 5
    random.seed(0)
    half = average_precisions(path, random.sample(perfect, len(perfect) // 2))["ap"]
    assert 30 < half < 70


def test_the_profile(preset, tmp_path):
    path = tmp_path / "profile" / "detection.json"
    profile_detectors(preset, path)
    record = read_record(path, DetectorProfiles)
    assert record is not None
    assert record.image_size == 64 and record.versions["mmcv operators"] in ("compiled", "ParaDise's")
    assert list(record.rows) == [row.id for row in preset.detectors]
    for detector in ("retinanet", "cascade_rcnn"):
        plain = record.rows[f"{detector}-resnet50"]
        summed = record.rows[f"{detector}-pd_a_resnet50"]
        for key in ("params", "flops", "macs"):
            assert getattr(summed.fused, key) == getattr(plain.fused, key)
            assert getattr(summed.trained, key) > getattr(plain.trained, key)
        assert record.rows[f"{detector}-pd_b_resnet50"].fused.params > plain.fused.params
    assert_what_the_step_declares(record, all_steps()["profile_detectors"].job(preset))


def test_missing_mmdetection_is_one_line(tmp_path):
    """As if it, or the operators, were not installed."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "class Hidden:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == os.environ['HIDE']:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Hidden())\n"
    )
    for hide, said in (("mmcv._ext", "mmcv without its operators"), ("mmdet", "no mmdet")):
        path = os.pathsep.join((str(tmp_path), str(REPOSITORY / "src")))
        done = subprocess.run(
            [sys.executable, "-m", "paradise", "detection", "evaluate", "nowhere"],
            env=os.environ | {"PYTHONPATH": path, "HIDE": hide},
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
        )
        assert done.returncode == 2
        assert done.stderr == (
            f"error: Table 3 needs mmdetection, and here is {said}; run `make setup` in the project's folder\n"
        )
