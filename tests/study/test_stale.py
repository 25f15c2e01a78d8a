"""Every way in which a result becomes stale, and what the one decider says of it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from written import change_record, job_of, make_preset, make_study, other_code, write_job

from paradise.study.hashes import sha256
from paradise.study.records import seal
from paradise.study.results import Study
from paradise.study.rows import Row
from paradise.study.schedule import mark_stale
from paradise.study.stale import Survey
from paradise.study.steps import Job
from paradise.study.tables import write_tables

ROW = "pd_b_resnet18"
ROWS = ["resnet18", ROW]
FOLDER = Path(f"results/digits/{ROW}/seed0")


@pytest.fixture
def preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_study(ROWS, seeds=[0, 1])


def reasons(preset, step="evaluate", **of) -> list[tuple[str, str, str]]:
    """Why a result of the row is stale: kind, words, and the job in which the reason lies."""
    of = of or ({"row": ROW, "run": "seed0"} if step in ("fuse", "evaluate") else {"row": ROW, "seed": "0"})
    survey = Survey(preset)
    return [(reason.kind, reason.text, reason.job) for reason in survey.why_stale(job_of(preset, step, **of))]


def shown(preset) -> dict[str, list[int]]:
    """The seeds of each row that tables, claims and report would show."""
    study = Study(preset, strict=False)
    return {row: [run.run.seed for run in study.runs(Row.parse(row))] for row in ROWS}


ALL = {row: [0, 1] for row in ROWS}
WITHOUT = {"resnet18": [0, 1], ROW: [1]}


def test_what_was_just_made_is_not_stale(preset):
    survey = Survey(preset)
    assert all(survey.why_stale(job) == () for job in survey.jobs.values() if not survey.missing(job))
    assert survey.to_do_again() == []
    assert shown(preset) == ALL


def test_what_is_not_there_is_missing_and_not_stale_to_anyone(preset):
    shutil.rmtree(FOLDER)
    survey = Survey(preset)
    job = job_of(preset, "evaluate", row=ROW, run="seed0")
    assert survey.missing(job)
    assert survey.to_do_again() == []
    assert shown(preset) == WITHOUT


def test_another_setting_is_named_and_refused_with_all_that_follows(preset):
    other = make_preset(ROWS, [0, 1], training={"learning_rate": 0.5, "momentum": 0.8})
    why = [("settings", "learning_rate, momentum changed", f"train {ROW} seed0")]
    for step in ("train", "fuse", "evaluate"):
        assert reasons(other, step) == why
    assert shown(other) == {row: [] for row in ROWS}
    assert [str(job) for job in Survey(other).to_do_again()] == [
        f"{step} {row} seed{seed}" for step in ("evaluate", "fuse", "train") for row in ROWS for seed in (0, 1)
    ]


def test_a_setting_of_one_row_alone_touches_no_other(preset):
    assert shown(make_preset(ROWS, [0, 1], overrides={"pd_b_*": {"epochs": 9}})) == {"resnet18": [0, 1], ROW: []}


def test_how_images_are_seen_is_a_setting_of_all_that_see_them(preset):
    other = make_preset(ROWS, [0, 1], data={"mean": [0.1, 0.3, 0.3]})
    assert reasons(other) == [
        ("settings", "data.mean changed", f"evaluate {ROW} seed0"),
        ("settings", "data.mean changed", f"train {ROW} seed0"),
    ]


def test_where_images_lie_is_no_setting(preset):
    shutil.copytree("data/digits", "elsewhere")
    other = make_preset(ROWS, [0, 1], data={"folder": "elsewhere"})
    assert reasons(other) == []
    assert shown(other) == ALL


def test_other_images_refuse_all_that_was_trained_on_them(preset):
    job = job_of(preset, "prepare")
    manifest = Path("data/digits/manifest.csv")
    manifest.write_text(manifest.read_text().replace(",3,", ",4,", 1))
    change_record(job, outputs={"manifest.csv": sha256(manifest)})
    assert ("inputs", "it was made of another manifest.csv", f"train {ROW} seed0") in reasons(preset)
    assert shown(preset) == {row: [] for row in ROWS}


def test_an_image_that_was_changed_refuses_all(preset):
    image = next(Path("data/digits/val").rglob("*.png"))
    image.write_text("another picture")
    assert reasons(preset) == [("outputs", f"{image} is not the image that was prepared", "prepare")]
    assert shown(preset) == {row: [] for row in ROWS}


def test_without_the_data_nothing_is_known_against_a_result(preset):
    shutil.rmtree("data/digits")
    assert reasons(preset) == []
    assert shown(preset) == ALL


@pytest.mark.parametrize("module", ["paradise.study.training.loop", "paradise.block"])
def test_other_code_is_shown_and_marked_with_the_modules(preset, module):
    other_code(job_of(preset, "train", row=ROW, seed="0"), module)
    name = module.removeprefix("paradise.")
    assert reasons(preset) == [("code", f"other code in {name}", f"train {ROW} seed0")]
    study = Study(preset)
    assert shown(preset) == ALL
    marks = {run.run.seed: [str(mark) for mark in run.marks] for run in study.runs(Row.parse(ROW))}
    assert marks == {0: [f"other code in {name}"], 1: []}
    assert Survey(preset).to_do_again() == []


@pytest.mark.parametrize("then", ["2.12.0", "2.12.0+cu130"])
def test_another_version_of_a_package_that_computes_is_marked(preset, then):
    job = job_of(preset, "train", row=ROW, seed="0")
    versions = json.loads(job.record.read_text())["versions"]
    change_record(job, versions=versions | {"torch": then})
    now = versions["torch"].partition("+")[0]
    assert reasons(preset) == [("versions", f"torch 2.12.0, now {now}", f"train {ROW} seed0")]
    assert shown(preset) == ALL


def test_the_same_release_built_for_another_machine_is_the_same_version(preset):
    job = job_of(preset, "train", row=ROW, seed="0")
    versions = json.loads(job.record.read_text())["versions"]
    change_record(job, versions=versions | {"torch": versions["torch"].partition("+")[0] + "+cu999", "snakemake": "1"})
    assert reasons(preset) == []


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGE = {
    "a number edited": lambda: edit(FOLDER / "evaluation.json", images=359),
    "an edited number with its share": lambda: edit(
        FOLDER / "evaluation.json",
        fused={"top1_hits": 360, "top5_hits": 360, "top1": 100.0, "top5": 100.0},
    ),
    "the seal deleted": lambda: (FOLDER / "evaluation.json").write_text(
        json.dumps({k: v for k, v in json.loads((FOLDER / "evaluation.json").read_text()).items() if k != "seal"})
    ),
    "cut": lambda: (FOLDER / "run.json").write_text((FOLDER / "run.json").read_text()[:100]),
    "empty": lambda: (FOLDER / "run.json").write_text(""),
    "no object": lambda: (FOLDER / "fused.json").write_text("[]"),
    "not UTF-8": lambda: (FOLDER / "fused.json").write_bytes(b'{"a": "\xff"}'),
    "a key more": lambda: edit(FOLDER / "run.json", more=1),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_record_is_refused(preset, damage):
    damage()
    assert {kind for kind, _, _ in reasons(preset)} <= {"damaged"}
    assert len(reasons(preset)) == 1
    assert shown(preset) == WITHOUT


def test_numbers_that_contradict_each_other_are_no_record_though_they_are_sealed(preset):
    path = FOLDER / "evaluation.json"
    values = json.loads(path.read_text())
    values["fused"] = {"top1_hits": 300, "top5_hits": 360, "top1": 99.0, "top5": 100.0}
    path.write_text(json.dumps(values | {"seal": seal(values)}))
    assert [kind for kind, _, _ in reasons(preset)] == ["damaged"]


FILES = ["weights.safetensors", "fused.safetensors", "predictions.csv.xz", "metrics.json", "log.csv"]
HOW = ["a byte flipped", "cut", "emptied", "another row's", "another seed's"]


# The logs of these studies are alike.
@pytest.mark.parametrize(("name", "how"), [(n, h) for n in FILES for h in HOW if n != "log.csv" or "another" not in h])
def test_a_file_that_is_not_what_its_record_says_is_refused(preset, name, how):
    path = FOLDER / name
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    others = {
        "a byte flipped": bytes(content),
        "cut": path.read_bytes()[:-3],
        "emptied": b"",
        "another row's": Path(f"results/digits/resnet18/seed0/{name}").read_bytes(),
        "another seed's": Path(f"results/digits/{ROW}/seed1/{name}").read_bytes(),
    }
    assert others[how] != path.read_bytes()
    path.write_bytes(others[how])
    assert ("outputs", f"{path} changed since it was made") in [(kind, text) for kind, text, _ in reasons(preset)]
    assert shown(preset) == WITHOUT


@pytest.mark.parametrize("name", ["predictions.csv.xz", "metrics.json", "log.csv"])
def test_a_file_that_is_gone_is_refused(preset, name):
    (FOLDER / name).unlink()
    assert [(kind, text) for kind, text, _ in reasons(preset)] == [("outputs", f"{FOLDER / name} is not here")]


def test_weights_may_have_stayed_where_they_were_made(preset):
    for path in Path("results").rglob("*.safetensors"):
        path.unlink()
    assert reasons(preset) == []
    assert shown(preset) == ALL


@pytest.mark.parametrize(
    ("source", "said"), [("resnet18/seed0", "resnet18 seed0"), (f"{ROW}/seed1", f"{ROW} seed1")], ids=["row", "seed"]
)
def test_another_runs_folder_copied_over_this_ones_is_refused(preset, source, said):
    shutil.rmtree(FOLDER)
    shutil.copytree(f"results/digits/{source}", FOLDER)
    assert reasons(preset) == [("other", f"{FOLDER}/evaluation.json is of {said}", f"evaluate {ROW} seed0")]
    assert reasons(preset, "train") == [("other", f"{FOLDER}/run.json is of {said}", f"train {ROW} seed0")]
    assert shown(preset) == WITHOUT


def test_another_presets_folder_is_refused(preset):
    shutil.copytree("results/digits", "results/mine")
    mine = make_preset(ROWS, [0, 1], name="mine")
    assert reasons(mine) == [
        ("other", f"results/mine/{ROW}/seed0/evaluation.json is of the preset digits", f"evaluate {ROW} seed0")
    ]
    assert shown(mine) == {row: [] for row in ROWS}


def test_a_fused_network_of_other_weights_is_refused(preset):
    """Trained again, and sealed: what was made of the weights before is of other weights."""
    job = job_of(preset, "train", row=ROW, seed="0")
    (FOLDER / "weights.safetensors").write_text("trained again")
    outputs = {name: sha256(path) for name, path in job.vouched.items()}
    change_record(job, outputs=outputs)
    assert reasons(preset) == [
        ("inputs", "it was made of another weights.safetensors", f"evaluate {ROW} seed0"),
        ("inputs", "it was made of another weights.safetensors", f"fuse {ROW} seed0"),
    ]
    (FOLDER / "weights.safetensors").unlink()  # where it is not here its record says what it was
    assert len(reasons(preset)) == 2


def test_a_view_is_made_again_where_what_it_shows_or_how_it_is_judged_changed(preset):
    job = job_of(preset, "table", table="imagenet")
    write_tables(["imagenet"], preset)
    assert Survey(preset).why_stale(job) == ()
    other_code(job_of(preset, "train", row=ROW, seed="0"), "paradise.block")
    assert [(reason.kind, reason.text) for reason in Survey(preset).why_stale(job)] == [
        ("inputs", "it does not show the results as they are")
    ]
    write_tables(["imagenet"], preset)
    assert Survey(preset).why_stale(job) == ()
    other_code(job, "paradise.study.table")
    assert [(reason.kind, reason.text) for reason in Survey(preset).why_stale(job)] == [
        ("inputs", "other code in study.table")
    ]


def test_snakemake_is_told_of_what_must_not_be_shown_and_of_nothing_else(preset):
    other_code(job_of(preset, "train", row="resnet18", seed="0"), "paradise.resnet")
    assert mark_stale(Survey(preset)) == {}
    (FOLDER / "log.csv").write_text("edited")
    marks = mark_stale(Survey(preset))
    assert [str(path.parent) for path in marks] == [str(FOLDER)] * 3
    texts = [Path(mark).read_text() for (mark,) in marks.values()]
    assert all(f"{FOLDER}/log.csv changed since it was made" in text for text in texts)
    again = [Path(mark).read_text() for (mark,) in mark_stale(Survey(preset)).values()]
    assert set(texts).isdisjoint(again)  # Snakemake goes by content where it has seen a file


def test_a_survey_of_records_that_are_unreadable_says_so(preset):
    (FOLDER / "run.json").unlink()
    (FOLDER / "run.json").mkdir()
    assert [kind for kind, _, _ in reasons(preset)] == ["damaged"]


def test_a_run_that_was_written_anew_is_as_good_as_the_first(preset):
    shutil.rmtree(FOLDER)
    for step, of in (("train", {"row": ROW, "seed": "0"}), ("fuse", {"row": ROW, "run": "seed0"})):
        write_job(job_of(preset, step, **of))
    write_job(job_of(preset, "evaluate", row=ROW, run="seed0"))
    assert reasons(preset) == []


def why(job: Job) -> list[tuple[str, str]]:
    """Why what a job left is stale: kind and words."""
    return [(reason.kind, reason.text) for reason in Survey(job.preset).why_stale(job)]


@pytest.mark.parametrize(
    ("step", "of", "sections", "said"),
    [
        ("train", {"row": ROW, "seed": "0"}, {"training": {"compile": True, "epochs": 4}}, "epochs, compile changed"),
        ("train", {"row": ROW, "seed": "0"}, {"data": {"decoder": "cpu"}}, "data.decoder changed"),
        (
            "train",
            {"row": ROW, "seed": "0"},
            {"data": {"augment": {"area": [1, 1], "aspect": [1, 1], "shift": 3, "flip": False}}},
            "data.augment.shift changed",
        ),
        ("latency", {}, {"latency": {"rounds": 7, "threads": 2}}, "rounds, threads changed"),
    ],
)
def test_settings_are_named_by_their_place_without_the_section_of_the_recipe(preset, step, of, sections, said):
    assert why(job_of(make_preset(ROWS, [0, 1], **sections), step, **of)) == [("settings", said)]


def test_a_setting_that_is_gone_is_named_too(preset):
    job = job_of(preset, "train", row=ROW, seed="0")
    recipe = job.settings["recipe"] | {"compile": True}
    change_record(job, settings=job.settings | {"recipe": recipe})
    assert why(job) == [("settings", "compile changed")]
    change_record(job, settings=job.settings | {"schedule": {"steps": [1, 2]}})
    assert why(job) == [("settings", "schedule changed")]


def test_settings_of_a_detector_are_named_likewise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    detection = make_study().values()["detection"]
    row = "retinanet-resnet50"
    other = make_preset(detection=detection | {"recipe": detection["recipe"] | {"weight_decay": 0.1}})
    assert why(job_of(other, "train_detector", detector=row, seed="0")) == [("settings", "weight_decay changed")]
    assert why(job_of(other, "profile_detectors"))[0][1].startswith("detectors.retinanet-resnet50.recipe.weight_decay,")


def test_what_was_never_made_is_said_by_its_record(preset):
    job = job_of(preset, "train", row=ROW, seed="0")
    job.record.unlink()
    assert why(job) == [("missing", f"{job.record} is not here")]
    assert why(job_of(preset, "evaluate", row=ROW, run="seed0")) == why(job)


def test_damage_is_said_in_the_records_words(preset):
    job = job_of(preset, "train", row=ROW, seed="0")
    edit(job.record, seconds=1.0)
    assert why(job) == [("damaged", f"{job.record} is damaged (edited by hand)")]
    assert Survey(preset).record(job) is None and not Survey(preset).missing(job)


def test_an_input_more_than_today_is_said(preset):
    job = job_of(preset, "evaluate", row=ROW, run="seed0")
    inputs = json.loads(job.record.read_text())["inputs"]
    change_record(job, inputs=inputs | {"labels.csv": "0" * 64})
    assert why(job) == [("inputs", "it was made of labels.csv as well")]


def test_an_input_less_than_today_is_said(preset):
    job = job_of(preset, "evaluate", row=ROW, run="seed0")
    inputs = json.loads(job.record.read_text())["inputs"]
    change_record(job, inputs={name: of for name, of in inputs.items() if name != "manifest.csv"})
    assert why(job) == [("inputs", "it was made of another manifest.csv")]


def test_a_record_of_another_step_is_said(preset):
    """Of a lottery's start: its records have the same keys as those of any training."""
    job = job_of(preset, "train_start", start="random", seed="0")
    shutil.copytree(FOLDER, job.record.parent)
    assert why(job) == [("other", f"{job.record} is a record of the step train")]


def test_images_that_another_preset_prepared_are_the_same_images(preset):
    mine = make_study(ROWS, seeds=[0, 1], name="mine")
    change_record(job_of(mine, "prepare"), preset="digits")
    assert reasons(mine) == []
    assert why(job_of(mine, "prepare")) == []


def test_a_manifest_that_cannot_be_read_is_a_reason(preset):
    job = job_of(preset, "prepare")
    manifest = Path("data/digits/manifest.csv")
    manifest.write_text("split,path\n")
    change_record(job, outputs={"manifest.csv": sha256(manifest)})
    ((kind, text),) = why(job)
    assert kind == "outputs" and text.startswith(f"{manifest} ")


@pytest.mark.parametrize("gone", ["then", "now"])
def test_a_package_that_is_not_known_of_one_of_both_times_marks_nothing(preset, gone):
    """`now`: it is not installed where results are looked at."""
    job = job_of(preset, "train", row=ROW, seed="0")
    versions = json.loads(job.record.read_text())["versions"]
    if gone == "then":
        change_record(job, versions={name: of for name, of in versions.items() if name != "torch"})
    else:
        change_record(job, versions=versions | {"none-of-pypi": "1.0"})
        job = Job(replace(job.step, packages=("none-of-pypi",)), preset, job.wildcards)
    assert why(job) == []


def test_a_checkpoint_that_is_its_own_runs_weights_is_judged_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = "results/digits/resnet18/imported/weights.safetensors"
    preset = make_preset(["resnet18"], checkpoints={"resnet18": weights})
    job = job_of(preset, "import_checkpoint", row="resnet18")
    write_job(job_of(preset, "prepare"))
    write_job(job)
    assert why(job) == []


def test_a_view_tells_what_there_is_and_what_is_said_of_it(preset):
    """Its inputs' hashes: of the files that are there, other ones where a reason is to be shown beside them."""
    job, gone = job_of(preset, "table", table="ablation"), "resnet18/seed1/evaluation.json"
    job.inputs[gone].unlink()
    hashes = Survey(preset).input_hashes(job)
    assert list(hashes) == [name for name in job.inputs if name != gone]
    assert {name: sha256(job.inputs[name]) for name in hashes} == hashes
    other_code(job_of(preset, "train", row=ROW, seed="0"), "paradise.block")
    marked = Survey(preset).input_hashes(job)
    places = {f"{ROW}/seed0/run.json", f"{ROW}/seed0/evaluation.json"}
    assert {name for name in marked if marked[name] != hashes[name]} == places
    other_code(job_of(preset, "train", row=ROW, seed="0"), "paradise.resnet")
    assert Survey(preset).input_hashes(job)[f"{ROW}/seed0/evaluation.json"] != marked[f"{ROW}/seed0/evaluation.json"]


def test_a_job_of_the_study_is_found_and_another_is_made(preset):
    survey = Survey(preset)
    found = survey.job("train", row=ROW, seed="0")
    assert found is survey.jobs[FOLDER / "run.json"]
    assert str(survey.job("train", row="resnet50", seed="0")) == "train resnet50 seed0"


def test_an_input_that_is_not_here_is_what_its_maker_recorded(preset):
    weights = FOLDER / "weights.safetensors"
    weights.unlink()
    job = job_of(preset, "fuse", row=ROW, run="seed0")
    inputs = json.loads(job.record.read_text())["inputs"]
    assert why(job) == []
    change_record(job, inputs=inputs | {weights.name: "0" * 64})
    assert why(job) == [("inputs", "it was made of another weights.safetensors")]


def test_all_modules_of_other_code_are_named(preset):
    job = job_of(preset, "train", row=ROW, seed="0")
    other_code(job, "paradise.block")
    change_record(job, code=json.loads(job.record.read_text())["code"] | {"paradise.resnet": "0" * 12})
    assert why(job) == [("code", "other code in block, resnet")]
