"""The claims' arithmetic against scipy and statsmodels, and what a verdict needs."""

import json

import numpy as np
import pytest
from conftest import PAPER, write_run
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from paradise.study import claims
from paradise.study.claims import OPEN, REFUTED, SUPPORTED, Study, holm, mean_interval, ratio_of_medians, sign_test, verdict
from paradise.study.files import sha256

counts = st.integers(0, 300)


@given(counts, counts)
def test_the_sign_test_is_mcnemars_exact_one(better, worse):
    expected = mcnemar([[1, better], [worse, 1]], exact=True).pvalue
    assert sign_test(better, worse) == pytest.approx(expected if better + worse else 1.0)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=12))
def test_the_interval_is_students(values):
    low, high = mean_interval(values)
    if np.ptp(values) < 1e-9:
        assert low == pytest.approx(high)
    else:
        expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (low, high) == pytest.approx((expected.low, expected.high))


def test_one_value_has_no_interval():
    assert mean_interval([3.0]) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_p_values_are_adjusted_by_holms_method(values):
    assert holm(values) == pytest.approx(multipletests(values, method="holm")[1].tolist())


def test_the_interval_of_a_ratio_of_medians_holds_the_true_ratio_about_as_often_as_it_says():
    generator, inside = np.random.default_rng(0), 0
    for _ in range(400):
        rows = []
        for scale in (12, 10):
            times = scale * (1 + generator.normal(0, 0.1, 100))
            rows.append({"median_ms": np.median(times), "quartiles_ms": np.quantile(times, [0.25, 0.75])})
        ratio, low, high = ratio_of_medians(*rows, 100)
        assert ratio == rows[0]["median_ms"] / rows[1]["median_ms"]
        inside += low <= 1.2 <= high
    # Of 400 that are right 95 times of 100, between 369 and 390, 99 times of 100.
    assert 369 <= inside <= 390


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


def predict(results, row, seed, hits):
    """Predictions with right ones where `hits` says so, and an evaluation that fits."""
    folder = results / row / f"seed{seed}"
    lines = [f"val/{i}.png,1,{0 if hit else 2},{1 if hit else 2}" for i, hit in enumerate(hits)]
    (folder / "predictions.csv").write_text("\n".join(["image,label,trained_1,fused_1", *lines]) + "\n")
    evaluation = json.loads((folder / "evaluation.json").read_text())
    evaluation["fused"]["top1"] = 100 * sum(hits) / len(hits)
    evaluation["files"]["predictions.csv"] = sha256(folder / "predictions.csv")
    (folder / "evaluation.json").write_text(json.dumps(evaluation))


def claim(results, preset, begins):
    return next(claim for claim in claims.claims(Study(preset, results), PAPER) if claim.sentence.startswith(begins))


def test_one_seed_decides_nothing_and_says_by_how_many_images_they_differ(recorded, digits_preset):
    right = [True] * 90 + [False] * 10
    predict(recorded, "pd_a_resnet18", 0, right)
    predict(recorded, "pd_b_resnet18", 0, [True] * 100)
    compared = claim(recorded, digits_preset, "PD-B is more accurate than PD-A").comparisons[0]
    assert compared.effect == pytest.approx(10)
    assert compared.published == pytest.approx(72.09 - 70.99, abs=0.01)
    assert compared.interval is None
    # ResNet50's pair has no predictions here, so there is one p to adjust.
    assert compared.p == pytest.approx(2 * 0.5**10)
    assert compared.verdict == OPEN
    assert compared.anchors == ("pd_b_resnet18-seed0", "pd_a_resnet18-seed0")


def test_several_seeds_are_paired_seed_by_seed_and_image_by_image(recorded, digits_preset):
    digits_preset["seeds"] = [0, 1, 2]
    generator = np.random.default_rng(0)
    differences, images = [], np.zeros(200, int)
    for seed in digits_preset["seeds"]:
        hits = {
            "pd_a_resnet18": (generator.random(200) < 0.6).tolist(),
            "pd_b_resnet18": (generator.random(200) < 0.9).tolist(),
        }
        for row, right in hits.items():
            write_run(recorded, digits_preset, row, seed, hits=1)
            predict(recorded, row, seed, right)
        differences.append((sum(hits["pd_b_resnet18"]) - sum(hits["pd_a_resnet18"])) / 2)
        images += np.array(hits["pd_b_resnet18"], int) - np.array(hits["pd_a_resnet18"], int)
    compared = claim(recorded, digits_preset, "PD-B is more accurate than PD-A").comparisons[0]
    assert compared.effect == pytest.approx(np.mean(differences))
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert compared.interval == pytest.approx(tuple(expected))
    assert compared.p == pytest.approx(stats.binomtest(int((images > 0).sum()), int((images != 0).sum())).pvalue)
    assert compared.verdict == SUPPORTED


def test_seeds_that_only_one_row_has_are_left_out(recorded, digits_preset):
    digits_preset["seeds"] = [0, 1]
    write_run(recorded, digits_preset, "pd_b_resnet18", 1, hits=1)
    compared = claim(recorded, digits_preset, "PD-B is more accurate than PD-A").comparisons[0]
    assert compared.seeds == 1
    assert all(anchor.endswith("seed0") for anchor in compared.anchors)


def test_predictions_of_another_run_give_no_p(recorded, digits_preset):
    for row in ("pd_a_resnet18", "pd_b_resnet18"):
        predict(recorded, row, 0, [True] * 9 + [False])
    assert claim(recorded, digits_preset, "PD-B is more accurate than PD-A").comparisons[0].p == 1
    claims._hits.cache_clear()
    path = recorded / "pd_b_resnet18" / "seed0" / "predictions.csv"
    path.write_text(path.read_text().replace("val/3.png,1,0,1", "val/3.png,1,0,2"))
    assert claim(recorded, digits_preset, "PD-B is more accurate than PD-A").comparisons[0].p is None


def test_costs_are_compared_with_what_the_paper_prints(recorded, digits_preset):
    path = recorded / "profile" / "complexity.json"
    profile = json.loads(path.read_text())
    profile["rows"]["pd_b_resnet18"] = {
        "params": 11_761_512, "flops": 1_822_300_000, "macs": 1, "deploy_params": 30_249_000,
    }  # fmt: skip
    path.write_text(json.dumps(profile))
    assert claim(recorded, digits_preset, "FLOPs").comparisons[1].verdict == SUPPORTED
    assert claim(recorded, digits_preset, "Parameters").comparisons[1].verdict == SUPPORTED
    stored = claim(recorded, digits_preset, "What a fused network keeps")
    assert stored.comparisons[1].effect == pytest.approx(18.564, abs=1e-3)
    assert stored.verdict == stored.comparisons[1].verdict == REFUTED
    assert stored.comparisons[0].verdict == SUPPORTED
    latency = claim(recorded, digits_preset, "Latency")
    # The fixture's times are all equal.
    assert latency.comparisons[0].effect == 1
    assert latency.comparisons[1].published == pytest.approx(14 / 12)


def test_what_was_not_run_has_no_number(tmp_path, digits_preset):
    for found in claims.claims(Study(digits_preset, tmp_path), PAPER):
        assert found.verdict == "not run"
        for comparison in found.comparisons:
            assert comparison.effect is None
            assert claims.texts(found, comparison)[1:] == ["–", "–", "–"]


def test_the_paper_compares_what_its_tables_say(recorded, digits_preset):
    found = claims.claims(Study(digits_preset, recorded), PAPER)
    assert [len(claim.comparisons) for claim in found] == [8, 8, 2, 10, 4, 4, 4, 4, 4]
    files = claims.render(Study(digits_preset, recorded), "digits", PAPER)
    assert files["claims.md"].count("| **") == 2 * len(found)
    assert "This study has 1, so no claim on accuracy can be decided by it." in files["claims.md"]
