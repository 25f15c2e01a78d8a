"""Tables of a study written here: what is shown, what is marked, and what must not be shown."""

import csv
import lzma
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PAPER, REPOSITORY, changed
from written import IMAGES, change_record, job_of, make_preset, make_study, other_code, write_job

from paradise.errors import UserError
from paradise.study.preset import Preset
from paradise.study.records import PREDICTIONS, View, read_record
from paradise.study.registry import TABLES
from paradise.study.rows import Row, Run
from paradise.study.stale import Survey
from paradise.study.steps.table import wanted
from paradise.study.tables import write_tables
from paradise.study.terminal.commands.show import command as show

Tables = dict[str, tuple[list[dict], list[list[str]], str]]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def right_on(counts: dict[str, int], others: int = 340):
    """As many images right as `counts` says of a run, of others `others`."""
    return lambda run: [image < counts.get(str(run), others) for image in range(IMAGES)]


def tables(preset: Preset) -> Tables:
    """Name → (CSV lines, cells of the Markdown rows, all of the Markdown)."""
    write_tables(wanted(preset), preset)
    read = {}
    for name in wanted(preset):
        text = (preset.results / "tables" / f"{name}.md").read_text()
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
        with (preset.results / "tables" / f"{name}.csv").open() as file:
            read[name] = list(csv.DictReader(file)), [cells[0], *cells[2:]], text
    return read


def notes(text: str) -> list[str]:
    return [line.removeprefix("- ") for line in text.splitlines() if line.startswith("- ")]


def test_rows_and_columns_are_the_papers():
    read = tables(make_study())
    imagenet, ablation, detection = read["imagenet"], read["ablation"], read["detection"]
    with (PAPER / "imagenet.csv").open() as file:
        published = list(csv.DictReader(file))
    assert [line["model"] for line in imagenet[0]] == [line["model"] for line in published]
    assert [cells[0] for cells in imagenet[1][1:]] == [line["model"] for line in published]
    for key in ("top1", "top5", "flops_g", "params_m", "latency_cpu_ms"):
        assert [float(line[f"{key}_published"]) for line in imagenet[0]] == [float(line[key]) for line in published]
    with (PAPER / "ablation.csv").open() as file:
        published = list(csv.DictReader(file))
    branches = ("standard1", "standard2", "group", "skeleton")
    assert [[line[key] for key in branches] for line in ablation[0]] == [
        [line[key] for key in branches] for line in published
    ]
    for key in ("pd_a_top1", "pd_a_top5", "pd_b_top1", "pd_b_top5"):
        assert [line[f"{key}_published"] for line in ablation[0]][1:] == [
            str(float(line[key])) for line in published[1:]
        ]
    with (PAPER / "coco.csv").open() as file:
        published = list(csv.DictReader(file))
    assert [(line["detector"], line["backbone"]) for line in detection[0][:6]] == [
        (line["detector"], line["backbone"]) for line in published
    ]
    assert [line["row"] for line in detection[0][6:]] == [
        "retinanet-pd_b_resnet50-inside",
        "cascade_rcnn-pd_b_resnet50-inside",
    ]
    assert [line["ap_published"] for line in detection[0]] == [*(line["ap"] for line in published), "", ""]


def test_measured_published_and_difference_stand_side_by_side():
    lines, cells, _ = tables(make_study(right=right_on({})))["imagenet"]
    assert cells[2][13:19] == ["20.0", "13", "+7.0", "1.250", "1.083", "+0.167"]
    assert cells[0][:7] == ["Model", "**Top-1 %**", "paper", "Δ", "**Top-5 %**", "paper", "Δ"]
    assert cells[1][1:7] == ["94.44", "69.63", "+24.81", "100.00", "89.00", "+11.00"]
    flops, params = ["1.822", "1.822", "+0.000"], ["11.690", "11.690", "+0.000"]
    assert cells[1][7:19] == [*flops, *params, "16.0", "12", "+4.0", "1.000", "1.000", "+0.000"]
    assert float(lines[0]["top1_measured"]) == pytest.approx(100 * 340 / 360)
    assert float(lines[0]["top1_difference"]) == pytest.approx(100 * 340 / 360 - 69.6349)


def test_published_ratios_are_those_of_the_method():
    lines, _, _ = tables(make_preset())["imagenet"]
    ratios = {line["row"]: float(line["latency_ratio_published"]) for line in lines}
    assert ratios["pd_b_resnet18"] == pytest.approx(14 / 12, abs=1e-3)
    assert ratios["pd_b_resnet50"] == pytest.approx(44 / 42, abs=1e-3)


def test_shared_rows_show_the_same_run():
    read = tables(make_study())
    imagenet, ablation = read["imagenet"], read["ablation"]
    by_row = {line["row"]: line["top1_measured"] for line in imagenet[0]}
    assert ablation[0][0]["pd_a_top1_measured"] == by_row["resnet18"]
    assert ablation[0][3]["pd_a_top1_measured"] == by_row["ac_resnet18"]
    assert ablation[0][5]["pd_b_top1_measured"] == by_row["pd_b_resnet18"]
    assert ablation[1][1][10:16] == ["–"] * 6, "one branch has nothing to gate"


@pytest.mark.parametrize("table", ["imagenet", "detection"])
def test_every_number_leads_to_its_run(table):
    preset = make_study()
    lines, cells, _ = tables(preset)[table]
    place = preset.results / "detection" if table == "detection" else preset.results
    for line, row in zip(lines, cells[1:]):
        folder = place / line["row"] / "seed0"
        assert line["runs"] == str(folder / "run.json")
        links = dict(re.findall(r"\[(\w+)\]\(([^)]+)\)", row[-1]))
        assert {name: (preset.results / "tables" / link).resolve() for name, link in links.items()} == {
            "log": (folder / "log.csv").resolve(),
            "record": (folder / "run.json").resolve(),
        }
        assert row[-1].endswith(f"`dvc pull {folder}/weights.safetensors`")


def test_weights_that_stayed_where_they_were_trained_are_not_offered():
    preset = make_study()
    change_record(job_of(preset, "train", row="resnet18", seed="0"), weights_stay=True)
    _, cells, _ = tables(preset)["imagenet"]
    assert cells[1][-1].endswith("· weights not shared")
    assert "`dvc pull" in cells[2][-1]


def test_a_checkpoint_of_others_has_a_line_of_its_own():
    right = right_on({"pd_b_resnet18 seed0": 350, "pd_b_resnet18 imported": 180})
    preset = make_study(right=right, checkpoints={"pd_b_resnet18": "theirs.pth.tar"})
    lines, cells, text = tables(preset)["imagenet"]
    ours, theirs = (line for line in lines if line["row"] == "pd_b_resnet18")
    assert (ours["model"], theirs["model"]) == ("PD-B-ResNet18", "PD-B-ResNet18 (authors' checkpoint)")
    assert float(ours["top1_measured"]) == 100 * 350 / 360
    assert float(theirs["top1_measured"]) == 50
    assert theirs["latency_ratio_measured"] == ours["latency_ratio_measured"]
    assert len(lines) == 13
    assert "log.csv" not in cells[1 + lines.index(theirs)][-1]
    assert "Not" not in [note.split()[0] for note in notes(text)]


def test_the_notes_say_what_was_measured_and_where():
    read = tables(make_study(right=right_on({})))
    trained = "Trained on Example CPU (AVX2) in float32, commit 0123456789."
    first = (
        "Measured accuracy (bold) is of scikit-learn's 1,797 handwritten digits in 10 classes, **not ImageNet**; the "
        "paper's is of ImageNet. Their difference (Δ) says nothing about the method."
    )
    second = (
        "Accuracy of the fused network after the last epoch, on 360 held-out images; seed 0. Each run's best epoch "
        "stands in the CSV."
    )
    logits = "their logits differ by at most 1e-06 of the largest."
    of_twelve = f"Trained and fused network have equally many top-1 hits in 12 of 12 runs; {logits}"
    of_eleven = f"Trained and fused network have equally many top-1 hits in 11 of 11 runs; {logits}"
    profiles = [
        "FLOPs and Params as the paper counts them: 1000 classes, 224×224, PD-A and PD-B as one 3×3 convolution with "
        "BatchNorm (and PD-B's gate), operations as listed in `profiling/complexity.py`. MACs: multiply-accumulates "
        "alone. Stored: what the fused network keeps; PD-B keeps a kernel for each branch, which the paper does not "
        "count.",
        "Latency on Example CPU (AVX2), threads: 1; fused, batch 1, 224×224, median of 100 interleaved runs. The "
        "paper's machine is another: compare the ratios to the plain ResNet.",
    ]
    assert notes(read["imagenet"][2]) == [first, second, of_twelve, trained, *profiles]
    assert notes(read["ablation"][2]) == [first, second, of_eleven, trained]
    assert notes(read["detection"][2])[0] == (
        "AP by pycocotools, in %, of the fused detectors; measured (bold) on images composed of scikit-learn's "
        "handwritten zeros and ones. The paper's is of COCO: **another data set**; their difference (Δ) says nothing "
        "about the method."
    )


def test_several_seeds_give_mean_and_standard_deviation():
    preset = make_study(seeds=[0, 1, 2], right=right_on({"resnet18 seed1": 350, "resnet18 seed2": 354}))
    lines, cells, _ = tables(preset)["imagenet"]
    values = [100 * hits / 360 for hits in (340, 350, 354)]
    assert float(lines[0]["top1_measured"]) == pytest.approx(statistics.mean(values))
    assert float(lines[0]["top1_std"]) == pytest.approx(statistics.stdev(values))
    assert cells[1][1] == f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def test_a_missing_row_says_not_run():
    preset = make_study()
    shutil.rmtree(preset.results / "ge_resnet18")
    (preset.results / "profile" / "latency.json").unlink()
    lines, cells, text = tables(preset)["imagenet"]
    assert cells[3][:4] == ["GE-ResNet18", "not run", "70.40", "–"]
    assert cells[3][-1] == "not run"
    assert cells[3][7:9] == ["1.822", "1.825"]
    assert all(row[13] == "not run" for row in cells[1:])
    assert lines[2]["top1_measured"] == lines[2]["runs"] == lines[0]["latency_cpu_ms_measured"] == "not run"
    assert [note for note in notes(text) if note.startswith("Not")] == ["Not run: `ge_resnet18`."]


def test_with_nothing_measured_every_row_says_so():
    for name, (lines, cells, _) in tables(make_preset()).items():
        measured = [value for line in lines for key, value in line.items() if key.endswith("measured")]
        assert set(measured) <= {"not run", ""}
        assert all("not run" in row[-1] or row[0].startswith("**") for row in cells[1:]), name


def of_other_settings(preset: Preset) -> Preset:
    return changed(preset, training={"momentum": 0.5})


def of_other_weights(preset: Preset) -> Preset:
    Path(preset.results, "resnet18", "seed0", "weights.safetensors").write_text("others")
    return preset


def of_other_predictions(preset: Preset) -> Preset:
    path = Path(preset.results, "resnet18", "seed0", PREDICTIONS)
    path.write_bytes(lzma.compress(lzma.decompress(path.read_bytes()).replace(b"val/0/0000.png", b"val/0/9999.png")))
    return preset


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (of_other_settings, "momentum changed"),
        (
            of_other_weights,
            "it was made of another weights.safetensors; "
            "results/digits/resnet18/seed0/weights.safetensors changed since it was made",
        ),
        (of_other_predictions, "results/digits/resnet18/seed0/predictions.csv.xz changed since it was made"),
    ],
)
def test_a_run_of_other_settings_or_files_is_not_shown(change, why):
    preset = make_study(["resnet18"])
    lines, cells, text = tables(change(preset))["imagenet"]
    assert (lines[0]["top1_measured"], cells[1][1]) == ("not run", "not run")
    said = [note for note in notes(text) if note.startswith("Not")]
    assert said[0].startswith("Not run: `se_resnet18`, ")
    assert said[1:] == [f"Not shown: `resnet18` seed0 ({why})."]


def test_what_is_not_shown_is_said_once_for_all_that_have_the_same_reason():
    preset = make_study(["resnet18", "pd_b_resnet18"], seeds=[0, 1])
    text = tables(changed(preset, data={"resize": 40}))["imagenet"][2]
    assert "- Not shown: `resnet18` seed0, seed1, `pd_b_resnet18` seed0, seed1 (data.resize changed).\n" in text


def test_a_run_of_other_code_is_shown_and_marked():
    preset = make_study(seeds=[0, 1], right=right_on({}))
    other_code(job_of(preset, "train", row="resnet18", seed="1"), "paradise.study.training.loop")
    read = tables(preset)
    lines, cells, text = read["imagenet"]
    assert cells[1][1:5] == ["94.44 ± 0.00†", "69.63", "+24.81", "100.00 ± 0.00†"]
    assert cells[1][7] == "1.822", "what was counted is of today's code"
    assert not any("†" in cell for row in cells[2:] for cell in row)
    assert [line["marks"] for line in lines] == ["other code in study.training.loop", *[""] * 11]
    note = (
        "† made by other code or packages than today's: `resnet18` seed1 (commit 0123456789: other code in "
        "study.training.loop); `paradise status` says what would be computed again."
    )
    assert [note for note in notes(text) if note.startswith("†")] == [note]
    assert read["ablation"][0][0]["pd_a_marks"] == "other code in study.training.loop"
    assert [line for line in read["ablation"][1] if any("†" in cell for cell in line)] == [read["ablation"][1][1]]
    claims, cells, text = read["claims"]
    marked = [line["comparison"] for line in claims if line["marks"]]
    assert [name for name in marked if name.startswith("PD-A:")] == [
        "PD-A: Standard2 added to Standard1",
        "PD-A: Group added to Standard1",
        "PD-A: Skeleton added to Standard1",
    ]
    assert "PD-B-ResNet18 − ResNet18" in marked and "PD-B − PD-A, ResNet18" not in marked
    assert [row[0] for row in cells[1:] if "†" in row[2]] == marked
    assert note in notes(text)


def test_a_profile_of_other_code_is_marked_where_it_is_shown():
    preset = make_study()
    other_code(job_of(preset, "latency"), "paradise.study.profiling.latency")
    read = tables(preset)
    lines, cells, text = read["imagenet"]
    assert [cell for cell in cells[1] if "†" in cell] == ["16.0†", "1.000†"]
    assert {line["marks"] for line in lines} == {"other code in study.profiling.latency"}
    assert "- † made by other code or packages than today's: `latency` (commit 0123456789: other code in" in text
    assert [line["unit"] for line in read["claims"][0] if line["marks"]] == ["×"] * 4


def test_a_run_by_another_version_of_a_package_is_marked():
    preset = make_study(["resnet18"])
    job = job_of(preset, "train", row="resnet18", seed="0")
    from importlib.metadata import version

    change_record(job, versions={"torch": "1.0.0"})
    lines, _, _ = tables(preset)["imagenet"]
    now = version("torch").partition("+")[0]
    assert lines[0]["marks"] == f"torch 1.0.0, now {now}"


@pytest.mark.parametrize("name", ["run.json", "evaluation.json"])
@pytest.mark.parametrize("text", ["", '{"row": ', "{}"])
def test_a_damaged_record_is_named_and_no_table_written(name, text):
    preset = make_study(["resnet18"])
    (preset.results / "resnet18" / "seed0" / name).write_text(text)
    with pytest.raises(UserError, match=rf"^results/digits/resnet18/seed0/{name} is damaged .*; delete it and run"):
        write_tables(["imagenet"], preset)
    assert not (preset.results / "tables").exists()


@pytest.mark.parametrize(
    ("dataset", "images", "note"),
    [
        ("fashion-mnist", 10_000, "is of Fashion-MNIST, 28×28 pixels of clothing in 10 classes, **not ImageNet**;"),
        ("imagenet", 60, "is of a part of ImageNet, or other images in folders like its, **not ImageNet**;"),
        (
            "imagenet",
            50_000,
            "Accuracy, measured (bold) and published, is of ImageNet; the recipe is the paper's in the",
        ),
    ],
)
def test_the_data_are_named(dataset, images, note):
    preset = make_study(["resnet18"], right=lambda run: [True] * images, data={"dataset": dataset})
    first = notes(tables(preset)["imagenet"][2])[0]
    assert note in first
    assert ("says nothing about the method" in first) == ("**not ImageNet**" in first)


def test_a_row_that_was_trained_beside_the_presets_own_is_shown():
    preset = make_study(["resnet18", "se_resnet18"])
    lines, _, _ = tables(make_preset(["resnet18"]))["imagenet"]
    assert lines[1]["runs"] == str(Run(Row.parse("se_resnet18"), 0).folder(preset.results) / "run.json")


def test_a_table_says_what_it_was_made_of_and_is_the_same_each_time():
    preset = make_study()
    written = []
    for _ in range(2):
        tables(preset)
        written.append({path.name: path.read_bytes() for path in (preset.results / "tables").iterdir()})
    assert written[0] == written[1]
    assert set(written[0]) == {f"{name}.{kind}" for name in wanted(preset) for kind in ("csv", "md", "json")}
    record = read_record(preset.results / "tables" / "claims.json", View)
    assert record is not None and record.of == {"table": "claims"}
    assert {"resnet18/seed0/predictions.csv.xz", "profile/latency.json", "coco.csv"} <= set(record.inputs)
    assert set(record.outputs) == {"claims.md", "claims.csv"}
    survey = Survey(preset)
    assert not any(survey.why_stale(job_of(preset, "table", table=name)) for name in wanted(preset))


@pytest.mark.parametrize("name", ["imagenet", "ablation", "detection", "claims"])
def test_a_table_is_of_another_study_where_anything_that_it_shows_changed(name):
    preset = make_study()
    write_tables(wanted(preset), preset)
    job = job_of(preset, "table", table=name)
    shown = {preset.results / place for place in TABLES.get(name).shows(preset)}
    records = [job for job in Survey(preset).jobs.values() if job.record in shown]
    assert len(records) >= 16
    for other in records[:: max(len(records) // 4, 1)]:
        before = other.record.read_text()
        change_record(other, commit="f" * 40)
        assert [str(reason) for reason in Survey(preset).why_stale(job)] == ["it does not show the results as they are"]
        other.record.write_text(before)
    assert not Survey(preset).why_stale(job)


def test_a_table_is_of_another_study_where_a_run_of_it_is_marked_since():
    preset = make_study(["resnet18"])
    write_tables(["imagenet"], preset)
    write_job(job_of(preset, "complexity"), code={"paradise": "0" * 12})
    assert Survey(preset).why_stale(job_of(preset, "table", table="imagenet"))


def test_a_new_table_is_one_file(monkeypatch, tmp_path):
    package = tmp_path / "package" / "paradise" / "study" / "tables"
    package.parent.parent.parent.mkdir()
    shutil.copytree(REPOSITORY / "src" / "paradise", tmp_path / "package" / "paradise")
    (package / "seeds.py").write_text(
        '"""How many seeds there are."""\n'
        "from paradise.study.table import StudyTable, Table, Value\n\n\n"
        "def make(study):\n"
        '    table = Table(["Seeds"])\n'
        '    table.add({"seeds": len(study.preset.seeds)}, [Value(str(len(study.preset.seeds)))])\n'
        "    return table\n\n\n"
        'TABLE = StudyTable("Seeds", 9, make, lambda preset: [])\n'
    )
    preset = make_preset(["resnet18"], seeds=[0, 1])
    command = [sys.executable, "-m", "paradise", "tables", "--preset", str(preset.path)]
    subprocess.run(command, check=True, env={"PYTHONPATH": str(tmp_path / "package"), "PATH": ""})
    assert (preset.results / "tables" / "seeds.csv").read_text() == "seeds\n2\n"
    assert read_record(preset.results / "tables" / "seeds.json", View) is not None


def test_tables_are_written_without_torch_pandas_or_statsmodels():
    preset = make_study(["resnet18", "pd_b_resnet18"], seeds=[0, 1])
    code = (
        "import sys\nfrom pathlib import Path\nfrom paradise.study.preset import Preset\n"
        "from paradise.study.steps.table import wanted\nfrom paradise.study.tables import write_tables\n"
        f"preset = Preset.load(Path('{preset.path}'))\nwrite_tables(wanted(preset), preset)\n"
        "slow = {'torch', 'pandas', 'scipy.stats', 'statsmodels', 'matplotlib', 'mmdet', 'sklearn'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(REPOSITORY / "src")})


def test_a_terminal_of_100_columns_has_room_for_each_table(capsys):
    preset = make_study(right=right_on({"pd_b_resnet18 seed0": 351}))
    show(preset=preset.path)
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 100
    titles = [line for line in said.splitlines() if line.startswith("Table ")]
    assert [title.split(":")[0] for title in titles] == ["Table 1", "Table 2", "Table 3"]
    assert re.search(
        r"^PD-B-ResNet18 +97\.50 \(72\.09\) +1\.822 \(1\.822\) +20\.0 \(14\) +1\.250 \(1\.167\)$", said, re.M
    )
    assert " ".join(said.split()).count("not ImageNet; the paper's is of ImageNet.") == 2
    assert said.splitlines()[-1] == "All columns, and all notes: results/digits/tables/"
    show(["ablation"], preset.path)
    assert "Table 1" not in capsys.readouterr().out


def test_a_terminal_is_told_what_is_marked(capsys):
    preset = make_study()
    other_code(job_of(preset, "train", row="resnet18", seed="0"), "paradise.study.training.loop")
    show(["imagenet"], preset.path)
    said = capsys.readouterr().out
    assert re.search(r"^ResNet18 .*†", said, re.M) and re.search(r"^† ", said, re.M)
