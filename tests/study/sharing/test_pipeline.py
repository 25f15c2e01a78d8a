"""`dvc.yaml` follows from the steps' declarations, for any preset."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import PAPER, REPOSITORY, ROWS, changed, preset_values

from paradise.errors import UserError
from paradise.study.code import digest
from paradise.study.paper import read_paper
from paradise.study.preset import Preset
from paradise.study.sharing.pipeline import (
    ignored_text,
    pipeline,
    stage_name,
    stage_settings,
    staged_jobs,
    study_files,
    to_text,
    write_settings,
)
from paradise.study.steps import all_steps

RUN = "results/digits/pd_b_resnet18/seed0"


@pytest.fixture
def digits(monkeypatch) -> Preset:
    monkeypatch.chdir(REPOSITORY)
    return Preset.load(Path("config/digits.yaml"))


def preset_of(path: str = "config/mine.yaml", folder: str = "data/mine", **keys) -> Preset:
    return Preset.of(preset_values(Path(folder)) | keys, Path(path))


def outs(stage: dict) -> dict[str, dict]:
    return {path: flags for entry in (*stage["outs"], *stage.get("metrics", ())) for path, flags in entry.items()}


def test_what_the_repository_has_is_what_is_generated(digits):
    for path, text in study_files(digits).items():
        assert path.read_text() == text


def test_every_result_is_one_stage(digits):
    stages = pipeline(digits)["stages"]
    names = [stage_name(job) for step in all_steps().values() for job in step.of(digits)]
    assert list(stages) == ["settings", *names]
    assert {f"{step}-{row}-seed0" for step in ("train", "fuse", "evaluate") for row in ROWS} <= set(stages)
    detectors = [row.id for row in read_paper(PAPER).detectors]
    assert {f"{step}-{row}-seed0" for step in ("train_detector", "evaluate_detector") for row in detectors} <= set(
        stages
    )
    assert {"table-imagenet", "make_evidence-lottery", "train_start-random-seed2", "prepare"} <= set(stages)
    assert len(stages) == len(names) + 1


def test_a_stage_says_what_it_is_made_of_and_what_is_kept(digits):
    stages = pipeline(digits)["stages"]
    assert stages["train-pd_b_resnet18-seed0"] == {
        "desc": "a row's weights, its log of epochs and its record",
        "cmd": f"snakemake {RUN}/run.json --forcerun train --configfile config/digits.yaml",
        "params": [{"results/digits/settings.json": ["train-pd_b_resnet18-seed0"]}],
        "deps": ["data/digits/manifest.csv"],
        "outs": [
            {f"{RUN}/weights.safetensors": {"persist": True, "remote": "weights"}},
            {f"{RUN}/log.csv": {"persist": True}},
            {f"{RUN}/run.json": {"persist": True}},
        ],
    }
    assert stages["evaluate-pd_b_resnet18-seed0"] == {
        "desc": "accuracy of both forms",
        "cmd": f"snakemake {RUN}/evaluation.json --forcerun evaluate --configfile config/digits.yaml",
        "params": [{"results/digits/settings.json": ["evaluate-pd_b_resnet18-seed0"]}],
        "deps": ["data/digits/manifest.csv", f"{RUN}/fused.safetensors", f"{RUN}/weights.safetensors"],
        "outs": [{f"{RUN}/predictions.csv.xz": {"persist": True}}, {f"{RUN}/evaluation.json": {"persist": True}}],
        "metrics": [{f"{RUN}/metrics.json": {"persist": True, "cache": False}}],
    }
    assert stages["settings"] == {
        "desc": "what each stage depends on beside files",
        "cmd": "paradise settings --preset config/digits.yaml",
        "deps": ["config/digits.yaml", "src/paradise"],
        "outs": [{"results/digits/settings.json": {"cache": False, "persist": True}}],
    }
    assert outs(stages["table-ablation"]) == {
        "results/digits/tables/ablation.md": {"persist": True, "cache": False},
        "results/digits/tables/ablation.csv": {"persist": True, "cache": False},
        "results/digits/tables/ablation.json": {"persist": True},
    }


def test_outputs_survive_a_stage_that_fails(digits):
    for stage in pipeline(digits)["stages"].values():
        assert all(flags["persist"] for flags in outs(stage).values())


def test_every_command_makes_a_file_of_its_stage_by_the_steps_rule(digits):
    jobs = {stage_name(job): job for job in staged_jobs(digits)}
    for name, stage in pipeline(digits)["stages"].items():
        if name == "settings":
            continue
        _, target, _, rule, _, preset = stage["cmd"].split()
        assert target in outs(stage)
        assert (rule, preset) == (jobs[name].step.name, "config/digits.yaml")


def test_no_source_file_is_compared_but_by_its_meaning(digits):
    for name, stage in pipeline(digits)["stages"].items():
        assert name == "settings" or not [path for path in stage.get("deps", []) if path.startswith("src")]


def test_dependencies_are_made_by_other_stages_or_in_git(digits):
    stages = pipeline(digits)["stages"]
    made = {path for stage in stages.values() for path in outs(stage)}
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines()
    for name, stage in stages.items():
        if name != "settings":
            assert {path for path in stage.get("deps", []) if path not in made} <= set(tracked)


def test_tables_and_report_depend_on_every_row_and_the_report_on_all_evidence(digits):
    stages = pipeline(digits)["stages"]
    runs = {f"results/digits/{row}/seed0/evaluation.json" for row in ROWS}
    detectors = {f"results/digits/detection/{row.id}/seed0/evaluation.json" for row in read_paper(PAPER).detectors}
    for name in ("table-claims", "report"):
        assert runs | detectors <= set(stages[name]["deps"])
    evidence = {path for name in stages if name.startswith("make_evidence-") for path in outs(stages[name])}
    assert len(evidence) == 5
    assert evidence <= set(stages["report"]["deps"])


def test_plots_show_every_run(digits):
    several = changed(digits, seeds=[0, 1])
    training = pipeline(several)["plots"][0]["training"]
    assert training["y"] == {f"results/digits/{row}/seed{seed}/log.csv": "val_top1" for row in ROWS for seed in (0, 1)}
    assert list(pipeline(several)["plots"][1]["accuracy against latency"]["x"]) == [
        "results/digits/tables/imagenet.csv"
    ]


def test_detection_images_are_compared_by_their_annotations_wherever_they_lie(digits, monkeypatch, tmp_path):
    stages = pipeline(digits)["stages"]
    annotations = [f"data/digits-detection/annotations/instances_{split}.json" for split in ("train", "val")]
    assert set(stages["train_detector-retinanet-resnet50-seed0"]["deps"]) == {
        *annotations,
        "results/digits/resnet50/seed0/weights.safetensors",
    }
    assert outs(stages["prepare_detection"]) == {
        "data/digits-detection/detection.json": {"persist": True},
        **{path: {"persist": True, "cache": False} for path in annotations},
    }
    texts = []
    for place in (str(tmp_path), "coco"):
        monkeypatch.setenv("COCO_DIR", place)
        imagenet = Preset.load(Path("config/imagenet.yaml"))
        stages = pipeline(imagenet)["stages"]
        assert stages["train_detector-retinanet-resnet50-seed0"]["deps"] == [
            *(annotations := [f"data/coco/annotations/instances_{split}.json" for split in ("train", "val")]),
            "results/imagenet/resnet50/seed0/weights.safetensors",
        ]
        assert list(outs(stages["prepare_detection"])) == ["data/coco/detection.json", *annotations]
        texts.append(to_text(imagenet, pipeline(imagenet)))
    assert texts[0] == texts[1]


def test_any_rows_and_seeds(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    mine = preset_of(rows=["pd_a_resnet18", "pd_b_resnet18-standard1-skeleton"], seeds=[3, 4])
    stages = pipeline(mine)["stages"]
    assert [name for name in stages if name.startswith("train-")] == [
        "train-pd_a_resnet18-seed3",
        "train-pd_a_resnet18-seed4",
        "train-pd_b_resnet18-standard1-skeleton-seed3",
        "train-pd_b_resnet18-standard1-skeleton-seed4",
    ]
    assert "prepare_detection" not in stages
    assert pipeline(mine)["vars"] == [{"preset": "config/mine.yaml"}]


def test_checkpoints_of_others_are_runs(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    folder = "results/mine/resnet18/imported"

    def deps(file: str) -> list[str]:
        stages = pipeline(preset_of(rows=["resnet18"], checkpoints={"resnet18": file}))["stages"]
        assert {"fuse-resnet18-imported", "evaluate-resnet18-imported"} <= set(stages)
        assert outs(stages["import_checkpoint-resnet18"]) == {
            f"{folder}/weights.safetensors": {"persist": True, "remote": "weights"},
            f"{folder}/run.json": {"persist": True},
        }
        return stages["import_checkpoint-resnet18"].get("deps", [])

    assert deps("checkpoints/others.pth") == ["checkpoints/others.pth"]
    assert deps("/elsewhere/others.pth") == []  # no other machine has it there


def test_evidence_is_shared_where_the_preset_has_that_section(monkeypatch):
    monkeypatch.chdir(REPOSITORY)

    def evidence(**keys) -> list[str]:
        stages = pipeline(preset_of(**keys))["stages"]
        return [name for name in stages if name.startswith(("make_evidence", "train_start"))]

    rows = ["pd_a_resnet18", "resnet18"]
    assert evidence(rows=rows) == []
    pieces = [f"make_evidence-{name}" for name in ("diversity", "gradcam", "lottery", "perceptrons", "pruning")]
    starts = [f"train_start-{start}-seed7" for start in ("random", "rest", "maximum", "magnitude", "fused")]
    assert evidence(rows=rows, evidence={"seeds": [7]}) == pieces + starts
    # The lottery starts from a trained PD-A, which this study has not.
    pieces.remove("make_evidence-lottery")
    assert evidence(rows=["resnet18"], evidence={"seeds": [7]}) == pieces


def test_names_are_quoted(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    mine = preset_of("config/my study; rm.yaml")
    assert pipeline(mine)["stages"]["complexity"]["cmd"] == (
        "snakemake 'results/my study; rm/profile/complexity.json' --forcerun complexity"
        " --configfile 'config/my study; rm.yaml'"
    )


def test_data_outside_the_project_are_refused(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(UserError) as refused:
        pipeline(preset_of(folder="/data/mine"))
    assert str(refused.value) == (
        "/data/mine/manifest.csv lies outside the project, where DVC keeps nothing; give it a place in the project"
    )


def test_git_keeps_what_people_read(digits, tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    folder = tmp_path / "results" / "digits"
    folder.mkdir(parents=True)
    (folder / ".gitignore").write_text(ignored_text(digits))
    (tmp_path / ".gitignore").write_text((REPOSITORY / ".gitignore").read_text())
    kept = [
        *("settings.json", "report.html", "tables/imagenet.md", "tables/claims.csv"),
        *("resnet18/seed0/metrics.json", "detection/retinanet-resnet50/seed0/metrics.json"),
    ]
    left = [
        *("report.json", "tables/imagenet.json", "profile/latency.json", "figures/a.png", "logs/train/a.log"),
        *("resnet18/seed0/run.json", "resnet18/seed0/weights.safetensors", "evidence/lottery.json"),
        "evidence/lottery/random/seed0/run.json",
    ]
    for name in (*kept, *left, "../other/settings.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    command = ["git", "-C", tmp_path, "ls-files", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert sorted(listed) == sorted([".gitignore", *(f"results/digits/{name}" for name in (".gitignore", *kept))])


def test_settings_are_digests_and_the_recipe(digits):
    jobs = {stage_name(job): job for job in staged_jobs(digits)}
    train = jobs["train-resnet18-seed0"]
    settings = stage_settings(train)
    assert list(settings) == ["code", "recipe", "data"]
    assert settings["code"] == digest(train.code)
    assert settings["recipe"] == yaml.safe_load(Path("config/digits.yaml").read_text())["training"]
    assert len(settings["data"]) == 12
    detector = stage_settings(jobs["train_detector-cascade_rcnn-resnet50-seed0"])["detection"]
    assert detector["recipe"]["iterations"] == 60
    assert list(stage_settings(jobs["report"])) == ["code", "preset"]


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({"training": {"learning_rate": 0.5}}, {"train", "train_start", "table", "report"}),
        (
            {"data": {"per_class": 9}},
            {"prepare", "train", "train_start", "evaluate", "make_evidence", "table", "report"},
        ),
        ({"latency": {"rounds": 7}}, {"latency", "table", "report"}),
        ({"data": {"folder": "data/elsewhere"}}, {"table", "report"}),
    ],
)
def test_settings_differ_where_results_would(digits, change, differing):
    before = {stage_name(job): stage_settings(job) for job in staged_jobs(digits)}
    after = {stage_name(job): stage_settings(job) for job in staged_jobs(changed(digits, **change))}
    steps = {stage_name(job): job.step.name for job in staged_jobs(digits)}
    assert {steps[name] for name in before if before[name] != after[name]} == differing


def test_settings_are_written_where_they_changed(digits, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "paper").symlink_to(PAPER)
    monkeypatch.chdir(tmp_path)
    mine = preset_of(rows=["resnet18"])
    path = Path("results/mine/settings.json")
    write_settings(mine)
    assert list(json.loads(path.read_text())) == [stage_name(job) for job in staged_jobs(mine)]
    written = path.stat().st_mtime_ns
    write_settings(mine)
    assert path.stat().st_mtime_ns == written
    text = path.read_text()
    write_settings(changed(mine, training={"momentum": 0.8}))
    assert path.read_text() != text
