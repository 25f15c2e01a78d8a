"""The paper's tables: measured, published and difference side by side, as Markdown and CSV."""

import statistics
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from paradise import preset as presets
from paradise.files import write_text
from paradise.names import ablation_rows, detection_rows, imagenet_rows, plain_of
from paradise.study import Study

NOT_RUN = "not run"
DATASETS = {
    "digits": "scikit-learn's 1,797 handwritten digits in 10 classes",
    "fashion-mnist": "Fashion-MNIST, 28×28 pixels of clothing in 10 classes",
    "imagenet": "a part of ImageNet, or other images in folders like its",
}
DETECTION_DATASETS = {"digits": "images composed of scikit-learn's handwritten digits", "coco": "COCO val2017"}
IMAGENET_VALIDATION = 50_000


@dataclass(frozen=True)
class Quantity:
    """One published quantity of one row: what we measured (one value for each seed) beside what the paper prints.

    `anchors` name, in the report, the runs or profiles that measured it.
    """

    key: str
    values: list[float]
    published: str | None
    decimals: int
    anchors: tuple[str, ...] = ()

    def csv(self) -> dict:
        """Cells of a CSV line; a quantity that the paper does not have is empty there."""
        measured = statistics.fmean(self.values) if self.values else NOT_RUN
        published = float(self.published) if self.published else None
        return {
            f"{self.key}_measured": measured,
            f"{self.key}_std": statistics.stdev(self.values) if len(self.values) > 1 else None,
            f"{self.key}_published": published,
            f"{self.key}_difference": measured - published if self.values and published is not None else None,
        }

    def texts(self) -> list[str]:
        """Measured (mean ± standard deviation over seeds), published (no more digits than printed), difference."""
        cells = self.csv()
        published, difference = cells[f"{self.key}_published"], cells[f"{self.key}_difference"]
        measured, std = cells[f"{self.key}_measured"], cells[f"{self.key}_std"]
        if self.values:
            measured = f"{measured:.{self.decimals}f}" + (f" ± {std:.{self.decimals}f}" if std is not None else "")
        if published is not None:
            published = f"{published:.{min(self.decimals, len(self.published.partition('.')[2]))}f}"
        if difference is not None:
            difference = signed(difference, self.decimals)
        return [measured, published or "–", difference or "–"]


@dataclass(frozen=True)
class Value:
    """A cell of one column: a label, or something measured that the paper does not have."""

    text: str
    anchors: tuple[str, ...] = ()


Cell = Quantity | Value


@dataclass
class Table:
    """A table filled line by line; `columns` are the titles of its cells, of which a Quantity takes three columns."""

    title: str
    columns: list[str]
    rows: list[str] = field(default_factory=list)
    csv: list[dict] = field(default_factory=list)
    lines: list[list[Cell]] = field(default_factory=list)
    downloads: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, rows: list[str], csv: dict, cells: list[Cell], runs: list[dict]) -> None:
        """A line that shows the trainings `rows`, whose `runs` can be fetched."""
        self.rows += [row for row in rows if row not in self.rows]
        self.csv.append(csv)
        self.lines.append(cells)
        self.downloads.append("<br>".join(map(_download, runs)) or NOT_RUN)

    def compared(self, column: int) -> bool:
        """Whether the column has quantities, measured beside published."""
        return any(isinstance(line[column], Quantity) for line in self.lines)

    def measured(self, column: int) -> bool:
        """Whether the column has what was measured, beside published or alone."""
        return self.compared(column) or any(line[column].anchors for line in self.lines)

    def markdown(self) -> str:
        headers, lines = [], [[] for _ in self.lines]
        for column, title in enumerate(self.columns):
            wide = self.compared(column)
            headers += [f"**{title}**", "paper", "Δ"] if wide else [title]
            for line, cells in zip(lines, self.lines):
                cell = cells[column]
                line += cell.texts() if isinstance(cell, Quantity) else [cell.text] * (3 if wide else 1)
        for line, download in zip(lines, self.downloads):
            line.append(download)
        return pd.DataFrame(lines).to_markdown(headers=[*headers, "Download"], index=False, disable_numparse=True)


def imagenet(study: Study, paper: Path) -> Table:
    """The paper's first table. Accuracy is of the fused network."""
    titles = "Top-1 %", "Top-5 %", "FLOPs G", "Params M", "Latency ms", "÷ ResNet"
    columns = ["Model", *titles, "MACs G", "Stored M"]
    table = Table("Table 1: classification, complexity and CPU latency", columns)
    lines = dict(imagenet_rows(paper))
    for row, line in lines.items():
        counted, timed = study.complexity["rows"].get(row), study.latency["rows"].get(row)
        ratio = float(line["latency_cpu_ms"]) / float(lines[plain_of(row)]["latency_cpu_ms"])
        count, time = ("profile-complexity",), ("profile-latency",)
        profiled = [
            Quantity("flops_g", [counted["flops"] / 1e9] if counted else [], line["flops_g"], 3, count),
            Quantity("params_m", [counted["params"] / 1e6] if counted else [], line["params_m"], 3, count),
            Quantity("latency_cpu_ms", [timed["median_ms"]] if timed else [], line["latency_cpu_ms"], 1, time),
            Quantity("latency_ratio", [timed["ratio"]] if timed else [], f"{ratio:.3f}", 3, time),
        ]
        macs, stored = (counted["macs"] / 1e9, counted["deploy_params"] / 1e6) if counted else (NOT_RUN, NOT_RUN)
        extra = [Value(f"{value:.3f}" if counted else value, count if counted else ()) for value in (macs, stored)]
        for model, runs in (
            (line["model"], study.runs(row)),
            *((f"{line['model']} ({run['run']['source']})", [run]) for run in study.imported(row)),
        ):
            quantities = [_accuracy(runs, key, key, line[key]) for key in ("top1", "top5")] + profiled
            csv = {"model": model, "row": row}
            for quantity in quantities:
                csv |= quantity.csv()
            csv |= {"macs_g": macs, "deploy_params_m": stored} | _provenance(runs)
            table.add([row], csv, [Value(model), *quantities, *extra], runs)
    table.notes = _notes(study, table) + _profile_notes(study)
    return table


def ablation(study: Study, paper: Path) -> Table:
    """The paper's second table. Its first row has one branch, and so nothing to gate."""
    branches = "standard1", "standard2", "group", "skeleton"
    titles = "PD-A top-1 %", "PD-A top-5 %", "PD-B top-1 %", "PD-B top-5 %"
    table = Table("Table 2: the branches, on ResNet18", [*(branch.capitalize() for branch in branches), *titles])
    for summed, gated, line in ablation_rows(paper):
        csv = {branch: line[branch] for branch in branches}
        cells = [Value("✓" if line[branch] == "1" else "·") for branch in branches]
        for kind, row in (("pd_a", summed), ("pd_b", gated)):
            if row is None:
                cells += [Value("–")] * 2
                continue
            for key in ("top1", "top5"):
                quantity = _accuracy(study.runs(row), f"{kind}_{key}", key, line[f"{kind}_{key}"])
                csv |= quantity.csv()
                cells.append(quantity)
            csv |= {f"{kind}_{key}": value for key, value in _provenance(study.runs(row)).items()}
        rows = [row for row in (summed, gated) if row]
        table.add(rows, csv, cells, [run for row in rows for run in study.runs(row)])
    table.notes = _notes(study, table)
    return table


def detection(study: Study, paper: Path) -> Table:
    """The paper's third table, and below it rows that nobody has published. AP is of the fused detector."""
    keys = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_s": "AP_S", "ap_m": "AP_M", "ap_l": "AP_L"}
    costs = {"flops": ("FLOPs G", 1e9, 2), "params": ("Params M", 1e6, 2), "median_ms": ("Latency ms", 1, 1)}
    columns = ["Detector", "Backbone", *keys.values(), "AP trained", "Outputs differ"]
    columns += [title for name, _, _ in costs.values() for title in (f"{name}, trained", "fused")]
    table = Table("Table 3: detection", [*columns, "÷ ResNet50"])
    for row, line in detection_rows(paper):
        runs, profiled = study.detectors(row), study.detection["rows"].get(row)
        anchors, profile = _anchors(runs), ("profile-detection",) if profiled else ()
        csv = {"detector": line["detector"], "backbone": line["backbone"], "row": row}
        cells = [Value(line["detector"]), Value(line["backbone"])]
        for key in keys:
            values = [run["fused"][key] for run in runs if run["fused"][key] is not None]
            quantity = Quantity(key, values, line.get(key), 1, anchors)
            csv |= quantity.csv()
            cells.append(quantity)
        trained = statistics.fmean(run["trained"]["ap"] for run in runs) if runs else NOT_RUN
        differ = max(run["outputs"]["relative"] for run in runs) if runs else NOT_RUN
        csv |= {"ap_trained": trained, "outputs_relative_difference": differ}
        cells += [
            Value(f"{trained:.1f}" if runs else trained, anchors),
            Value(f"{differ:.0e}" if runs else differ, anchors),
        ]
        for key, (_, unit, decimals) in costs.items():
            for form in ("trained", "fused"):
                value = profiled[form][key] / unit if profiled else NOT_RUN
                csv[f"{key}_{form}"] = value
                cells.append(Value(f"{value:.{decimals}f}" if profiled else NOT_RUN, profile))
        plain = study.detection["rows"].get(f"{row.split('-')[0]}-resnet50")
        ratio = profiled["fused"]["median_ms"] / plain["fused"]["median_ms"] if profiled and plain else NOT_RUN
        csv |= {"latency_ratio": ratio, "runs": _records(runs)}
        cells.append(Value(f"{ratio:.3f}" if ratio != NOT_RUN else ratio, profile))
        table.add([row], csv, cells, runs)
    table.notes = _detection_notes(study, table)
    return table


TABLES = {"imagenet": imagenet, "ablation": ablation, "detection": detection}


def render(name: str, study: Study, preset_name: str, paper: Path = presets.PAPER) -> dict[str, str]:
    """The table `name` (of `presets.tables`) as `<name>.csv` and `<name>.md`: file name → text.

    What has no finished run of the study's preset says "not run".
    """
    if name == "claims":
        from paradise.claims import render  # with scipy, which the tables do without

        return render(study, preset_name, paper)
    table = TABLES[name](study, paper)
    lines = [f"## {table.title} (preset `{preset_name}`)", "", table.markdown(), ""]
    lines += [f"- {note}" for note in table.notes]
    return {f"{name}.csv": pd.DataFrame(table.csv).to_csv(index=False), f"{name}.md": "\n".join(lines) + "\n"}


def write_tables(which: list[str], preset: dict, preset_name: str, results: Path, paper: Path = presets.PAPER) -> None:
    """Writes what `render` says of each table in `which` under `results/tables`.

    Raises UserError for a damaged record.
    """
    study = Study(preset, results)
    for name in which:
        for file, text in render(name, study, preset_name, paper).items():
            write_text(results / "tables" / file, text)


def _notes(study: Study, table: Table) -> list[str]:
    runs = [run for row in table.rows for run in study.runs(row)]
    dataset = study.preset["data"]["dataset"]
    if dataset == "imagenet" and all(run["images"] == IMAGENET_VALIDATION for run in runs):
        notes = [
            "Accuracy, measured (bold) and published, is of ImageNet; the recipe is the paper's in the preset "
            "`imagenet` alone."
        ]
    else:
        notes = [
            f"Measured accuracy (bold) is of {DATASETS[dataset]}, **not ImageNet**; the paper's is of ImageNet. "
            "Their difference (Δ) says nothing about the method."
        ]
    if runs:
        same = sum(run["trained"]["top1_hits"] == run["fused"]["top1_hits"] for run in runs)
        notes += [
            f"Accuracy of the fused network after the last epoch, on {_each(run['images'] for run in runs)} held-out "
            f"images; seed {_each(study.preset['seeds'])}. Each run's best epoch stands in the CSV.",
            f"Trained and fused network have equally many top-1 hits in {same} of {len(runs)} runs; their logits "
            f"differ by at most {max(run['logits']['relative'] for run in runs):.0e} of the largest.",
            f"Trained on {_each(machine(run['run']['machine']) for run in runs)} in "
            f"{_each(run['run']['precision'] for run in runs)}, commit {_each(_commit(run['run']) for run in runs)}.",
        ]
    missing = [row for row in table.rows if not study.runs(row)]
    if missing:
        notes.append(f"Not run: {', '.join(f'`{row}`' for row in missing)}.")
    if study.stale:
        notes.append(f"Not counted, since run with other settings than the preset's now: {', '.join(study.stale)}.")
    return notes


def _detection_notes(study: Study, table: Table) -> list[str]:
    dataset = study.preset["detection"]["dataset"]
    notes = [f"AP by pycocotools, in %, of the fused detectors; measured (bold) on {DETECTION_DATASETS[dataset]}."]
    if dataset != "coco":
        notes[0] += " The paper's is of COCO: **another data set**; their difference (Δ) says nothing about the method."
    notes.append(
        "Rows marked new are not the paper's: there PD-B takes the place of the 3×3 convolutions of the pyramid and of "
        "the dense heads' towers as well."
    )
    runs = [run for row in table.rows for run in study.detectors(row)]
    if runs:
        notes.append(
            f"On {_each(run['images'] for run in runs)} held-out images; seed {_each(study.preset['seeds'])}; trained "
            f"{_each(run['run']['iterations'] for run in runs)} iterations on "
            f"{_each(machine(run['run']['machine']) for run in runs)}, commit "
            f"{_each(_commit(run['run']) for run in runs)}. Outputs differ: the largest difference of any head's "
            "output between both forms, as a part of the largest output."
        )
    if study.detection["rows"]:
        profile = study.detection
        notes.append(
            f"FLOPs (counted as in Table 1), Params and Latency of the network at {profile['image_size']}×"
            f"{profile['image_size']}, without decoding and suppression; Params in each form as it is stored. "
            f"Latency on {machine(profile['machine'])}, threads: {profile['machine']['threads']}; batch 1, median of "
            f"{profile['rounds']} interleaved runs; the last ratio is of the fused forms."
        )
    missing = [row for row in table.rows if not study.detectors(row)]
    if missing:
        notes.append(f"Not run: {', '.join(f'`{row}`' for row in missing)}.")
    if study.stale:
        stale = ", ".join(dict.fromkeys(study.stale))
        notes.append(f"Not counted, since run with other settings, data or backbones than the preset's now: {stale}.")
    return notes


def _profile_notes(study: Study) -> list[str]:
    notes = []
    if study.complexity["rows"]:
        notes.append(
            "FLOPs and Params as the paper counts them: 1000 classes, 224×224, PD-A and PD-B as one 3×3 convolution "
            "with BatchNorm (and PD-B's gate), operations as listed in `profiling/complexity.py`. MACs: "
            "multiply-accumulates alone. Stored: what the fused network keeps; PD-B keeps a kernel for each branch, "
            "which the paper does not count."
        )
    if study.latency["rows"]:
        timed_on, rounds = study.latency["machine"], study.latency["rounds"]
        notes.append(
            f"Latency on {machine(timed_on)}, threads: {timed_on['threads']}; fused, batch 1, 224×224, median of "
            f"{rounds} interleaved runs. The paper's machine is another: compare the ratios to the plain ResNet."
        )
    return notes


def _accuracy(runs: list[dict], key: str, metric: str, published: str) -> Quantity:
    return Quantity(key, [run["fused"][metric] for run in runs], published, 2, _anchors(runs))


def _anchors(runs: list[dict]) -> tuple[str, ...]:
    return tuple(run["anchor"] for run in runs)


def signed(value: float, decimals: int) -> str:
    """With its sign, and a minus as it is printed."""
    return f"{value:+z.{decimals}f}".replace("-", "−")


def _provenance(runs: list[dict]) -> dict:
    """CSV cells that lead from a line to the runs behind it."""
    best = [run["run"]["best"]["val_top1"] for run in runs if "best" in run["run"]]
    return {"top1_best_epoch": statistics.fmean(best) if best else NOT_RUN, "runs": _records(runs)}


def _records(runs: list[dict]) -> str:
    return " ".join(str(run["folder"] / "run.json") for run in runs) or NOT_RUN


def _download(run: dict) -> str:
    """Links to a run's log and record, beside the tables' folder, and how to fetch its weights."""
    folder = run["folder"]
    files = {"log": "log.csv", "record": "run.json"}
    if "checkpoint" in run["run"]:
        del files["log"]
    place = f"detection/{folder.parent.name}" if "detection" in run["run"] else folder.parent.name
    links = [f"[{name}](../{place}/{folder.name}/{file})" for name, file in files.items()]
    return " · ".join([*links, weights(run)])


def weights(run: dict) -> str:
    """How to get the weights of a run."""
    stay = run["run"].get("weights_stay")
    return "weights not shared" if stay else f"`dvc pull {run['folder']}/weights.safetensors`"


def _each(values) -> str:
    return ", ".join(str(value) for value in dict.fromkeys(values))


def machine(machine: dict) -> str:
    """What a record's `machine` computed on: "AMD EPYC (AVX2)"."""
    return f"{machine['gpu'] or machine['processor']} ({machine['instructions']})"


def _commit(run: dict) -> str:
    return f"{run['commit'][:10]}{run['commit'][40:]}" if run["commit"] else "unknown"
