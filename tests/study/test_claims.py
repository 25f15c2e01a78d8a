"""What claims compare, what a verdict needs, and what they rest on."""

import json
import lzma
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, changed
from scipy import stats
from statsmodels.stats.multitest import multipletests
from written import Right, change_record, job_of, make_preset, make_study, some_right

from paradise.study.claims import (
    CONTRADICTED,
    NO_DIFFERENCE,
    NO_VERDICT,
    NOT_TESTED,
    OPEN,
    SUPPORTED,
    Claim,
    claims_table,
    judge_claims,
    verdict,
)
from paradise.study.hashes import sha256
from paradise.study.preset import Preset
from paradise.study.results import Study
from paradise.study.statistics import crossed_mean


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("effect", "p", "p_outside", "said"),
    [
        (0.3, 0.01, 0.9, SUPPORTED),
        (-0.3, 0.01, 0.9, CONTRADICTED),
        (0.3, 0.01, 0.01, SUPPORTED),  # the first that applies
        (0.1, 0.06, 0.01, NO_DIFFERENCE),
        (-0.1, 0.06, 0.01, NO_DIFFERENCE),
        (0.3, 0.06, 0.06, OPEN),
        (0.3, 0.05, 0.05, OPEN),
    ],
)
def test_the_first_verdict_that_applies_is_given(effect, p, p_outside, said):
    assert verdict(effect, p, p_outside) == said


def right_as(hits: Mapping[str, Sequence[bool]]) -> Right:
    """The images that `hits` says of a run; of others some."""
    return lambda run: hits.get(str(run)) or some_right(run)


def claim(preset: Preset, begins: str) -> Claim:
    return next(claim for claim in judge_claims(Study(preset)) if claim.sentence.startswith(begins))


def drawn(share: Mapping[str, float], seeds: Sequence[int], images: int = 360) -> dict[str, list[bool]]:
    """Hits of rows that are right on a share of the images, each seed and image for itself."""
    generator = np.random.default_rng(0)
    return {
        f"{row} seed{seed}": (generator.random(images) < of).tolist() for row, of in share.items() for seed in seeds
    }


def test_one_seed_decides_nothing():
    hits = {"pd_a_resnet18 seed0": [True] * 90 + [False] * 10, "pd_b_resnet18 seed0": [True] * 100}
    preset = make_study(["pd_a_resnet18", "pd_b_resnet18"], right=right_as(hits))
    compared = claim(preset, "PD-B is more accurate than PD-A").comparisons[0]
    assert compared.effect == pytest.approx(10)
    assert compared.published == pytest.approx(72.09 - 70.99, abs=0.01)
    assert (compared.interval, compared.p, compared.better, compared.verdict) == (None, None, None, NO_VERDICT)
    assert compared.why_not == "the rows have 1 seed in common, and 3 are needed"
    assert compared.anchors == ("pd_b_resnet18-seed0", "pd_a_resnet18-seed0")


def test_several_seeds_are_paired_seed_by_seed_and_image_by_image():
    hits = drawn({"pd_a_resnet18": 0.6, "pd_b_resnet18": 0.9}, [0, 1, 2])
    preset = make_study(["pd_a_resnet18", "pd_b_resnet18"], seeds=[0, 1, 2], right=right_as(hits))
    found = claim(preset, "PD-B is more accurate than PD-A")
    compared = found.comparisons[0]
    gated, summed = (np.array([hits[f"{row}_resnet18 seed{n}"] for n in range(3)], int) for row in ("pd_b", "pd_a"))
    expected = crossed_mean(100.0 * (gated - summed))
    assert compared.effect == pytest.approx(expected.mean)
    assert compared.interval == expected.interval
    assert (compared.p, compared.verdict, compared.seeds) == (expected.p, SUPPORTED, 3)
    assert compared.better == 1
    assert found.texts(compared)[3:] == [f"{expected.p:.3f}", "100%", SUPPORTED]
    assert claim(preset, "PD-A is more accurate").tested == []


def test_a_reader_can_compute_it_again_by_the_lines_in_the_docs(capsys):
    seeds = [0, 1, 2, 3, 4]
    hits = drawn({"resnet18": 0.6, "pd_b_resnet18": 0.65}, seeds)
    preset = make_study(["resnet18", "pd_b_resnet18"], seeds=seeds, name="cifar-100-cpu", right=right_as(hits))
    found = claim(preset, "ParaDise is more accurate")
    _, measured, interval, *_ = found.texts(found.tested[0])
    (code,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "docs" / "verdicts.md").read_text(), re.DOTALL)
    exec(code, {})
    said, low, high = re.fullmatch(r"([+-]\S+) points, (\S+) to (\S+)\n", capsys.readouterr().out).groups()
    assert f"{said} points".replace("-", "−") == measured
    assert f"{low} to {high}".replace("-", "−") == interval


def test_the_same_seen_from_the_other_side_contradicts():
    hits = drawn({"pd_a_resnet18": 0.9, "pd_b_resnet18": 0.6}, [0, 1, 2])
    preset = make_study(["pd_a_resnet18", "pd_b_resnet18"], seeds=[0, 1, 2], right=right_as(hits))
    compared = claim(preset, "PD-B is more accurate than PD-A").comparisons[0]
    assert (compared.verdict, compared.better) == (CONTRADICTED, 0)


def test_networks_that_are_right_on_the_same_images_do_not_differ():
    preset = make_study(
        ["pd_a_resnet18", "pd_b_resnet18"], seeds=[0, 1, 2], right=lambda run: [True] * 300 + [False] * 60
    )
    compared = claim(preset, "PD-B is more accurate than PD-A").comparisons[0]
    assert (compared.verdict, compared.effect, compared.interval, compared.better) == (NO_DIFFERENCE, 0, (0, 0), 0.5)


def test_what_is_not_decided_says_what_would_have_been_seen_and_how_many_seeds_would_decide():
    hits = drawn({"pd_a_resnet18": 0.80, "pd_b_resnet18": 0.815}, [0, 1, 2])
    preset = make_study(["pd_a_resnet18", "pd_b_resnet18"], seeds=[0, 1, 2], right=right_as(hits))
    found = claim(preset, "PD-B is more accurate than PD-A")
    compared = found.comparisons[0]
    gated, summed = (np.array([hits[f"{row}_resnet18 seed{n}"] for n in range(3)], int) for row in ("pd_b", "pd_a"))
    mean = crossed_mean(100.0 * (gated - summed))
    assert compared.verdict == OPEN
    assert (compared.smallest_seen, compared.seeds_to_decide) == (mean.smallest_seen(), mean.seeds_to_decide(0.5))
    words = (
        f"{mean.seeds_to_decide(0.5)} seeds would decide"
        if mean.seeds_to_decide(0.5)
        else "more seeds would not decide"
    )
    assert found.texts(compared)[-1] == f"not decided ({mean.smallest_seen():.2f} points would have been seen; {words})"


def test_the_p_values_of_a_claim_are_adjusted_together():
    rows = ["pd_a_resnet18", "se_resnet18", "ge_resnet18", "ac_resnet18"]
    shares = dict(zip(rows, (0.85, 0.84, 0.80, 0.70)))
    hits = drawn(shares, [0, 1, 2])
    preset = make_study(rows, seeds=[0, 1, 2], right=right_as(hits))
    compared = claim(preset, "PD-A is more accurate than SE").comparisons[:3]
    summed, *others = (np.array([hits[f"{row} seed{n}"] for n in range(3)], int) for row in rows)
    means = [crossed_mean(100.0 * (summed - other)) for other in others]
    assert [one.p for one in compared] == pytest.approx(multipletests([of.p for of in means], method="holm")[1])
    # What is left open shares the error with the two others of its claim.
    assert compared[0].verdict == OPEN
    assert compared[0].smallest_seen == means[0].smallest_seen(3) > means[0].smallest_seen()


def test_no_seed_is_left_out():
    preset = make_study(["pd_a_resnet18", "pd_b_resnet18"], seeds=[0, 1, 2, 3])
    (preset.results / "pd_a_resnet18" / "seed1" / "evaluation.json").unlink()
    compared = claim(preset, "PD-B is more accurate than PD-A").comparisons[0]
    assert (compared.seeds, compared.interval, compared.verdict) == (3, None, NO_VERDICT)
    assert compared.why_not == "seed 1 is not there of both rows"
    assert compared.anchors[:2] == ("pd_b_resnet18-seed0", "pd_a_resnet18-seed0")


def test_rows_with_fewer_seeds_are_compared_by_those():
    rows = ["ac_resnet18", "pd_a_resnet18-standard1-skeleton-group"]
    preset = make_study(rows, seeds=[0, 1, 2, 3, 4], row_seeds={"*-group": [0, 1, 2]})
    compared = claim(preset, "Each branch adds accuracy").tested
    assert [(one.what, one.seeds) for one in compared] == [("PD-A: Group added to Standard1 + Skeleton", 3)]
    assert compared[0].interval is not None


def test_rows_without_a_seed_in_common_have_no_verdict():
    preset = make_study(["pd_a_resnet18", "pd_b_resnet18"], seeds=[0, 1, 2], row_seeds={"pd_b_*": [3, 4, 5]})
    compared = claim(preset, "PD-B is more accurate than PD-A").comparisons[0]
    assert (compared.effect, compared.verdict) == (None, NO_VERDICT)
    assert compared.why_not == "the rows have 0 seeds in common, and 3 are needed"


def test_rows_of_other_recipes_have_no_verdict_and_no_number():
    preset = make_study(["pd_a_resnet18", "pd_b_resnet18"], seeds=[0, 1, 2], overrides={"pd_b_*": {"momentum": 0.5}})
    table = claims_table(Study(preset))
    compared = next(of for of in table.claims if of.sentence == "PD-B is more accurate than PD-A.").comparisons[0]
    assert (compared.effect, compared.interval, compared.verdict) == (None, None, NO_VERDICT)
    why = "No verdict, as the rows have other recipes (momentum): PD-B-ResNet18 − PD-A-ResNet18."
    assert why in table.notes


def test_a_plain_network_that_was_trained_as_long_is_compared_but_for_its_epochs():
    rows, seeds = ["resnet18", "resnet18-longer", "pd_a_resnet18", "pd_b_resnet18"], [0, 1, 2]
    longer = {"resnet18-longer": {"epochs": 8}}
    hits = drawn({"resnet18-longer": 0.9, "resnet18": 0.7, "pd_a_resnet18": 0.7, "pd_b_resnet18": 0.95}, seeds)
    preset = make_study(rows, seeds=seeds, overrides=longer, right=right_as(hits))
    gated, summed = claim(preset, "Not the paper's").comparisons[:2]
    assert (gated.what, gated.published) == ("PD-B-ResNet18 − ResNet18, trained longer", None)
    assert (gated.verdict, summed.verdict) == (SUPPORTED, CONTRADICTED)
    assert claim(preset, "ParaDise is more accurate").tested[0].what == "PD-B-ResNet18 − ResNet18"
    other = longer | {"resnet18-longer": {"epochs": 8, "momentum": 0.5}}
    preset = make_study(rows, seeds=seeds, overrides=other, name="other")
    assert claim(preset, "Not the paper's").comparisons[0].why_not == "the rows have other recipes (momentum)"
    with pytest.raises(StopIteration):
        claim(make_study(rows[:1]), "Not the paper's")


def test_what_rests_on_other_predictions_than_the_records_is_not_run():
    preset = make_study(["pd_a_resnet18", "pd_b_resnet18"], seeds=[0, 1, 2])
    assert claim(preset, "PD-B is more accurate than PD-A").comparisons[0].p is not None
    for seed in (0, 1, 2):
        path = preset.results / "pd_b_resnet18" / f"seed{seed}" / "predictions.csv.xz"
        path.write_bytes(lzma.compress(lzma.decompress(path.read_bytes()).replace(b"fused_1,0", b"fused_1,1")))
    compared = claim(preset, "PD-B is more accurate than PD-A").comparisons[0]
    assert (compared.effect, compared.p, compared.verdict) == (None, None, "not run")


def test_runs_that_were_evaluated_on_other_images_are_not_compared():
    preset = make_study(["pd_a_resnet18", "pd_b_resnet18"], seeds=[0, 1, 2])
    job = job_of(preset, "evaluate", row="pd_b_resnet18", run="seed0")
    for name in ("manifest.csv", "prepared.json"):
        Path(preset.data.folder, name).unlink()  # the data are elsewhere: nobody knows which images are today's
    change_record(job, inputs=Study(preset).survey.record(job).inputs | {"manifest.csv": "0" * 64})
    compared = claim(preset, "PD-B is more accurate than PD-A").comparisons[0]
    assert (compared.effect, compared.verdict) == (None, NO_VERDICT)
    assert compared.why_not == "the rows were evaluated on other images"


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
    assert stored.comparisons[1].verdict == CONTRADICTED
    assert stored.comparisons[0].verdict == SUPPORTED
    latency = claim(preset, "Latency")
    # Of the times written, those of plain networks are shorter.
    assert latency.comparisons[0].effect == pytest.approx(1.25)
    assert latency.comparisons[1].published == pytest.approx(14 / 12)


def aps(preset: Preset, ap: Mapping[str, Sequence[float]]) -> None:
    """Gives detectors average precisions, seed by seed."""
    for row, values in ap.items():
        for seed, value in enumerate(values):
            job = job_of(preset, "evaluate_detector", detector=row, seed=str(seed))
            change_record(job, fused=dict.fromkeys(("ap", "ap50", "ap75", "ap_s", "ap_m", "ap_l"), value))
            metrics = job.record.with_name("metrics.json")
            said = json.loads(metrics.read_text())
            metrics.write_text(json.dumps(said | {"fused": dict.fromkeys(said["fused"], value)}))
            change_record(job, outputs={"metrics.json": sha256(metrics)})


def test_average_precision_is_compared_over_seeds_alone():
    preset = make_study(seeds=[0, 1, 2])
    plain, gated = [20.0, 22.0, 21.0], [24.0, 27.0, 25.5]
    aps(preset, {"retinanet-resnet50": plain, "retinanet-pd_b_resnet50": gated})
    found = claim(preset, "A PD backbone")
    compared = found.comparisons[1]
    assert compared.what == "RetinaNet: PD-B-ResNet50 − ResNet50"
    expected = stats.ttest_1samp(np.subtract(gated, plain), 0)
    assert compared.effect == pytest.approx(4.5)
    assert compared.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert (compared.verdict, compared.better) == (SUPPORTED, 1)
    assert compared.p >= expected.pvalue


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
        for comparison in found.comparisons:
            assert (comparison.verdict, comparison.effect) == ("not run", None)
            assert found.texts(comparison)[1:] == ["–", "–", "–", "–", "not run"]


def test_what_is_refused_is_not_run_and_said():
    preset = make_study(["pd_a_resnet18", "pd_b_resnet18"])
    both = changed(preset, overrides={"pd_?_*": {"momentum": 0.5}})
    table = claims_table(Study(both))
    compared = next(of for of in table.claims if of.sentence == "PD-B is more accurate than PD-A.").comparisons[0]
    assert (compared.effect, compared.verdict) == (None, "not run")
    assert table.notes[-1] == "Not shown: `pd_a_resnet18` seed0, `pd_b_resnet18` seed0 (momentum changed)."


def test_rows_that_a_study_has_not_are_not_tested_and_said_in_one_line():
    table = claims_table(Study(make_study(["pd_a_resnet18", "pd_b_resnet18"])))
    assert next(claim.sentence for claim in table.tested) == "PD-B is more accurate than PD-A."
    assert "SE-ResNet18" not in table.markdown()
    (note,) = [note for note in table.notes if note.startswith("Not tested here")]
    assert note.startswith(
        "Not tested here, as the study has not both rows: PD-B-ResNet18 − ResNet18; PD-A-ResNet18 − ResNet18; PD-B-R"
    )
    assert note.endswith(" more.")
    lines = [line for line in table.csv_lines if line["verdict"] == NOT_TESTED]
    assert len(lines) == 4 + 6 + 6 + 1 + 10 + 3 * 4 + 2 + 4  # a plain network is always timed


def test_a_study_without_a_section_for_detectors_shows_none_that_are_there():
    make_study()
    assert claim(make_preset(detection=None), "A PD backbone").tested == []


def test_the_paper_compares_what_its_tables_say():
    table = claims_table(Study(make_study()))
    assert [len(claim.comparisons) for claim in table.claims] == [4, 6, 6, 2, 10, 4, 4, 4, 4, 4]
    assert table.markdown().count("| **") == len(table.claims)
    assert "docs/analysis-plan.md" in table.notes[0]
    assert table.notes[3].startswith("No verdict, as the rows have 1 seed in common, and 3 are needed: ")
    assert table.counts[-1] == (NO_VERDICT, 32)
    assert len(table.notes) == 4


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
