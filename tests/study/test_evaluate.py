import csv
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import make_data
from safetensors.torch import load_file, save_file

from paradise.errors import UserError
from paradise.study.code import fingerprint
from paradise.study.data.loaders import Loader
from paradise.study.data.loaders.dali import EvaluationLoader, TrainingLoader
from paradise.study.data.prepare import prepare
from paradise.study.evaluate import evaluate
from paradise.study.hashes import sha256
from paradise.study.records import Fused, Prepared, Trained, write_record
from paradise.study.registry import LOADERS


def rewritten(path: Path, schema, **changes) -> None:
    """Writes the record in `path` with other values, sealed again."""
    values = json.loads(path.read_text())
    del values["seal"]
    write_record(path, schema, values | changes)


def test_hits_are_counted_over_exactly_the_validation_images(run_folder, digits):
    evaluate(run_folder, 1)
    metrics = json.loads((run_folder / "evaluation.json").read_text())
    lines = pd.read_csv(run_folder / "predictions.csv.xz", index_col=0, dtype=str).T.rename_axis("image")
    lines = lines.reset_index().to_dict("records")
    ranks = range(1, 6)
    assert list(lines[0]) == ["image", "label", *(f"{form}_{n}" for form in ("trained", "fused") for n in ranks)]
    with (digits / "manifest.csv").open() as file:
        listed = [(line["path"], line["label"]) for line in csv.DictReader(file) if line["split"] == "val"]
    assert [(line["image"], line["label"]) for line in lines] == listed
    assert metrics["images"] == len(listed) == 80
    for form in ("trained", "fused"):
        top1 = sum(line[f"{form}_1"] == line["label"] for line in lines)
        top5 = sum(line["label"] in [line[f"{form}_{rank}"] for rank in range(1, 6)] for line in lines)
        assert (metrics[form]["top1_hits"], metrics[form]["top5_hits"]) == (top1, top5)
        assert (metrics[form]["top1"], metrics[form]["top5"]) == (100 * top1 / 80, 100 * top5 / 80)
    assert metrics["logits"]["relative"] < 1e-4
    assert metrics["logits"]["difference"] == pytest.approx(
        metrics["logits"]["relative"] * metrics["logits"]["largest"]
    )
    assert json.loads((run_folder / "metrics.json").read_text()) == {
        form: {key: metrics[form][key] for key in ("top1", "top5")} for form in ("fused", "trained")
    }


def test_the_record_says_what_was_evaluated(run_folder, digits):
    evaluate(run_folder, 1)
    record = json.loads((run_folder / "evaluation.json").read_text())
    assert set(record) == {
        *("step", "preset", "of", "settings", "inputs", "outputs", "code", "seal"),
        *("time", "commit", "versions", "machine"),
        *("images", "trained", "fused", "logits"),
    }
    of = {"row": "pd_b_resnet18-standard1-skeleton", "run": "seed0"}
    assert (record["step"], record["preset"], record["of"]) == ("evaluate", "test", of)
    assert record["settings"] == {"data": make_data(digits).evaluated()}
    assert "augment" not in record["settings"]["data"]
    assert record["inputs"] == {
        "manifest.csv": sha256(digits / "manifest.csv"),
        **{name: sha256(run_folder / name) for name in ("weights.safetensors", "fused.safetensors")},
    }
    assert record["outputs"] == {name: sha256(run_folder / name) for name in ("predictions.csv.xz", "metrics.json")}
    modules = "evaluate", "data.sets.digits", "data.loaders.dali"
    assert record["code"] == fingerprint("paradise.models.pd_b", *(f"paradise.study.{module}" for module in modules))
    assert set(record["trained"]) == set(record["fused"]) == {"top1_hits", "top5_hits", "top1", "top5"}
    assert set(record["logits"]) == {"largest", "difference", "relative"}
    assert record["machine"]["threads"] == 1


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
    outputs = {"fused.safetensors": sha256(run_folder / "fused.safetensors")}
    rewritten(run_folder / "fused.json", Fused, outputs=outputs)
    evaluate(run_folder, 1)
    assert json.loads((run_folder / "evaluation.json").read_text())["logits"]["difference"] == pytest.approx(
        1, rel=1e-3
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_outputs_that_are_no_numbers_are_an_error(run_folder, value):
    state = load_file(run_folder / "fused.safetensors")
    state["fc.bias"][0] = value
    save_file(state, run_folder / "fused.safetensors")
    outputs = {"fused.safetensors": sha256(run_folder / "fused.safetensors")}
    rewritten(run_folder / "fused.json", Fused, outputs=outputs)
    with pytest.raises(UserError, match=r"fused\.safetensors: NaN or infinity in fc\.bias$"):
        evaluate(run_folder, 1)
    assert not (run_folder / "evaluation.json").exists()


def test_images_that_were_not_seen_are_an_error(run_folder, monkeypatch):
    def short(*arguments):
        return list(EvaluationLoader(*arguments))[:-1]

    monkeypatch.setattr("paradise.study.data.loaders.dali.LOADER", Loader(TrainingLoader, short))
    with pytest.raises(UserError) as refused:
        evaluate(run_folder, 1)
    assert str(refused.value) == f"{run_folder}: evaluation saw 72 images, not the 80 of the manifest"
    assert not (run_folder / "evaluation.json").exists()


def test_another_data_set_is_refused(run_folder, tmp_path, digits):
    """One that is prepared like the run's, of the same settings, and lists other images."""
    other = Path(shutil.copytree(digits, tmp_path / "digits"))
    manifest = other / "manifest.csv"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:-1]))
    rewritten(other / "prepared.json", Prepared, outputs={"manifest.csv": sha256(manifest)}, val=79)
    rewritten(run_folder / "run.json", Trained, data_folder=str(other))
    with pytest.raises(UserError) as refused:
        evaluate(run_folder, 1)
    assert str(refused.value) == f"{other} is not the data that {run_folder} was trained on; prepare or train again"
    assert not (run_folder / "evaluation.json").exists()


def test_data_prepared_with_other_settings_are_refused(run_folder, tmp_path):
    other = make_data(tmp_path / "digits", per_class=9)
    prepare(other, "test")
    rewritten(run_folder / "run.json", Trained, data_folder=other.folder)
    with pytest.raises(UserError) as refused:
        evaluate(run_folder, 1)
    assert str(refused.value) == (
        f"{other.folder} was prepared with other settings; run `paradise prepare` with this preset"
    )


@pytest.mark.parametrize("loader", ["dali", "memory"])
def test_batches_are_as_large_as_in_training_by_the_runs_own_loader(run_folder, monkeypatch, loader):
    record = json.loads((run_folder / "run.json").read_text())
    settings = {**record["settings"], "data": record["settings"]["data"] | {"loader": loader}}
    rewritten(run_folder / "run.json", Trained, settings=settings)
    sizes = []
    whole = LOADERS.get(loader)

    def noted(split, data, size, threads, device):
        sizes.append(size)
        return whole.evaluation(split, data, size, threads, device)

    monkeypatch.setattr(f"paradise.study.data.loaders.{loader}.LOADER", Loader(whole.training, noted))
    evaluate(run_folder, 1)
    assert sizes == [9]
