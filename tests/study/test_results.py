"""Which results of a study count, and what is said of the others."""

import json
from pathlib import Path

import pytest
from written import change_record, job_of, make_preset, make_study, other_code

from paradise.errors import UserError
from paradise.study.results import Study
from paradise.study.rows import DetectorRow, Row, Run

ROW = Row("pd_b", 18)


@pytest.fixture
def preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_study()


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_run_that_counts_has_its_record_and_what_was_measured(preset):
    (run,) = Study(preset).runs(ROW)
    assert run.run == Run(ROW, 0)
    assert run.run.anchor == "pd_b_resnet18-seed0"
    assert run.folder == Path("results/digits/pd_b_resnet18/seed0")
    assert run.record.of == {"row": "pd_b_resnet18", "seed": "0"}
    assert run.evaluation.of == {"row": "pd_b_resnet18", "run": "seed0"}
    assert run.marks == ()


def test_a_detectors_run_likewise(preset):
    row = DetectorRow("retinanet", Row("pd_b", 50))
    (run,) = Study(preset).detectors(row)
    assert run.run.anchor == "detection-retinanet-pd_b_resnet50-seed0"
    assert run.folder == Path("results/digits/detection/retinanet-pd_b_resnet50/seed0")
    assert run.record.of == run.evaluation.of == {"detector": "retinanet-pd_b_resnet50", "seed": "0"}


def test_an_edited_record_is_an_error_or_left_out(preset):
    path = job_of(preset, "evaluate", row="pd_b_resnet18", run="seed0").record
    edit(path, images=359)
    with pytest.raises(UserError) as error:
        Study(preset).runs(ROW)
    assert str(error.value).startswith(f"{path} is damaged (")
    assert str(error.value).endswith("); delete it and run snakemake")
    study = Study(preset, strict=False)
    assert study.runs(ROW) == []
    assert list(study.refused) == ["evaluate pd_b_resnet18 seed0"]
    assert len(Study(preset, strict=False).runs(Row("plain", 18))) == 1


@pytest.mark.parametrize("name", ["complexity", "latency", "detection"])
def test_a_damaged_profile_is_an_error_or_left_out(preset, name):
    Path(f"results/digits/profile/{name}.json").write_text("[]")
    with pytest.raises(UserError, match=rf"^results/digits/profile/{name}\.json is damaged \(it is no JSON object\)"):
        Study(preset)
    study = Study(preset, strict=False)
    assert getattr(study, name) is None
    assert len(study.refused) == 1


def test_a_run_of_other_settings_is_refused_and_said(preset):
    study = Study(make_preset(training={"momentum": 0.5}))
    assert study.runs(ROW) == []
    assert list(study.refused) == ["evaluate pd_b_resnet18 seed0", "train pd_b_resnet18 seed0"]
    assert [[str(reason) for reason in reasons] for reasons in study.refused.values()] == [["momentum changed"]] * 2


def test_a_run_of_other_code_is_marked_and_said(preset):
    other_code(job_of(preset, "train", row="pd_b_resnet18", seed="0"), "paradise.dynamic")
    study = Study(preset)
    (run,) = study.runs(ROW)
    assert [str(mark) for mark in run.marks] == ["other code in dynamic"]
    assert set(study.marked) == {"evaluate pd_b_resnet18 seed0", "train pd_b_resnet18 seed0"}


def test_an_evaluation_without_its_run_does_not_count(preset):
    job_of(preset, "train", row="pd_b_resnet18", seed="0").record.unlink()
    assert Study(preset).runs(ROW) == []


def test_a_profile_of_other_settings_does_not_count(preset):
    job = job_of(preset, "latency")
    change_record(job, settings=job.settings | {"rounds": 1})
    study = Study(preset)
    assert study.latency is None
    assert [str(reason) for reason in study.refused["latency"]] == ["rounds changed"]


def test_what_cannot_be_shown_can_be_left_out(preset):
    study = Study(preset)
    study.leave_out(job_of(preset, "make_evidence", piece="gradcam"), "it says nothing")
    assert [(key, str(reason), reason.kind) for key, (reason,) in study.refused.items()] == [
        ("make_evidence gradcam", "it says nothing", "damaged")
    ]


def test_without_a_section_there_are_no_detectors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = Study(make_study(["resnet18"]))
    assert study.detection is None
    assert study.detectors(DetectorRow("retinanet", Row("plain", 50))) == []
