"""What only a GPU can show. Without one, all of it is skipped and said to be."""

import json

import pytest
import torch

from paradise.evaluate import evaluate
from paradise.files import sha256
from paradise.runs import write_fused
from paradise.training.loop import train

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]


@pytest.fixture
def memory(preset) -> dict:
    preset["data"]["loader"] = "memory"
    return preset


def record(folder) -> dict:
    return json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", "float16"])
def test_every_precision_trains(memory, tmp_path, precision):
    memory["training"] |= {"precision": precision, "epochs": 3}
    train("pd_b_resnet18", memory, "test", 0, 2, tmp_path)
    assert record(tmp_path)["precision"] == precision
    assert record(tmp_path)["machine"]["gpu"] == torch.cuda.get_device_name()


def test_compiled_training(memory, tmp_path):
    memory["training"] |= {"precision": "bfloat16", "compile": True}
    train("pd_b_resnet18", memory, "test", 0, 2, tmp_path)


@pytest.mark.parametrize("decoder", ["mixed", "cpu"])
def test_dali_decodes_for_the_gpu(preset, tmp_path, decoder):
    pytest.importorskip("nvidia.dali")
    preset["data"]["decoder"] = decoder
    train("resnet18", preset, "test", 0, 2, tmp_path)
    write_fused(tmp_path)
    evaluate(tmp_path, 2, gpus=1)
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    assert evaluation["images"] == 80 and evaluation["logits"]["relative"] < 1e-3


def test_a_run_goes_on(memory, tmp_path, monkeypatch):
    from paradise.training import loop

    memory["training"]["epochs"] = 2
    whole = loop.Run.end_epoch

    def ended(run, report):
        whole(run, report)
        run.save()
        raise KeyboardInterrupt

    monkeypatch.setattr(loop.Run, "end_epoch", ended)
    with pytest.raises(KeyboardInterrupt):
        train("resnet18", memory, "test", 0, 2, tmp_path)
    monkeypatch.setattr(loop.Run, "end_epoch", whole)
    train("resnet18", memory, "test", 0, 2, tmp_path)
    assert record(tmp_path)["sessions"] == 2
    assert record(tmp_path)["files"]["weights.safetensors"] == sha256(tmp_path / "weights.safetensors")
