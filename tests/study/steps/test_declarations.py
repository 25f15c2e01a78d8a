"""What each step declares, key by key: of one job of a study with detectors and a checkpoint of others."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from conftest import REPOSITORY, changed
from written import make_preset

from paradise.errors import UserError
from paradise.study.preset import Preset
from paradise.study.provenance import PACKAGES
from paradise.study.rows import DetectorRow, Row, Run
from paradise.study.steps import STEPS, Job, all_steps, in_words, places, run_from, weights_of
from paradise.study.steps.table import wanted

ROW, DETECTOR = "pd_b_resnet18", "retinanet-pd_b_resnet50"
OF = {"row": ROW, "run": "seed0"}
RUN, IMPORTED = f"results/digits/{ROW}/seed0", f"results/digits/{ROW}/imported"
DETECTORS = f"results/digits/detection/{DETECTOR}/seed0"
SOURCE = "results/digits/pd_a_resnet18/seed0/weights.safetensors"
BOTH = {name: f"{IMPORTED}/{name}" for name in ("weights.safetensors", "fused.safetensors")}
MANIFEST = "data/digits/manifest.csv"
ANNOTATIONS = [f"data/digits-detection/annotations/instances_{split}.json" for split in ("train", "val")]
IMAGES = ["paradise.study.data.sets.digits", "paradise.study.data.loaders.dali"]
MODELS = [f"paradise.models.{kind}" for kind in ("ac", "ge", "pd_a", "pd_b", "plain", "se")]
DETECTOR_MODULES = "paradise.study.detection.detectors"
DETECTION = [f"{DETECTOR_MODULES}.retinanet", "paradise.study.detection.sets.digits", "paradise.mmdetection"]
PRUNING = [f"paradise.study.evidence.{name}" for name in ("make", "pieces.pruning", "measures.pruning")]
PRUNED = {
    f"{row}/seed0/weights.safetensors": f"results/digits/{row}/seed0/weights.safetensors"
    for row in ("pd_a_resnet18", "pd_b_resnet18", "pd_a_resnet50", "pd_b_resnet50")
}
DALI, MMDETECTION = ("torch", "nvidia-dali-cuda130"), ("torch", "onedl-mmdetection", "onedl-mmcv")
VIEW = [
    *(f"paradise.study.tables.{name}" for name in ("ablation", "claims", "detection", "imagenet")),
    *(
        f"paradise.study.evidence.pieces.{name}"
        for name in ("diversity", "gradcam", "lottery", "perceptrons", "pruning")
    ),
    *(f"paradise.study.detection.detectors.{name}" for name in ("cascade_rcnn", "retinanet")),
    *("paradise.study.data.sets.digits", "paradise.study.detection.sets.digits"),
    *("paradise.study.data.manifest", "paradise.study.evidence.starts", "paradise.study.tables"),
]
# Wildcards; the modules that decide its numbers; what it waits for; its inputs; what of the preset; packages.
DECLARED = {
    "prepare": ({}, ["paradise.study.data.prepare", IMAGES[0]], [], {}, ["data"], ()),
    "train": (
        {"row": ROW, "seed": "0"},
        ["paradise.study.training.loop", "paradise.models.pd_b", *IMAGES],
        [MANIFEST],
        {"manifest.csv": MANIFEST},
        ["recipe", "data"],
        DALI,
    ),
    "import_checkpoint": (
        {"row": ROW},
        ["paradise.study.checkpoints", "paradise.models.pd_b"],
        ["given/theirs.pth"],
        {"theirs.pth": "given/theirs.pth"},
        ["data"],
        ("torch",),
    ),
    "fuse": (
        OF,
        ["paradise.study.runs", "paradise.models.pd_b"],
        [f"{RUN}/run.json", f"{RUN}/weights.safetensors"],
        {"weights.safetensors": f"{RUN}/weights.safetensors"},
        [],
        ("torch",),
    ),
    "evaluate": (
        OF | {"run": "imported"},
        ["paradise.study.evaluate", "paradise.models.pd_b", *IMAGES],
        [f"{IMPORTED}/run.json", f"{IMPORTED}/fused.json", MANIFEST, *BOTH.values()],
        {"manifest.csv": MANIFEST} | BOTH,
        ["data"],
        DALI,
    ),
    "complexity": ({}, ["paradise.study.profiling.complexity", *MODELS], [], {}, ["models"], ("torch",)),
    "latency": (
        {},
        ["paradise.study.profiling.latency", *MODELS],
        [],
        {},
        ["models", "rounds", "threads"],
        ("torch",),
    ),
    "prepare_detection": ({}, ["paradise.study.detection.data", DETECTION[1]], [], {}, ["detection"], ()),
    "train_detector": (
        {"detector": DETECTOR, "seed": "0"},
        ["paradise.study.detection.train", *DETECTION],
        ["data/digits-detection/detection.json", "results/digits/pd_b_resnet50/seed0/weights.safetensors"],
        {"annotations of train": ANNOTATIONS[0], "annotations of val": ANNOTATIONS[1]}
        | {"backbone": "results/digits/pd_b_resnet50/seed0/weights.safetensors"},
        ["detection"],
        MMDETECTION,
    ),
    "evaluate_detector": (
        {"detector": DETECTOR, "seed": "0"},
        ["paradise.study.detection.evaluate", *DETECTION],
        ["data/digits-detection/detection.json", f"{DETECTORS}/run.json", f"{DETECTORS}/weights.safetensors"],
        {"annotations of val": ANNOTATIONS[1], "weights.safetensors": f"{DETECTORS}/weights.safetensors"},
        ["detection"],
        MMDETECTION,
    ),
    "profile_detectors": (
        {},
        ["paradise.study.detection.profile", DETECTION[2], f"{DETECTOR_MODULES}.cascade_rcnn", *DETECTION[:2]],
        ["data/digits-detection/detection.json"],
        {"annotations of val": ANNOTATIONS[1]},
        ["detectors", "latency"],
        MMDETECTION,
    ),
    "train_start": (
        {"start": "rest", "seed": "2"},
        ["paradise.study.evidence.train_start", "paradise.models.pd_a", "paradise.models.plain", *IMAGES],
        [MANIFEST, SOURCE],
        {"manifest.csv": MANIFEST, "source": SOURCE},
        ["recipe", "data", "start"],
        DALI,
    ),
    "make_evidence": (
        {"piece": "pruning"},
        [*PRUNING, *MODELS[2:4], *IMAGES],
        [MANIFEST, *PRUNED.values()],
        {"manifest.csv": MANIFEST} | PRUNED,
        ["data"],
        DALI,
    ),
}


@pytest.fixture
def preset(monkeypatch) -> Preset:
    monkeypatch.chdir(REPOSITORY)
    return changed(Preset.load(Path("config/digits.yaml")), checkpoints={ROW: "given/theirs.pth"})


@pytest.mark.parametrize("name", DECLARED)
def test_what_a_step_measures_is_declared(preset, name):
    wildcards, entries, needs, inputs, settings, packages = DECLARED[name]
    step = all_steps()[name]
    job = step.job(preset, **wildcards)
    assert step.entries(preset, wildcards) == entries
    assert [str(path) for path in job.needs] == needs
    assert {key: str(path) for key, path in job.inputs.items()} == inputs
    assert list(job.settings) == settings
    assert step.packages == packages
    assert not step.view
    assert step.local == (name in ("prepare", "prepare_detection"))
    assert step.imports == (("mmdet",) if "torch" in packages and "detect" in name else ())


def test_what_shows_is_declared(preset):
    steps = all_steps()
    views = {name: step for name, step in steps.items() if step.view}
    assert set(steps) == {*DECLARED, *views}
    table = steps["table"].job(preset, table="imagenet")
    shows = [f"paradise.study.evidence.shows.{name}" for name in [entry.rpartition(".")[2] for entry in VIEW[4:9]]]
    assert {name: step.entries(preset, {"table": "imagenet"}) for name, step in views.items()} == {
        "table": ["paradise.study.tables.imagenet", *VIEW],
        "report": ["paradise.study.report", *VIEW, *shows],
        "crate": ["paradise.study.crate", *VIEW],
    }
    assert list(views["crate"].of(preset)) == []
    for name, step in views.items():
        assert (step.packages, step.imports, step.local) == ((), (), False)
        assert step.job(preset, table="imagenet").settings == preset.values(), name
    assert table.inputs["imagenet.csv"] == Path("data/paper/imagenet.csv")
    assert table.inputs[f"{ROW}/imported/run.json"] == Path(f"{IMPORTED}/run.json")
    records = [f"results/digits/tables/{name}.json" for name in ("ablation", "claims", "detection", "imagenet")]
    report = views["report"].job(preset)
    assert [str(path) for path in report.needs[:4]] == records
    assert report.needs[4:] == list(report.inputs.values())
    crate = views["crate"].job(preset)
    assert crate.inputs == report.inputs
    assert crate.needs == [Path("results/digits/report.json"), *report.inputs.values()]


def test_a_report_shows_the_evidence_that_has_been_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    preset = make_preset()
    path = Path("results/digits/evidence/pruning.json")
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    inputs = all_steps()["report"].job(preset).inputs
    assert {name: of for name, of in inputs.items() if "evidence" in name} == {"evidence/pruning.json": path}


def test_steps_and_jobs_are_values(preset):
    step = all_steps()["train"]
    with pytest.raises(FrozenInstanceError):
        step.name = "retrain"
    with pytest.raises(FrozenInstanceError):
        step.job(preset, row=ROW, seed="0").preset = None


def test_an_unknown_step_is_refused_by_name():
    with pytest.raises(UserError, match=r"^unknown step 'trian'; did you mean 'train'\?$"):
        STEPS.get("trian")


def test_every_package_that_decides_numbers_is_in_records():
    assert {package for step in all_steps().values() for package in step.packages} <= set(PACKAGES)


def test_a_study_without_detection_has_no_detection_jobs(preset):
    small = Preset.of({key: of for key, of in preset.values().items() if key != "detection"}, preset.path)
    asked = {name for name, step in all_steps().items() if step.of(small)}
    assert asked == {name for name in all_steps() if "detect" not in name} - {"crate"}
    assert places(small) == {"results": "results/digits", "data": "data/digits", "detection": "none"}
    assert wanted(small) == ["ablation", "claims", "imagenet"]
    with pytest.raises(UserError, match=r"^config/digits\.yaml has no section 'detection'; config/digits\.yaml shows"):
        all_steps()["prepare_detection"].job(small).settings  # noqa: B018


def test_what_evidence_trains_is_trained_with_its_seeds(preset):
    steps = all_steps()
    job = steps["make_evidence"].job(preset, piece="perceptrons")
    assert job.settings == {"data": preset.data.evaluated(), "seeds": [0, 1, 2]}
    assert steps["train_start"].job(preset, start="rest", seed="0").settings == {
        "recipe": preset.recipe(Row("plain", 18)).values(),
        "data": preset.data.seen(),
        "start": "rest",
    }


def test_settings_are_what_the_preset_says(preset):
    """Whose keys are held above."""
    steps = all_steps()
    models = [row.id for row in preset.models]
    assert steps["latency"].job(preset).settings == {"models": models, "rounds": 100, "threads": 1}
    assert steps["complexity"].job(preset).settings == {"models": models}
    assert steps["prepare"].job(preset).settings == {"data": preset.data.prepared()}
    assert steps["prepare_detection"].job(preset).settings == {"detection": preset.detection.prepared()}
    of = steps["train_detector"].job(preset, detector=DETECTOR, seed="0").settings
    assert of == {"detection": preset.detection_of(DetectorRow.parse(DETECTOR)).trained()}
    profiled = steps["profile_detectors"].job(preset).settings
    assert profiled["detectors"][DETECTOR] == of["detection"]
    assert list(profiled["detectors"]) == [row.id for row in preset.detectors]
    assert profiled["latency"] == {"rounds": 40, "threads": 1, "image_size": 128}


@pytest.mark.parametrize(
    ("wildcards", "run"),
    [
        ({"row": ROW, "seed": "3"}, Run(Row("pd_b", 18), 3)),
        ({"row": ROW, "run": "seed12"}, Run(Row("pd_b", 18), 12)),
        ({"row": ROW, "run": "imported"}, Run(Row("pd_b", 18), None)),
        ({"detector": DETECTOR, "seed": "1"}, Run(DetectorRow("retinanet", Row("pd_b", 50)), 1)),
    ],
)
def test_the_run_that_wildcards_mean(preset, wildcards, run):
    assert run_from(wildcards) == run
    assert weights_of(preset, run) == run.folder(Path("results/digits")) / "weights.safetensors"


def test_jobs_and_where_they_log_in_words(preset):
    steps = all_steps()
    train, complexity = steps["train"].job(preset, row=ROW, seed="0"), steps["complexity"].job(preset)
    assert (str(train), train.place) == (f"train {ROW} seed0", f"{ROW} seed0")
    assert (str(complexity), complexity.place) == ("complexity", "complexity")
    assert in_words({"piece": "lottery"}) == "lottery"
    assert [steps[name].journal(preset, "logs", ".log") for name in ("train", "complexity", "table", "prepare")] == [
        "results/digits/logs/train/{row}-seed{seed}.log",
        "results/digits/logs/complexity.log",
        "results/digits/logs/table/{table}.log",
        "results/digits/logs/prepare.log",
    ]
    assert steps["train"].pattern(preset, "{results}/{row}/{data}") == "results/digits/{row}/data/digits"
    assert isinstance(train, Job) and train.outputs[-1] == train.record
