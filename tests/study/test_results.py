"""Which records count: whole, unedited, and of the preset's settings now."""

import json

import pytest
from conftest import write

from paradise.study.causes import seal
from paradise.errors import UserError
from paradise.study.results import Study


def edit(path, **changes):
    record = json.loads(path.read_text())
    write(path, record | changes)


def test_a_sealed_record_counts_until_it_is_edited(recorded, digits_preset):
    path = recorded / "resnet18" / "seed0" / "evaluation.json"
    record = json.loads(path.read_text())
    write(path, record | {"seal": seal(record)})
    assert len(Study(digits_preset, recorded).runs("resnet18")) == 1
    edit(path, fused=record["fused"] | {"top1": 99.9})
    with pytest.raises(UserError, match="edited by hand"):
        Study(digits_preset, recorded).runs("resnet18")
    study = Study(digits_preset, recorded, strict=False)
    assert study.runs("resnet18") == []
    assert study.damaged == [f"{path} (edited by hand)"]


@pytest.mark.parametrize("name", ["complexity", "latency", "detection"])
def test_a_damaged_profile_is_left_out(recorded, digits_preset, name):
    (recorded / "profile" / f"{name}.json").write_text("[]")
    with pytest.raises(UserError, match="damaged"):
        Study(digits_preset, recorded)
    study = Study(digits_preset, recorded, strict=False)
    assert getattr(study, name) == {"rows": {}}
    assert len(study.damaged) == 1


def test_a_run_is_named_for_the_report_and_its_place(recorded, digits_preset):
    (run,) = Study(digits_preset, recorded).runs("pd_b_resnet18")
    assert run["anchor"] == "pd_b_resnet18-seed0"
    assert run["folder"] == recorded / "pd_b_resnet18" / "seed0"


def test_a_run_of_other_settings_is_stale(recorded, digits_preset):
    digits_preset["training"]["momentum"] = 0.5
    study = Study(digits_preset, recorded)
    assert study.runs("resnet18") == []
    assert study.stale == ["resnet18 seed0"]
