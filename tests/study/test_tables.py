"""Tables from records written here by hand: what is shown, and what must not be."""

import csv
import json
import re
import shutil
import statistics
from pathlib import Path

import pytest
from conftest import PAPER, write, write_run

from paradise.errors import UserError
from paradise.study.tables import write_tables


def tables(results, preset) -> dict[str, tuple[list[dict], list[list[str]], str]]:
    """Name → (CSV lines, cells of the Markdown rows, all of the Markdown)."""
    write_tables(["imagenet", "ablation"], preset, "digits", results, PAPER)
    read = {}
    for name in ("imagenet", "ablation"):
        text = (results / "tables" / f"{name}.md").read_text()
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
        with (results / "tables" / f"{name}.csv").open() as file:
            read[name] = list(csv.DictReader(file)), [cells[0], *cells[2:]], text
    return read


def test_rows_and_columns_are_the_papers(recorded, digits_preset):
    imagenet, ablation = tables(recorded, digits_preset).values()
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


def test_measured_published_and_difference_stand_side_by_side(recorded, digits_preset):
    lines, cells, _ = tables(recorded, digits_preset)["imagenet"]
    first = dict(zip(range(99), cells[1]))
    assert cells[0][:7] == ["Model", "**Top-1 %**", "paper", "Δ", "**Top-5 %**", "paper", "Δ"]
    assert [first[i] for i in range(1, 7)] == ["94.44", "69.63", "+24.81", "100.00", "89.00", "+11.00"]
    assert [first[i] for i in range(7, 19)] == [
        "1.822", "1.822", "+0.000", "11.690", "11.690", "+0.000", "20.0", "12", "+8.0", "1.250", "1.000", "+0.250",
    ]  # fmt: skip
    assert float(lines[0]["top1_measured"]) == pytest.approx(100 * 340 / 360)
    assert float(lines[0]["top1_difference"]) == pytest.approx(100 * 340 / 360 - 69.6349)


def test_published_ratios_are_those_of_the_method(recorded, digits_preset):
    lines, _, _ = tables(recorded, digits_preset)["imagenet"]
    ratios = {line["row"]: float(line["latency_ratio_published"]) for line in lines}
    assert ratios["pd_b_resnet18"] == pytest.approx(14 / 12, abs=1e-3)
    assert ratios["pd_b_resnet50"] == pytest.approx(44 / 42, abs=1e-3)


def test_shared_rows_show_the_same_run(recorded, digits_preset):
    imagenet, ablation = tables(recorded, digits_preset).values()
    by_row = {line["row"]: line["top1_measured"] for line in imagenet[0]}
    assert ablation[0][0]["pd_a_top1_measured"] == by_row["resnet18"]
    assert ablation[0][3]["pd_a_top1_measured"] == by_row["ac_resnet18"]
    assert ablation[0][5]["pd_b_top1_measured"] == by_row["pd_b_resnet18"]
    assert ablation[1][1][10:16] == ["–"] * 6, "one branch has nothing to gate"


def test_every_number_leads_to_its_run(recorded, digits_preset):
    lines, cells, _ = tables(recorded, digits_preset)["imagenet"]
    for line, row in zip(lines, cells[1:]):
        assert line["runs"] == str(recorded / line["row"] / "seed0" / "run.json")
        folder = recorded / line["row"] / "seed0"
        links = dict(re.findall(r"\[(\w+)\]\(([^)]+)\)", row[-1]))
        assert {name: (recorded / "tables" / link).resolve() for name, link in links.items()} == {
            "log": (folder / "log.csv").resolve(),
            "record": (folder / "run.json").resolve(),
        }
        assert row[-1].endswith(f"`dvc pull {folder}/weights.safetensors`")


def test_weights_that_stayed_where_they_were_trained_are_not_offered(recorded, digits_preset):
    run = json.loads((recorded / "resnet18" / "seed0" / "run.json").read_text())
    write(recorded / "resnet18" / "seed0" / "run.json", run | {"weights_stay": True})
    _, cells, _ = tables(recorded, digits_preset)["imagenet"]
    assert cells[1][-1].endswith("· weights not shared")
    assert "`dvc pull" in cells[2][-1]


def test_a_checkpoint_of_others_has_a_line_of_its_own(recorded, digits_preset):
    digits_preset["checkpoints"] = {"pd_b_resnet18": "theirs.pth.tar"}
    write_run(recorded, digits_preset, "pd_b_resnet18", 0, hits=350)
    folder = Path(shutil.copytree(recorded / "pd_b_resnet18" / "seed0", recorded / "pd_b_resnet18" / "imported"))
    run = json.loads((folder / "run.json").read_text())
    del run["best"]
    write(folder / "run.json", run | {"checkpoint": {}, "source": "authors' checkpoint", "recipe": {"batch_size": 9}})
    evaluation = json.loads((folder / "evaluation.json").read_text())
    evaluation["fused"]["top1"] = 72.0
    write(folder / "evaluation.json", evaluation)
    lines, cells, _ = tables(recorded, digits_preset)["imagenet"]
    ours, theirs = (line for line in lines if line["row"] == "pd_b_resnet18")
    assert (ours["model"], theirs["model"]) == ("PD-B-ResNet18", "PD-B-ResNet18 (authors' checkpoint)")
    assert float(ours["top1_measured"]) == 100 * 350 / 360
    assert float(theirs["top1_measured"]) == 72
    assert theirs["latency_ratio_measured"] == ours["latency_ratio_measured"]
    assert len(lines) == 13
    assert "log.csv" not in cells[1 + lines.index(theirs)][-1]


def test_the_notes_say_what_was_measured_and_where(recorded, digits_preset):
    imagenet, ablation = tables(recorded, digits_preset).values()
    for _, _, text in (imagenet, ablation):
        assert "1,797 handwritten digits in 10 classes, **not ImageNet**" in text
        assert "in 12 of 12 runs" in text if "Table 1" in text else "in 11 of 11 runs" in text
        assert "commit 0123456789." in text
    assert (
        "Latency on Example CPU (AVX2), threads: 1; fused, batch 1, 224×224, median of 9 interleaved runs"
        in imagenet[2]
    )


def test_several_seeds_give_mean_and_standard_deviation(recorded, digits_preset):
    digits_preset["seeds"] = [0, 1, 2]
    write_run(recorded, digits_preset, "resnet18", 1, hits=350)
    write_run(recorded, digits_preset, "resnet18", 2, hits=354)
    lines, cells, _ = tables(recorded, digits_preset)["imagenet"]
    values = [100 * hits / 360 for hits in (340, 350, 354)]
    assert float(lines[0]["top1_measured"]) == pytest.approx(statistics.mean(values))
    assert float(lines[0]["top1_std"]) == pytest.approx(statistics.stdev(values))
    assert cells[1][1] == f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def test_a_missing_row_says_not_run(recorded, digits_preset):
    shutil.rmtree(recorded / "ge_resnet18")
    (recorded / "profile" / "latency.json").unlink()
    lines, cells, text = tables(recorded, digits_preset)["imagenet"]
    assert cells[3][:4] == ["GE-ResNet18", "not run", "70.40", "–"]
    assert cells[3][-1] == "not run"
    assert cells[3][7:9] == ["1.822", "1.825"]
    assert all(row[13] == "not run" for row in cells[1:])
    assert lines[2]["top1_measured"] == lines[2]["runs"] == lines[0]["latency_cpu_ms_measured"] == "not run"
    assert "- Not run: `ge_resnet18`." in text


def test_with_nothing_measured_every_row_says_so(tmp_path, digits_preset):
    for lines, cells, _ in tables(tmp_path, digits_preset).values():
        measured = [value for line in lines for key, value in line.items() if key.endswith("_measured")]
        assert set(measured) <= {"not run", ""}
        assert all("not run" in row for row in cells[1:])


@pytest.mark.parametrize(
    "change",
    [
        lambda run, metrics: run["recipe"].update(epochs=99),
        lambda run, metrics: run["data"].update(resize=40),
        lambda run, metrics: run.update(files={"weights.safetensors": "other"}),
        lambda run, metrics: metrics.update(files={"weights.safetensors": "other"}),
    ],
)
def test_a_run_of_other_settings_or_weights_does_not_count(recorded, digits_preset, change):
    paths = [recorded / "resnet18" / "seed0" / name for name in ("run.json", "evaluation.json")]
    records = [json.loads(path.read_text()) for path in paths]
    change(*records)
    for path, record in zip(paths, records):
        write(path, record)
    _, cells, text = tables(recorded, digits_preset)["imagenet"]
    assert cells[1][1] == "not run"
    assert "run with other settings than the preset's now: resnet18 seed0." in text


@pytest.mark.parametrize("name", ["run.json", "evaluation.json"])
@pytest.mark.parametrize("text", ["", '{"row": ', "{}"])
def test_a_damaged_record_is_named_and_no_table_written(recorded, digits_preset, name, text):
    (recorded / "resnet18" / "seed0" / name).write_text(text)
    with pytest.raises(UserError, match="damaged"):
        write_tables(["imagenet"], digits_preset, "digits", recorded, PAPER)
    assert not (recorded / "tables").exists()


@pytest.mark.parametrize(
    "dataset,images,note",
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
def test_the_data_are_named(recorded, digits_preset, dataset, images, note):
    digits_preset["data"]["dataset"] = dataset
    for path in recorded.glob("*/seed0/*.json"):
        record = json.loads(path.read_text())
        if path.name == "evaluation.json":
            record["images"] = images
        else:
            record["data"]["dataset"] = dataset
        write(path, record)
    first = next(line for line in tables(recorded, digits_preset)["imagenet"][2].splitlines() if line.startswith("- "))
    assert note in first
    assert ("says nothing about the method" in first) == ("**not ImageNet**" in first)
