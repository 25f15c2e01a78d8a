"""Evidence of a small study, from its networks to its sections."""

import contextlib
import json
from pathlib import Path

import pytest
from conftest import PAPER, changed, make_preset

from paradise.errors import UserError
from paradise.study.evidence.make import make_evidence
from paradise.study.evidence.section import sections
from paradise.study.hashes import sha256
from paradise.study.preset import Preset
from paradise.study.records import EvidenceRecord, read_record, write_record
from paradise.study.registry import EVIDENCE
from paradise.study.results import Study
from paradise.study.stale import Survey
from paradise.study.steps.make_evidence import STEP
from paradise.study.training.loop import train

MADE = ["perceptrons", "diversity", "pruning", "gradcam"]  # all but the lottery, which is trained for longer


def small_preset(digits: Path) -> Preset:
    rows = ["resnet18", "pd_a_resnet18", "pd_b_resnet18"]
    return changed(make_preset(digits), rows=rows, evidence={"seeds": [0]})


def with_paper(folder: Path) -> Path:
    """`folder` as a study is made in, with the published tables."""
    (folder / "data").mkdir()
    (folder / "data" / "paper").symlink_to(PAPER)
    return folder


@pytest.fixture(scope="module")
def study(digits, tmp_path_factory):
    """A preset whose rows were trained and whose evidence was measured, in the folder that the test is in."""
    preset = small_preset(digits)
    with contextlib.chdir(with_paper(tmp_path_factory.mktemp("study"))):
        for run in preset.runs:
            train(run, preset, 1, run.folder(preset.results), 0)
        for name in MADE:
            make_evidence(name, preset, 1, 0)
        yield preset


def test_a_piece_that_is_none_is_named(digits):
    with pytest.raises(UserError) as caught:
        make_evidence("prunning", small_preset(digits), 1, 0)
    assert str(caught.value) == "unknown piece of evidence 'prunning'; did you mean 'pruning'?"


def test_a_network_that_is_not_there_is_named(digits, tmp_path, monkeypatch):
    preset = small_preset(digits)
    monkeypatch.chdir(with_paper(tmp_path))
    with pytest.raises(UserError) as caught:
        make_evidence("pruning", preset, 1, 0)
    assert str(caught.value) == (
        "results/test/pd_a_resnet18/seed0/weights.safetensors is missing, which 'pruning' is measured on; run "
        "`snakemake results/test/evidence/pruning.json`"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_its_record_is_what_its_step_declares(study, name):
    job = STEP.job(study, piece=name)
    assert Survey(study).why_stale(job) == ()
    record = read_record(job.record, EvidenceRecord)
    assert (record.piece, record.outputs, record.machine.threads) == (name, {}, 1)
    places = record.inputs.keys() - {"manifest.csv"}
    assert {place: sha256(study.results / place) for place in places} == {p: record.inputs[p] for p in places}
    assert len(places) == {"perceptrons": 0, "diversity": 2, "pruning": 2, "gradcam": 3}[name]


@pytest.mark.slow
def test_what_is_measured_of_networks(study):
    diversity, pruning, gradcam = (
        read_record(STEP.job(study, piece=name).record, EvidenceRecord).evidence for name in MADE[1:]
    )
    assert list(diversity["rows"]) == list(pruning["rows"]) == ["pd_a_resnet18", "pd_b_resnet18"]
    assert "gate" not in diversity["rows"]["pd_a_resnet18"]
    gate = diversity["rows"]["pd_b_resnet18"]["gate"]
    changed_hits = gate["right_only_with_gate"] - gate["right_only_frozen"]
    assert gate["accuracy"] - gate["accuracy_frozen"] == pytest.approx(100 * changed_hits / 80)
    assert gate["accuracy"] == pruning["rows"]["pd_b_resnet18"]["whole"]
    assert len(gate["layers"]) == len(diversity["rows"]["pd_b_resnet18"]["layers"]) == 16
    assert all(sum(layer["mean"]) == pytest.approx(1, abs=1e-3) for layer in gate["layers"].values())
    assert gradcam["rows"]["resnet18"]["likeness_to_plain"] == pytest.approx(1)
    assert gradcam["labels"] == list(range(8))


@pytest.mark.slow
def test_the_sections_are_in_the_pieces_order(study):
    shown = Study(study)
    made = sections(shown)
    assert [section.name for section in made] == MADE
    assert [section.title for section in made] == [EVIDENCE.get(name).title for name in MADE]
    assert shown.refused == {}


@contextlib.contextmanager
def edited(path, edit):
    original = path.read_text()
    edit(path)
    try:
        yield
    finally:
        path.write_text(original)


def without_rows(path):
    """As code might leave it that measures something else."""
    record = json.loads(path.read_text())
    del record["seal"]
    write_record(path, EvidenceRecord, record | {"evidence": {"rows": {}}})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (without_rows, "{path} cannot be shown (ValueError('max() arg is an empty sequence'))"),
        (
            lambda path: path.write_text(path.read_text().replace("standard1", "standard2")),
            "{path} is damaged (edited by hand)",
        ),
    ],
)
def test_evidence_that_cannot_be_shown_is_said_and_the_rest_shown(study, edit, reason):
    path = STEP.job(study, piece="pruning").record
    with edited(path, edit):
        shown = Study(study, strict=False)
        assert [section.name for section in sections(shown)] == ["perceptrons", "diversity", "gradcam"]
        assert {job: list(map(str, reasons)) for job, reasons in shown.refused.items()} == {
            "make_evidence pruning": [reason.format(path=path)]
        }
