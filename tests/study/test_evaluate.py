import csv
import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from paradise.study.data.dali import EvaluationLoader
from paradise.errors import UserError
from paradise.study.evaluate import evaluate
from paradise.study.files import sha256


def test_hits_are_counted_over_exactly_the_validation_images(run_folder, digits):
    evaluate(run_folder, 1)
    metrics = json.loads((run_folder / "evaluation.json").read_text())
    with (run_folder / "predictions.csv").open() as file:
        lines = list(csv.DictReader(file))
    with (digits / "manifest.csv").open() as file:
        listed = [(line["path"], line["label"]) for line in csv.DictReader(file) if line["split"] == "val"]
    assert [(line["image"], line["label"]) for line in lines] == listed
    assert metrics["images"] == len(listed) == 80
    for form in ("trained", "fused"):
        top1 = sum(line[f"{form}_1"] == line["label"] for line in lines)
        top5 = sum(line["label"] in [line[f"{form}_{rank}"] for rank in range(1, 6)] for line in lines)
        assert (metrics[form]["top1_hits"], metrics[form]["top5_hits"]) == (top1, top5)
        assert metrics[form]["top1"] == 100 * top1 / 80
    assert metrics["logits"]["relative"] < 1e-4
    assert metrics["logits"]["difference"] == pytest.approx(
        metrics["logits"]["relative"] * metrics["logits"]["largest"]
    )
    assert metrics["files"] == {
        name: sha256(run_folder / name)
        for name in ("weights.safetensors", "fused.safetensors", "predictions.csv", "metrics.json")
    }
    assert json.loads((run_folder / "metrics.json").read_text()) == {
        form: {key: metrics[form][key] for key in ("top1", "top5")} for form in ("fused", "trained")
    }


def test_training_and_evaluation_agree(run_folder):
    evaluate(run_folder, 1)
    metrics = json.loads((run_folder / "evaluation.json").read_text())
    with (run_folder / "log.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    assert metrics["trained"]["top1"] == float(last["val_top1"])
    assert metrics["trained"]["top5"] == float(last["val_top5"])


def test_a_wrong_fusion_shows(run_folder):
    """The reported difference is measured, not assumed."""
    state = load_file(run_folder / "fused.safetensors")
    state["fc.bias"] += 1
    save_file(state, run_folder / "fused.safetensors")
    evaluate(run_folder, 1)
    assert json.loads((run_folder / "evaluation.json").read_text())["logits"]["difference"] == pytest.approx(
        1, rel=1e-3
    )


def test_images_that_were_not_seen_are_an_error(run_folder, monkeypatch):
    def short(*arguments):
        return list(EvaluationLoader(*arguments))[:-1]

    monkeypatch.setattr("paradise.study.data.dali.EvaluationLoader", short)
    with pytest.raises(UserError, match="evaluation saw 72 images, not the 80 of the manifest"):
        evaluate(run_folder, 1)
    assert not (run_folder / "evaluation.json").exists()


def test_another_data_set_is_refused(run_folder, tmp_path, digits):
    other = tmp_path / "digits"
    shutil.copytree(digits, other)
    manifest = other / "manifest.csv"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    run = json.loads((run_folder / "run.json").read_text())
    run["data"]["folder"] = str(other)
    (run_folder / "run.json").write_text(json.dumps(run))
    with pytest.raises(UserError, match=r"is not the data that .* was trained on"):
        evaluate(run_folder, 1)
    assert not (run_folder / "evaluation.json").exists()
