"""The paper's tables: measured, published and difference side by side, as Markdown and CSV."""

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from paradise import preset as presets
from paradise.causes import other_detection, other_settings
from paradise.errors import UserError
from paradise.files import write_text
from paradise.names import ablation_rows, detection_rows, imagenet_rows, plain_of

NOT_RUN = "not run"
DATASETS = {
    "digits": "scikit-learn's 1,797 handwritten digits in 10 classes",
    "fashion-mnist": "Fashion-MNIST, 28×28 pixels of clothing in 10 classes",
    "imagenet": "a part of ImageNet, or other images in folders like its",
}
DETECTION_DATASETS = {"digits": "images composed of scikit-learn's handwritten digits", "coco": "COCO val2017"}
IMAGENET_VALIDATION = 50_000


class Study:
    """The records of one preset under `results/<preset>`. `stale` lists the runs that were made with other settings."""

    def __init__(self, preset: dict, results: Path):
        self.preset, self.results = preset, results
        self.complexity = _read(results / "profile" / "complexity.json") or {"rows": {}}
        self.latency = _read(results / "profile" / "latency.json") or {"rows": {}}
        self.detection = _read(results / "profile" / "detection.json") or {"rows": {}}
        self.stale: list[str] = []
        self._runs: dict[str, list[dict]] = {}

    def runs(self, row: str) -> list[dict]:
        """The evaluated runs of `row`, one for each seed that counts: its evaluation, with its run record as `run`."""
        if row not in self._runs:
            runs = [self._run(row, f"seed{seed}") for seed in self.preset["seeds"]]
            self._runs[row] = [run for run in runs if run is not None]
        return self._runs[row]

    def detectors(self, row: str) -> list[dict]:
        """As `runs`, of a detection row."""
        runs = [self._run(f"detection/{row}", f"seed{seed}") for seed in self.preset["seeds"]]
        return [run for run in runs if run is not None]

    def imported(self, row: str) -> list[dict]:
        """The evaluated checkpoint of others for `row`, as `runs` has those trained here; one or none."""
        run = self._run(row, "imported") if row in self.preset.get("checkpoints", {}) else None
        return [run] if run is not None else []

    def _run(self, row: str, name: str) -> dict | None:
        folder = self.results / row / name
        metrics, run = _read(folder / "evaluation.json"), _read(folder / "run.json")
        if metrics is None or run is None:
            return None
        try:
            metrics |= {"run": run, "folder": folder}
            current = (
                run["files"]["weights.safetensors"] == metrics["files"]["weights.safetensors"]
                and self._other(run) is None
            )
        except (KeyError, TypeError) as error:
            raise UserError(
                f"a record in {folder} is damaged ({error!r}); delete the folder and run snakemake"
            ) from None
        if not current:
            # A number of another training than this preset's must not stand in its table.
            self.stale.append(f"{row} {name}")
            return None
        return metrics

    def _other(self, run: dict) -> str | None:
        if "detection" in run:
            return other_detection(run, self.preset, self.results)
        return other_settings(run, self.preset)


@dataclass(frozen=True)
class Quantity:
    """One published quantity of one row: what we measured (one value for each seed) beside what the paper prints."""

    key: str
    values: list[float]
    published: str | None
    decimals: int

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

    def markdown(self) -> list[str]:
        """Measured (mean ± standard deviation over seeds), published (no more digits than printed), difference."""
        cells = self.csv()
        published, difference = cells[f"{self.key}_published"], cells[f"{self.key}_difference"]
        measured, std = cells[f"{self.key}_measured"], cells[f"{self.key}_std"]
        if self.values:
            measured = f"{measured:.{self.decimals}f}" + (f" ± {std:.{self.decimals}f}" if std is not None else "")
        if published is not None:
            published = f"{published:.{min(self.decimals, len(self.published.partition('.')[2]))}f}"
        if difference is not None:
            difference = f"{difference:+z.{self.decimals}f}".replace("-", "−")
        return [measured, published or "–", difference or "–"]


@dataclass
class Table:
    """A table in both its forms, filled row by row."""

    title: str
    headers: list[str]
    rows: list[str] = field(default_factory=list)
    csv: list[dict] = field(default_factory=list)
    markdown: list[list[str]] = field(default_factory=list)

    def add(self, rows: list[str], csv: dict, markdown: list[str]) -> None:
        """A line that shows the trainings `rows`."""
        self.rows += [row for row in rows if row not in self.rows]
        self.csv.append(csv)
        self.markdown.append(markdown)


def imagenet(study: Study, paper: Path) -> Table:
    """The paper's first table. Accuracy is of the fused network."""
    titles = "Top-1 %", "Top-5 %", "FLOPs G", "Params M", "Latency ms", "÷ ResNet"
    headers = ["Model", *_triples(titles), "MACs G", "Stored M", "Download"]
    table = Table("Table 1: classification, complexity and CPU latency", headers)
    lines = dict(imagenet_rows(paper))
    for row, line in lines.items():
        counted, timed = study.complexity["rows"].get(row), study.latency["rows"].get(row)
        ratio = float(line["latency_cpu_ms"]) / float(lines[plain_of(row)]["latency_cpu_ms"])
        profiled = [
            Quantity("flops_g", [counted["flops"] / 1e9] if counted else [], line["flops_g"], 3),
            Quantity("params_m", [counted["params"] / 1e6] if counted else [], line["params_m"], 3),
            Quantity("latency_cpu_ms", [timed["median_ms"]] if timed else [], line["latency_cpu_ms"], 1),
            Quantity("latency_ratio", [timed["ratio"]] if timed else [], f"{ratio:.3f}", 3),
        ]
        macs, stored = (counted["macs"] / 1e9, counted["deploy_params"] / 1e6) if counted else (NOT_RUN, NOT_RUN)
        for model, runs in (
            (line["model"], study.runs(row)),
            *((f"{line['model']} ({run['run']['source']})", [run]) for run in study.imported(row)),
        ):
            quantities = [_accuracy(runs, key, key, line[key]) for key in ("top1", "top5")] + profiled
            csv = {"model": model, "row": row}
            for quantity in quantities:
                csv |= quantity.csv()
            csv |= {"macs_g": macs, "deploy_params_m": stored} | _provenance(runs)
            extra = [f"{value:.3f}" if counted else value for value in (macs, stored)]
            cells = [cell for quantity in quantities for cell in quantity.markdown()]
            table.add([row], csv, [model, *cells, *extra, _downloads(runs)])
    return table


def ablation(study: Study, paper: Path) -> Table:
    """The paper's second table. Its first row has one branch, and so nothing to gate."""
    branches = "standard1", "standard2", "group", "skeleton"
    titles = "PD-A top-1 %", "PD-A top-5 %", "PD-B top-1 %", "PD-B top-5 %"
    headers = [*(branch.capitalize() for branch in branches), *_triples(titles), "Download"]
    table = Table("Table 2: the branches, on ResNet18", headers)
    for summed, gated, line in ablation_rows(paper):
        csv = {branch: line[branch] for branch in branches}
        markdown = ["✓" if line[branch] == "1" else "·" for branch in branches]
        for kind, row in (("pd_a", summed), ("pd_b", gated)):
            if row is None:
                markdown += ["–"] * 6
                continue
            for key in ("top1", "top5"):
                quantity = _accuracy(study.runs(row), f"{kind}_{key}", key, line[f"{kind}_{key}"])
                csv |= quantity.csv()
                markdown += quantity.markdown()
            csv |= {f"{kind}_{key}": value for key, value in _provenance(study.runs(row)).items()}
        rows = [row for row in (summed, gated) if row]
        table.add(rows, csv, [*markdown, "<br>".join(_downloads(study.runs(row)) for row in rows)])
    return table


def detection(study: Study, paper: Path) -> Table:
    """The paper's third table, and below it rows that nobody has published. AP is of the fused detector."""
    keys = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_s": "AP_S", "ap_m": "AP_M", "ap_l": "AP_L"}
    costs = {"flops": ("FLOPs G", 1e9, 2), "params": ("Params M", 1e6, 2), "median_ms": ("Latency ms", 1, 1)}
    headers = ["Detector", "Backbone", *_triples(keys.values()), "AP trained", "Outputs differ"]
    headers += [title for name, _, _ in costs.values() for title in (f"{name}, trained", "fused")]
    table = Table("Table 3: detection", [*headers, "÷ ResNet50", "Download"])
    for row, line in detection_rows(paper):
        runs, profiled = study.detectors(row), study.detection["rows"].get(row)
        csv = {"detector": line["detector"], "backbone": line["backbone"], "row": row}
        cells = [line["detector"], line["backbone"]]
        for key in keys:
            values = [run["fused"][key] for run in runs if run["fused"][key] is not None]
            quantity = Quantity(key, values, line.get(key), 1)
            csv |= quantity.csv()
            cells += quantity.markdown()
        trained = statistics.fmean(run["trained"]["ap"] for run in runs) if runs else NOT_RUN
        differ = max(run["outputs"]["relative"] for run in runs) if runs else NOT_RUN
        csv |= {"ap_trained": trained, "outputs_relative_difference": differ}
        cells += [f"{trained:.1f}", f"{differ:.0e}"] if runs else [NOT_RUN, NOT_RUN]
        for key, (_, unit, decimals) in costs.items():
            for form in ("trained", "fused"):
                value = profiled[form][key] / unit if profiled else NOT_RUN
                csv[f"{key}_{form}"] = value
                cells.append(f"{value:.{decimals}f}" if profiled else NOT_RUN)
        plain = study.detection["rows"].get(f"{row.split('-')[0]}-resnet50")
        ratio = profiled["fused"]["median_ms"] / plain["fused"]["median_ms"] if profiled and plain else NOT_RUN
        csv |= {"latency_ratio": ratio, "runs": " ".join(str(run["folder"] / "run.json") for run in runs) or NOT_RUN}
        table.add([row], csv, [*cells, f"{ratio:.3f}" if ratio != NOT_RUN else ratio, _downloads(runs)])
    return table


TABLES = {"imagenet": imagenet, "ablation": ablation, "detection": detection}


def render(name: str, preset: dict, preset_name: str, results: Path, paper: Path = presets.PAPER) -> dict[str, str]:
    """The table `name` (of `TABLES`) as `<name>.csv` and `<name>.md`: file name → text.

    What has no finished run of this preset says "not run". Raises UserError for a damaged record.
    """
    study = Study(preset, results)
    table = TABLES[name](study, paper)
    text = pd.DataFrame(table.markdown).to_markdown(headers=table.headers, index=False, disable_numparse=True)
    if name == "detection":
        notes = _detection_notes(study, table)
    else:
        notes = _notes(study, table) + (_profile_notes(study) if name == "imagenet" else [])
    lines = [f"## {table.title} (preset `{preset_name}`)", "", text, "", *(f"- {note}" for note in notes)]
    return {f"{name}.csv": pd.DataFrame(table.csv).to_csv(index=False), f"{name}.md": "\n".join(lines) + "\n"}


def write_tables(which: list[str], preset: dict, preset_name: str, results: Path, paper: Path = presets.PAPER) -> None:
    """Writes what `render` says of each table in `which` under `results/tables`."""
    for name in which:
        for file, text in render(name, preset, preset_name, results, paper).items():
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
            f"Trained on {_each(_machine(run['run']['machine']) for run in runs)} in "
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
            f"{_each(_machine(run['run']['machine']) for run in runs)}, commit "
            f"{_each(_commit(run['run']) for run in runs)}. Outputs differ: the largest difference of any head's "
            "output between both forms, as a part of the largest output."
        )
    if study.detection["rows"]:
        profile = study.detection
        notes.append(
            f"FLOPs (counted as in Table 1), Params and Latency of the network at {profile['image_size']}×"
            f"{profile['image_size']}, without decoding and suppression; Params in each form as it is stored. "
            f"Latency on {_machine(profile['machine'])}, threads: {profile['machine']['threads']}; batch 1, median of "
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
        machine, rounds = study.latency["machine"], study.latency["rounds"]
        notes.append(
            f"Latency on {_machine(machine)}, threads: {machine['threads']}; fused, batch 1, 224×224, median of "
            f"{rounds} interleaved runs. The paper's machine is another: compare the ratios to the plain ResNet."
        )
    return notes


def _read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and run snakemake") from None


def _accuracy(runs: list[dict], key: str, metric: str, published: str) -> Quantity:
    return Quantity(key, [run["fused"][metric] for run in runs], published, 2)


def _triples(titles) -> list[str]:
    return [header for title in titles for header in (f"**{title}**", "paper", "Δ")]


def _provenance(runs: list[dict]) -> dict:
    """CSV cells that lead from a line to the runs behind it."""
    best = [run["run"]["best"]["val_top1"] for run in runs if "best" in run["run"]]
    return {
        "top1_best_epoch": statistics.fmean(best) if best else NOT_RUN,
        "runs": " ".join(str(run["folder"] / "run.json") for run in runs) or NOT_RUN,
    }


def _downloads(runs: list[dict]) -> str:
    """Links to each run's log and record, beside the tables' folder, and how to fetch its weights."""
    cells = []
    for run in runs:
        folder = run["folder"]
        files = {"log": "log.csv", "record": "run.json"}
        if "checkpoint" in run["run"]:
            del files["log"]
        place = f"detection/{folder.parent.name}" if "detection" in run["run"] else folder.parent.name
        links = [f"[{name}](../{place}/{folder.name}/{file})" for name, file in files.items()]
        cells.append(" · ".join([*links, f"`dvc pull {folder}/weights.safetensors`"]))
    return "<br>".join(cells) or NOT_RUN


def _each(values) -> str:
    return ", ".join(str(value) for value in dict.fromkeys(values))


def _machine(machine: dict) -> str:
    return f"{machine['gpu'] or machine['processor']} ({machine['instructions']})"


def _commit(run: dict) -> str:
    return f"{run['commit'][:10]}{run['commit'][40:]}" if run["commit"] else "unknown"
