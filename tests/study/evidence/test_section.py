"""What the report's sections of evidence say, from records made by hand."""

import json

import numpy as np

from paradise.study import figures
from paradise.study.evidence.measures.gradcam import pack
from paradise.study.evidence.section import Section, spread
from paradise.study.evidence.starts import STARTS
from paradise.study.provenance import begin_record
from paradise.study.records import EvidenceRecord
from paradise.study.registry import EVIDENCE

BRANCHES = ["standard1", "standard2", "skeleton", "group"]


def record_of(name: str, evidence: dict) -> EvidenceRecord:
    record = begin_record("make_evidence", "digits", {"piece": name}, {}, {}, ["paradise.study.evidence.make"])
    rest = {"outputs": {}, "evidence": evidence, "seal": "0" * 64}
    return EvidenceRecord.model_validate(record | rest)


def shown(name: str, evidence: dict) -> Section:
    section: Section = figures.styled(EVIDENCE.get(name).show)(None, record_of(name, evidence))
    assert len(section.sentences) == 3
    assert all(len(line) == len(section.columns) for line in section.lines)
    return section


def test_a_spread_is_of_several_values():
    assert spread([1.25], 1) == "1.2"
    assert spread([1, 3], 2) == "2.00 ± 1.41"


def lottery(**last: list[float]) -> dict:
    starts = {start: [50.0, 51.0] for start in STARTS} | last
    curves = {start: {str(seed): [40.0, value] for seed, value in enumerate(of)} for start, of in starts.items()}
    return {"curves": curves, "images": 10_000}


def test_a_start_is_ahead_by_more_than_seeds_and_images_may_vary():
    section = shown("lottery", lottery(maximum=[60.0, 61.1], magnitude=[60.0, 80.0], fused=[50.5, 51.6]))
    assert section.sentences[2].startswith(
        "Ahead of the control with random kernels, by more than the scatter of seeds and images, were after the first "
        "epoch none, after the last “element-wise maximum of the branches”; that"
    )
    assert section.lines[1] == ["random kernels, the rest trained", "40.0 ± 0.0", "50.50 ± 0.71", "–", "–"]
    assert section.lines[2][3:] == ["+10.05", "+9.41 to +10.69"]


def test_perceptrons_ahead_of_the_plain_one_are_named():
    runs = {"plain": [50.0, 51.0], "summed": [55.0, 56.1], "gated": [55.0, 75.0], "wide": [49.0, 52.0]}
    kinds = {
        kind: {
            "runs": {str(s): {"accuracy": [40.0, last], "fused_accuracy": last} for s, last in enumerate(of)},
            "params_training": 4000,
            "params_fused": 1000,
        }
        for kind, of in runs.items()
    }
    section = shown("perceptrons", {"kinds": kinds, "hidden": 64, "branches": 4})
    assert section.sentences[2] == "Ahead of the plain one by more than the scatter of seeds and images: summed, PD-A."
    assert section.lines[1] == ["summed, PD-A", "4,000", "1,000", "40.0 ± 0.0", "55.55 ± 0.78"]


def diversity() -> dict:
    likeness = np.full((4, 4), 0.1) + np.diag([0.9] * 4)
    likeness[0, 1] = likeness[1, 0] = -0.3
    layer = {
        "kernel_similarity": likeness.tolist(),
        "output_similarity": (-likeness).tolist(),
        "histograms": [[0.5, 0.5]] * 4,
    }
    gate = {
        "layers": {"layer1.0.conv1": {"mean": [0.25] * 4, "std": [0.1] * 4, "by_class": [[0.2] * 4, [0.4] * 4]}},
        "accuracy": 90.0,
        "accuracy_frozen": 80.0,
        "right_only_with_gate": 9,
        "right_only_frozen": 1,
    }
    rows = {"pd_a_resnet18": {}, "pd_b_resnet18": {"gate": gate}}
    layers = {"branches": BRANCHES, "layers": {"layer1.0.conv1": layer}}
    return {"edges": [-1, 0, 1], "rows": {row: layers | more for row, more in rows.items()}}


def test_diversity_is_between_different_branches_and_a_gate_is_tested_over_images():
    section = shown("diversity", diversity())
    assert section.sentences[1] == (
        "No two kernels of a block have a cosine above 0.30 in size; the outputs' mean correlation is -0.03 to -0.03: "
        "the branches compute different things."
    )
    assert section.sentences[2].endswith("accuracy goes: PD-B-ResNet18 90.00 → 80.00 % (p = 0.02).")
    assert section.lines == [
        ["PD-A-ResNet18", "+0.033", "−0.033", "–", "–", "–", "–", "–"],
        ["PD-B-ResNet18", "+0.033", "−0.033", "0.100", "0.100", "90.00", "80.00", "9, 1"],
    ]


def test_the_most_and_the_least_lost_without_a_branch_are_named():
    without = {"pd_a_resnet18": (10.0, 80.0, 70.0, 60.0), "pd_b_resnet18": (20.0, 90.5, 70.0, 60.0)}
    rows = {row: {"whole": 90.0, "without": dict(zip(BRANCHES, of))} for row, of in without.items()}
    section = shown("pruning", {"rows": rows, "images": 1360})
    assert section.sentences[1] == (
        "Most is lost without Standard1 in PD-A-ResNet18 (80.0 points), least without Standard2 in PD-B-ResNet18 "
        "(-0.5 points)."
    )
    assert section.columns[2:] == ["without Standard1", "without Standard2", "without Skeleton", "without Group"]
    assert section.lines[0] == ["PD-A-ResNet18", "90.00", "10.00", "80.00", "70.00", "60.00"]


def gradcam() -> dict:
    rows = ("resnet18", "se_resnet18", "pd_a_resnet18")
    arrays = {row: np.ones((2, 4, 4), np.float16) for row in rows} | {"images": np.zeros((2, 32, 32, 3), np.uint8)}
    measured = {"stage": "layer2", "predicted": [0, 1], "share_above_half": 0.2}
    likeness = dict(zip(rows, (1.0, 0.9, 0.4)))
    return {
        "rows": {row: measured | {"likeness_to_plain": likeness[row]} for row in rows},
        "labels": [0, 1],
        "classes": ["$a$", "b"],
        "images": 200,
        "arrays": pack(arrays),
    }


def test_maps_are_compared_with_the_plain_networks_and_left_out_of_the_printed_record():
    section = shown("gradcam", gradcam())
    assert "maps (4×4) are fine enough" in section.sentences[0]
    assert section.sentences[1] == (
        "On 200 validation images SE-ResNet18's maps are most like the plain network's (correlation 0.90), "
        "PD-A-ResNet18's least (0.40)."
    )
    assert section.lines[2] == ["PD-A-ResNet18", "layer2", "20.0%", "0.40"]
    (axis,) = section.figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["image", "ResNet18", "SE", "PD-A"]
    assert [label.get_text() for label in axis.get_xticklabels()] == [r"\$a\$", "b"]
    assert json.loads(section.record)["evidence"]["arrays"] == "…"
    assert (section.name, section.title) == ("gradcam", "Grad-CAM")
