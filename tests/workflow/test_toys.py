"""What is added by one file, or a step by two: data set, table, evidence, step, through the whole pipeline."""

import json
from pathlib import Path

import pytest
import yaml
from conftest import copy_project, preset_values, run

pytestmark = pytest.mark.slow
DATASET = '''"""A toy data set: squares that are lit at the top or at the bottom."""

from paradise.study.data.dataset import Arrays


def read(source=None):
    import numpy as np

    draw = np.random.default_rng(0)
    splits = {}
    for split, count in (("train", 40), ("val", 16)):
        splits[split] = []
        for number in range(count):
            pixels = draw.integers(0, 60, (8, 8)).astype(np.uint8)
            pixels[:4] += np.uint8(180 * (number % 2))
            splits[split].append((f"{number:04d}", number % 2, pixels))
    return splits


DATASET = Arrays("toy squares in two classes", read)
'''
TABLE = '''"""A toy table: how many seeds each row has."""

from paradise.study.table import StudyTable, Table, Value


def make(study):
    table = Table(["Row", "Seeds"])
    for row in study.preset.classifiers:
        count = len(study.runs(row))
        table.add({"row": row.id, "seeds": count}, [Value(row.label), Value(str(count))])
    return table


TABLE = StudyTable(
    "Toy table", 9, make, shows=lambda preset: [f"{run.place}/evaluation.json" for run in preset.runs]
)
'''
PIECE = '''"""A toy piece of evidence: how many images each class has."""

from paradise.study.evidence.piece import Evidence


def measure(networks):
    labels = networks.manifest.val.labels
    return {"images": [labels.count(label) for label in range(networks.manifest.num_classes)]}


def show(study, record):
    from paradise.study import figures
    from paradise.study.evidence.section import Section

    images = record.evidence["images"]
    figure, (axis,) = figures.panels(1)
    axis.bar(range(len(images)), images)
    lines = [[str(label), str(count)] for label, count in enumerate(images)]
    return Section(record, ("One.", "Two.", "Three."), ["Class", "Images"], lines, figure, "Images of each class.")


EVIDENCE = Evidence("Images of each toy class", 9, measured_by=__name__, shown_by=__name__)
'''
STEP = '''"""toy: the number of a study's runs."""

import json

from paradise.study.preset import Preset
from paradise.study.records import View
from paradise.study.steps import Step
from paradise.study.steps.evaluate import STEP as EVALUATE
from paradise.study.terminal.options import DIGITS, PresetPath

STEP = Step(
    name="toy",
    about="the number of runs",
    schema=View,
    record="{results}/toy.json",
    outputs=("{results}/toy.txt",),
    entries=lambda preset, wildcards: [__name__],
    inputs=lambda preset, wildcards: {job.place: job.record for job in EVALUATE.of(preset)},
    packages=(),
    view=True,
)


def command(preset: PresetPath = DIGITS) -> None:
    """Count the runs."""
    from paradise.study.files import write_text
    from paradise.study.results import Study
    from paradise.study.views import write_view

    study = Study(Preset.load(preset))
    write_text(study.results / "toy.txt", str(sum(len(study.runs(row)) for row in study.preset.classifiers)))
    write_view(study, "toy")
'''
RULE = """rule toy:
    input:
        needs("toy"),
    output:
        made("toy"),
    log:
        log_of("toy"),
    params:
        preset=PRESET.path,
    shell:
        "paradise toy --preset {params.preset:q} > {log:q} 2>&1"
"""
FILES = {
    "src/paradise/study/data/sets/toy.py": DATASET,
    "src/paradise/study/tables/toy.py": TABLE,
    "src/paradise/study/evidence/pieces/toy.py": PIECE,
    "src/paradise/study/steps/toy.py": STEP,
    "workflow/rules/toy.smk": RULE,
}
TOYS = ("--configfile", "config/toys.yaml")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The project with the toys, and a study of one row on the toy data set, made by Snakemake."""
    project = copy_project(tmp_path_factory.mktemp("toys"))
    for name, text in FILES.items():
        (project / name).write_text(text)
    values = preset_values("data/toys") | {"evidence": {"seeds": [0]}}
    values["data"] |= {"dataset": "toy"}
    del values["data"]["per_class"]
    (project / "config" / "toys.yaml").write_text(yaml.safe_dump(values))
    targets = ("results/toys/evidence/toy.json", "results/toys/toy.txt", "all")
    run("snakemake", *targets, *TOYS, cwd=project)
    return project


def test_the_data_set_is_a_choice_of_presets_and_is_trained_on(project):
    run("paradise", "schema", cwd=project)
    schema = json.loads((project / "config/preset.schema.json").read_text())
    assert schema["$defs"]["Data"]["properties"]["dataset"]["enum"] == [
        "cifar-100",
        "digits",
        "fashion-mnist",
        "imagenet",
        "toy",
    ]
    record = json.loads((project / "results/toys/resnet18/seed0/run.json").read_text())
    assert record["num_classes"] == 2
    assert "paradise.study.data.sets.toy" in record["code"]
    assert "toy squares in two classes" in (project / "results/toys/tables/imagenet.md").read_text()


def test_the_table_is_written_and_shown(project):
    assert (project / "results/toys/tables/toy.csv").read_text() == "row,seeds\nresnet18,1\n"
    assert "Toy table" in (project / "results/toys/report.html").read_text()
    assert run("paradise", "tables", "toy", "--preset", "config/toys.yaml", cwd=project).stdout == ""


def test_the_evidence_is_measured_and_shown(project):
    record = json.loads((project / "results/toys/evidence/toy.json").read_text())
    assert record["evidence"] == {"images": [8, 8]}
    page = (project / "results/toys/report.html").read_text()
    assert "Images of each toy class" in page and "Images of each class." in page


def test_the_step_is_a_rule_and_a_command(project):
    assert (project / "results/toys/toy.txt").read_text() == "1"
    assert "Count the runs." in run("paradise", "--help", cwd=project).stdout
    assert "Nothing to be done" in run("snakemake", "-n", "results/toys/toy.txt", *TOYS, cwd=project).stdout


def test_dvc_has_a_stage_for_each(project):
    run("git", "init", "-q", cwd=project)
    run("paradise", "dvc-yaml", "--preset", "config/toys.yaml", cwd=project)
    stages = set(run("dvc", "stage", "list", "--name-only", cwd=project).stdout.split())
    assert {"table-toy", "make_evidence-toy", "toy", "prepare", "train-resnet18-seed0"} <= stages
