"""The benchmarks that a study on a borrowed GPU needs, run as a user runs them, as small as they go."""

import sys

import pandas as pd
import pytest
from conftest import copy_project, run

from paradise.study.data.sets.digits import read_digits

pytestmark = pytest.mark.slow
KINDS = (("", ""), ("PD-A-", ""), ("PD-B-", ""), ("PD-B-", ", four dense kernels"))
ROWS = ["pd_a_resnet18", "resnet18", "pd_b_resnet18-standard1-skeleton"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("project"))


def benchmark(project, command: str, check: bool = True):
    return run(sys.executable, *f"benchmarks/{command}".split(), cwd=project, check=check)


def test_rows_and_what_they_project(project):
    (project / "benchmarks" / "results" / "rows-224.csv").unlink(missing_ok=True)
    refused = benchmark(project, "projection.py", check=False)
    assert refused.returncode == 2
    assert "rows-224.csv is missing; run benchmarks/rows.py" in refused.stdout

    benchmark(project, f"rows.py {' '.join(ROWS)} --size 224 --batch 2 --latency-batches 1 --rounds 2")
    results = project / "benchmarks" / "results"
    rows = pd.read_csv(results / "rows-224.csv", index_col="row")
    assert list(rows.index) == ROWS
    # Memory is the same on every machine; times of two rounds beside other tests say nothing.
    assert 2 < rows["MB ÷ ResNet"]["pd_a_resnet18"] < 2.2
    assert 1.5 < rows["MB ÷ ResNet"]["pd_b_resnet18-standard1-skeleton"] < 1.6
    assert rows["MB ÷ ResNet"]["resnet18"] == 1
    assert (rows[["images/s", "step ÷ ResNet", "fused ms, batch 1", "÷ ResNet, batch 1"]] > 0).all(axis=None)

    trained = pd.DataFrame({"row": ["resnet18"], "torch.compile": ["no"], "images/s": [100.0]})
    trained.to_csv(results / "training.csv", index=False)
    benchmark(project, "projection.py --devices 4 --efficiency 0.5")
    projected = pd.read_csv(results / "projection.csv", index_col="row")
    # 100 epochs of ImageNet's training images and, at a third, its validation images, at 4 · 0.5 · 100 images a second.
    assert float(projected["hours through DALI"]["resnet18"]) == pytest.approx(180.3, abs=0.05)
    assert projected["hours through DALI"]["pd_b_resnet50"] == "–"
    assert projected["hours from memory"]["all"] == "–", "a sum over rows that were not measured"
    assert "**Not measured: computed**" in (results / "projection.md").read_text()


def test_a_recipe_is_chosen_by_training_images_alone_and_goes_on(project):
    tries = "learning_rate=0.005 epochs=1,per_class=20"
    command = f"recipe.py --preset config/smoke.yaml --hold-out 160 --tries {tries} --rows resnet18"
    benchmark(project, command)
    chosen = pd.read_csv(project / "benchmarks" / "results" / "recipe-smoke.csv")
    assert list(chosen.columns) == ["try", "images", "epochs", "resnet18"]
    assert chosen["try"].to_list() == ["learning_rate=0.005", "epochs=1, per_class=20"]
    manifest = pd.read_csv(project / "data" / "smoke-recipe-20" / "manifest.csv")
    names = {name for name, _, _ in read_digits()["train"]}
    assert {path.rpartition("/")[2].removesuffix(".png") for path in manifest["path"]} <= names
    assert set(manifest["split"]) == {"train", "val"}
    weights = project / "results" / "smoke-recipe" / "resnet18" / "learning_rate=0.005" / "weights.safetensors"
    made = weights.stat().st_mtime_ns
    benchmark(project, command)
    assert weights.stat().st_mtime_ns == made, "trained again"


@pytest.mark.parametrize(
    ("command", "table", "lines"),
    [
        ("saving.py resnet18 --rounds 1", "saving", ["resnet18"]),
        ("training.py resnet18 --images 20 --batch 4", "training", ["resnet18"]),
        (
            "step.py --size 32 --batch 2 --rounds 1",
            "step-32",
            [
                *("ResNet18", "PD-A", "PD-A, branch by branch", "PD-A, Standards stacked", "PD-A, group dense"),
                *("PD-A, convolutions alone", "PD-B", "PD-B, branch by branch", "RepVGG's block", "ACNet's block"),
            ],
        ),
        (
            "latency.py --rounds 1 --no-export",
            "latency-1-threads1",
            [f"{kind}ResNet{depth}{form}" for depth in (18, 50) for kind, form in KINDS],
        ),
    ],
)
def test_the_others_run(project, command, table, lines):
    benchmark(project, command)
    measured = pd.read_csv(project / "benchmarks" / "results" / f"{table}.csv")
    assert list(measured.iloc[:, 0]) == lines
    page = (project / "benchmarks" / "results" / f"{table}.md").read_text()
    assert " cores; python " in page and "; commit " in page
