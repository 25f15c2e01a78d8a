"""What claims compare, what a verdict needs, and what they rest on."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import changed
from scipy import stats
from written import Right, change_record, job_of, make_preset, make_study, some_right

from paradise.study.claims import OPEN, REFUTED, SUPPORTED, Claim, claims_table, judge_claims, verdict
from paradise.study.preset import Preset
from paradise.study.results import Study


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("interval", "p", "seeds", "said"),
    [
        ((0.1, 0.5), 0.01, 3, SUPPORTED),
        ((-0.5, -0.1), 0.01, 3, REFUTED),
        ((0.1, 0.5), 0.06, 3, OPEN),
        ((-0.1, 0.5), 0.01, 3, OPEN),
        ((0.1, 0.5), 0.01, 2, OPEN),
        ((0.1, 0.5), None, 3, SUPPORTED),
        (None, 0.001, 1, OPEN),
    ],
)
def test_a_verdict_needs_seeds_images_and_an_interval_without_zero(interval, p, seeds, said):
    assert verdict(interval, p, seeds) == said


def right_as(hits: Mapping[str, Sequence[bool]]) -> Right:
    """The images that `hits` says of a run; of others some."""
    return lambda run: hits.get(str(run)) or some_right(run)


def claim(preset: Preset, begins: str) -> Claim:
    return next(claim for claim in judge_claims(Study(preset)) if claim.sentence.startswith(begins))


def test_one_seed_decides_nothing_and_says_by_how_many_images_they_differ():
    hits = {"pd_a_resnet18 seed0": [True] * 90 + [False] * 10, "pd_b_resnet18 seed0": [True] * 100}
    preset = make_study(["pd_a_resnet18", "pd_b_resnet18"], right=right_as(hits))
    compared = claim(preset, "PD-B is more accurate than PD-A").comparisons[0]
    assert compared.effect == pytest.approx(10)
    assert compared.published == pytest.approx(72.09 - 70.99, abs=0.01)
    assert compared.interval is None
    # ResNet50's pair is not here, so there is one p to adjust.
    assert compared.p == pytest.approx(2 * 0.5**10)
    assert compared.verdict == OPEN
    assert compared.anchors == ("pd_b_resnet18-seed0", "pd_a_resnet18-seed0")


def test_several_seeds_are_paired_seed_by_seed_and_image_by_image():
    generator = np.random.default_rng(0)
    hits, differences, images = {}, [], np.zeros(200, int)
    for seed in (0, 1, 2):
        summed, gated = ((generator.random(200) < share).tolist() for share in (0.6, 0.9))
        hits |= {f"pd_a_resnet18 seed{seed}": summed, f"pd_b_resnet18 seed{seed}": gated}
        differences.append((sum(gated) - sum(summed)) / 2)
        images += np.array(gated, int) - np.array(summed, int)
    preset = make_study(["pd_a_resnet18", "pd_b_resnet18"], seeds=[0, 1, 2], right=right_as(hits))
    compared = claim(preset, "PD-B is more accurate than PD-A").comparisons[0]
    assert compared.effect == pytest.approx(np.mean(differences))
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert compared.interval == pytest.approx(tuple(expected))
    assert compared.p == pytest.approx(stats.binomtest(int((images > 0).sum()), int((images != 0).sum())).pvalue)
    assert compared.verdict == SUPPORTED


def test_the_p_values_of_a_claim_are_adjusted_together():
    worse = {"resnet18": 9, "se_resnet18": 8, "ge_resnet18": 7, "ac_resnet18": 6, "pd_a_resnet18": 0}
    hits = {f"{row} seed0": [True] * (100 - count) + [False] * count for row, count in worse.items()}
    compared = claim(make_study(list(worse), right=right_as(hits)), "PD-A is more accurate than the plain").comparisons
    # By Holm: the smallest of four times 4, the next times 3, then 2, then 1; none is below the one before.
    assert [one.p for one in compared[:4]] == pytest.approx([4 * 2 / 2**9, 3 * 2 / 2**8, 2 * 2 / 2**7, 2 / 2**6])
    assert [one.p for one in compared[4:]] == [None] * 4


def test_seeds_that_only_one_row_has_are_left_out():
    preset = make_study(["pd_a_resnet18", "pd_b_resnet18"], seeds=[0, 1])
    (preset.results / "pd_a_resnet18" / "seed1" / "evaluation.json").unlink()
    compared = claim(preset, "PD-B is more accurate than PD-A").comparisons[0]
    assert compared.seeds == 1
    assert compared.anchors == ("pd_b_resnet18-seed0", "pd_a_resnet18-seed0")


def test_what_rests_on_other_predictions_than_the_records_is_not_run():
    preset = make_study(["pd_a_resnet18", "pd_b_resnet18"])
    assert claim(preset, "PD-B is more accurate than PD-A").comparisons[0].p is not None
    path = preset.results / "pd_b_resnet18" / "seed0" / "predictions.csv"
    path.write_text(path.read_text().replace("val/3/0003.png,3,3", "val/3/0003.png,3,4"))
    compared = claim(preset, "PD-B is more accurate than PD-A").comparisons[0]
    assert (compared.effect, compared.p, compared.verdict) == (None, None, "not run")


def test_runs_that_were_evaluated_on_other_images_are_not_compared_image_by_image():
    preset = make_study(["pd_a_resnet18", "pd_b_resnet18"])
    job = job_of(preset, "evaluate", row="pd_b_resnet18", run="seed0")
    for name in ("manifest.csv", "prepared.json"):
        Path(preset.data.folder, name).unlink()  # the data are elsewhere: nobody knows which images are today's
    change_record(job, inputs=Study(preset).survey.record(job).inputs | {"manifest.csv": "0" * 64})
    compared = claim(preset, "PD-B is more accurate than PD-A").comparisons[0]
    assert compared.effect is not None
    assert compared.p is None


def test_costs_are_compared_with_what_the_paper_prints():
    preset = make_study()
    gated = {"params": 11_761_512, "flops": 1_822_300_000, "macs": 1, "deploy_params": 30_249_000}
    job = job_of(preset, "complexity")
    rows = Study(preset).complexity.model_dump()["rows"]
    change_record(job, rows=rows | {"pd_b_resnet18": gated})
    assert claim(preset, "FLOPs").comparisons[1].verdict == SUPPORTED
    assert claim(preset, "Parameters").comparisons[1].verdict == SUPPORTED
    stored = claim(preset, "What a fused network keeps")
    assert stored.comparisons[1].effect == pytest.approx(18.564, abs=1e-3)
    assert stored.verdict == stored.comparisons[1].verdict == REFUTED
    assert stored.comparisons[0].verdict == SUPPORTED
    latency = claim(preset, "Latency")
    # Of the times written, those of plain networks are shorter.
    assert latency.comparisons[0].effect == pytest.approx(1.25)
    assert latency.comparisons[1].published == pytest.approx(14 / 12)


def test_an_ap_that_there_is_none_of_is_not_compared():
    preset = make_study()
    job = job_of(preset, "evaluate_detector", detector="retinanet-pd_a_resnet50", seed="0")
    nothing = dict.fromkeys(("ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l"))
    change_record(job, fused=nothing)
    first, second, *_ = claim(preset, "A PD backbone").comparisons
    assert (first.what, first.effect, first.verdict) == ("RetinaNet: PD-A-ResNet50 − ResNet50", None, "not run")
    assert (second.effect, second.published) == (0, pytest.approx(37.9 - 36.2))


def test_what_was_not_run_has_no_number():
    for found in judge_claims(Study(make_preset())):
        assert found.verdict == "not run"
        for comparison in found.comparisons:
            assert comparison.effect is None
            assert found.texts(comparison)[1:] == ["–", "–", "–"]


def test_what_is_refused_is_not_run_and_said():
    preset = make_study(["pd_a_resnet18", "pd_b_resnet18"])
    table = claims_table(Study(changed(preset, overrides={"pd_b_*": {"momentum": 0.5}})))
    compared = next(of for of in table.claims if of.sentence == "PD-B is more accurate than PD-A.").comparisons[0]
    assert (compared.effect, compared.verdict) == (None, "not run")
    assert table.notes[-1] == "Not shown: `pd_b_resnet18` seed0 (momentum changed)."


def test_a_study_without_a_section_for_detectors_shows_none_that_are_there():
    make_study()
    found = claim(make_preset(detection=None), "A PD backbone")
    assert found.verdict == "not run"


def test_the_paper_compares_what_its_tables_say():
    table = claims_table(Study(make_study()))
    assert [len(claim.comparisons) for claim in table.claims] == [8, 8, 2, 10, 4, 4, 4, 4, 4]
    assert table.markdown().count("| **") == 2 * len(table.claims)
    assert table.notes[0].endswith(" This study has 1, so no claim on accuracy can be decided by it.")
    assert len(table.notes) == 3


def test_branches_are_added_in_the_papers_order():
    added = claim(make_preset(), "Each branch adds accuracy").comparisons
    assert [one.what for one in added[5:]] == [
        "PD-B: Standard2 added to Standard1",
        "PD-B: Group added to Standard1",
        "PD-B: Skeleton added to Standard1",
        "PD-B: Group added to Standard1 + Skeleton",
        "PD-B: Standard2 added to Standard1 + Skeleton + Group",
    ]
    assert added[5].published == pytest.approx(71.8990 - 69.6349)
    assert added[9].published == pytest.approx(72.0873 - 71.8232)
