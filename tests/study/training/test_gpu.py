"""What only a GPU can show. Without one, all of it is skipped and said to be."""

import json

import pytest
import torch
from conftest import changed

from paradise.study.evaluate import evaluate
from paradise.study.hashes import sha256
from paradise.study.preset import Preset
from paradise.study.rows import Row, Run
from paradise.study.runs import write_fused
from paradise.study.training.loop import Training, train

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]


RESNET18, GATED = Run(Row.parse("resnet18"), 0), Run(Row.parse("pd_b_resnet18"), 0)


@pytest.fixture
def memory(preset) -> Preset:
    return changed(preset, data={"loader": "memory"})


def record(folder) -> dict:
    return json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", "float16"])
def test_every_precision_trains(memory, tmp_path, precision):
    train(GATED, changed(memory, training={"precision": precision, "epochs": 3}), 2, tmp_path)
    assert record(tmp_path)["precision"] == precision
    assert record(tmp_path)["machine"]["gpu"] == torch.cuda.get_device_name()


def test_compiled_training(memory, tmp_path):
    train(GATED, changed(memory, training={"precision": "bfloat16", "compile": True}), 2, tmp_path)


@pytest.mark.parametrize("decoder", ["mixed", "cpu"])
def test_dali_decodes_for_the_gpu(preset, tmp_path, decoder):
    pytest.importorskip("nvidia.dali")
    train(RESNET18, changed(preset, data={"decoder": decoder}), 2, tmp_path)
    write_fused(tmp_path)
    evaluate(tmp_path, 2, gpus=1)
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    assert evaluation["images"] == 80 and evaluation["logits"]["relative"] < 1e-3


def test_a_run_goes_on(memory, tmp_path, monkeypatch):
    longer, whole = changed(memory, training={"epochs": 2}), Training.end_epoch

    def ended(training, report):
        whole(training, report)
        training.save()
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "end_epoch", ended)
    with pytest.raises(KeyboardInterrupt):
        train(RESNET18, longer, 2, tmp_path)
    monkeypatch.setattr(Training, "end_epoch", whole)
    train(RESNET18, longer, 2, tmp_path)
    assert record(tmp_path)["sessions"] == 2
    assert record(tmp_path)["outputs"]["weights.safetensors"] == sha256(tmp_path / "weights.safetensors")
