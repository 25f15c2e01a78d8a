"""The paper's tables: measured, published and difference side by side, as Markdown and CSV."""

import json
import statistics
from pathlib import Path

import pandas as pd

from paradise import preset as presets
from paradise.errors import UserError
from paradise.files import write_text
from paradise.names import ablation_rows, imagenet_rows

NOT_RUN = "not run"
MINUS = "−"
DATASETS = {"digits": "scikit-learn's 1,797 handwritten digits (10 classes), **not ImageNet**"}


class Study:
    """The records of one preset under `results/<preset>`, and what is wrong with those that do not count."""

    def __init__(self, preset: dict, results: Path, paper: Path):
        self.preset, self.results, self.paper = preset, results, paper
        self.notes: list[str] = []
        self.complexity = self._read(results / "profile" / "complexity.json") or {"rows": {}}
        self.latency = self._read(results / "profile" / "latency.json") or {"rows": {}}
        self._runs: dict[str, list[dict]] = {}

    def runs(self, row: str) -> list[dict]:
        """The evaluated runs of `row`, one for each seed that counts, each a metrics record with its run record as `run`."""
        if row not in self._runs:
            self._runs[row] = [run for seed in self.preset["seeds"] if (run := self._run(row, seed))]
        return self._runs[row]

    def folder(self, row: str, seed: int) -> Path:
        return self.results / row / f"seed{seed}"

    def _run(self, row: str, seed: int) -> dict | None:
        folder = self.folder(row, seed)
        metrics, run = self._read(folder / "metrics.json"), self._read(folder / "run.json")
        if metrics is None or run is None:
            return None
        try:
            # A number of another training than this preset's must not stand in its table.
            stale = (
                run["recipe"] != presets.recipe(self.preset, row)
                or any(run["data"][key] != value for key, value in self.preset["data"].items())
                or run["weights_sha256"] != metrics["weights_sha256"]
            )
            metrics["trained"]["top1"], metrics["fused"]["top5"], run["best"]["val_top1"]
        except (KeyError, TypeError) as error:
            raise UserError(f"a record in {folder} lacks {error}; delete the folder and run snakemake") from None
        if stale:
            self.notes.append(f"`{row}` seed {seed} was run with other settings than the preset's now, and does not count.")
            return None
        return metrics | {"run": run}

    @staticmethod
    def _read(path: Path) -> dict | None:
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}); delete it and run snakemake") from None


class Column:
    """One published quantity of one row: what we measured (over seeds), what the paper says, and the difference."""

    def __init__(self, key: str, title: str, decimals: int, measured: list[float], published: str | None):
        self.key, self.title, self.decimals = key, title, decimals
        self.measured = statistics.fmean(measured) if measured else None
        self.std = statistics.stdev(measured) if len(measured) > 1 else None
        self.published = float(published) if published else None

    def csv(self) -> dict:
        difference = NOT_RUN if self.measured is None else self._difference()
        return {
            f"{self.key}_measured": NOT_RUN if self.measured is None else self.measured,
            f"{self.key}_std": "" if self.std is None else self.std,
            f"{self.key}_published": "" if self.published is None else self.published,
            f"{self.key}_difference": "" if difference is None else difference,
        }

    def markdown(self) -> dict:
        if self.measured is None:
            measured = difference = NOT_RUN
        else:
            measured = f"{self.measured:.{self.decimals}f}"
            if self.std is not None:
                measured += f" ± {self.std:.{self.decimals}f}"
            delta = self._difference()
            difference = "–" if delta is None else f"{delta:+.{self.decimals}f}".replace("-", MINUS)
        published = "–" if self.published is None else f"{self.published:.{self.decimals}f}"
        return {f"**{self.title}**": measured, f"{self.title} paper": published, f"{self.title} Δ": difference}

    def _difference(self) -> float | None:
        return None if self.published is None else self.measured - self.published


def accuracy(study: Study, row: str, key: str, title: str, published: str | None) -> Column:
    values = [run["fused"][key.rpartition("_")[2]] for run in study.runs(row)]
    return Column(key, title, 2, values, published)


def imagenet(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first table, for CSV and for Markdown."""
    lines = imagenet_rows(study.paper)
    plain_ms = {row: float(line["latency_cpu_ms"]) for row, line in lines}
    csv, markdown = [], []
    for row, line in lines:
        counted, timed = study.complexity["rows"].get(row), study.latency["rows"].get(row)
        plain = row[row.index("resnet") :]
        columns = [
            accuracy(study, row, "top1", "Top-1 %", line["top1"]),
            accuracy(study, row, "top5", "Top-5 %", line["top5"]),
            Column("flops_g", "FLOPs G", 3, [counted["flops"] / 1e9] if counted else [], line["flops_g"]),
            Column("params_m", "Params M", 3, [counted["params"] / 1e6] if counted else [], line["params_m"]),
            Column("latency_cpu_ms", "Latency ms", 1, [timed["median_ms"]] if timed else [], line["latency_cpu_ms"]),
            Column("latency_ratio", "Ratio", 3, [timed["ratio"]] if timed else [], plain_ms[row] / plain_ms[plain]),
        ]
        extra = {"macs_g": ("MACs G", "macs", 1e9), "deploy_params_m": ("Stored M", "deploy_params", 1e6)}
        csv.append(
            {"model": line["model"], "row": row}
            | {key: value for column in columns for key, value in column.csv().items()}
            | {key: counted[source] / unit if counted else NOT_RUN for key, (_, source, unit) in extra.items()}
            | _runs_csv(study, row)
        )
        markdown.append(
            {"Model": line["model"]}
            | {key: value for column in columns for key, value in column.markdown().items()}
            | {
                title: f"{counted[source] / unit:.3f}" if counted else NOT_RUN
                for title, source, unit in extra.values()
            }
            | {"Runs": _links(study, row)}
        )
    return pd.DataFrame(csv), pd.DataFrame(markdown)


def ablation(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The second table, for CSV and for Markdown. The first row has one branch and so no PD-B."""
    csv, markdown = [], []
    for summed, gated, line in ablation_rows(study.paper):
        flags = {branch: line[branch] for branch in ("standard1", "standard2", "group", "skeleton")}
        entry = dict(flags)
        shown = {branch.capitalize(): "✓" if flag == "1" else "" for branch, flag in flags.items()}
        for kind, title, row in (("pd_a", "PD-A", summed), ("pd_b", "PD-B", gated)):
            for key, name in (("top1", "top-1 %"), ("top5", "top-5 %")):
                full, heading = f"{kind}_{key}", f"{title} {name}"
                if row is None:
                    entry |= dict.fromkeys(Column(full, heading, 2, [], None).csv(), "no gate")
                    shown |= dict.fromkeys(Column(full, heading, 2, [], None).markdown(), "–")
                else:
                    column = accuracy(study, row, full, heading, line[full])
                    entry |= column.csv()
                    shown |= column.markdown()
        entry |= {f"{kind}_{key}": value for kind, row in (("pd_a", summed), ("pd_b", gated)) if row for key, value in _runs_csv(study, row).items()}
        csv.append(entry)
        markdown.append(shown | {"Runs": ", ".join(_links(study, row) for row in (summed, gated) if row)})
    return pd.DataFrame(csv), pd.DataFrame(markdown)


def write_tables(which: list[str], preset: dict, preset_name: str, results: Path, paper: Path = presets.PAPER) -> None:
    """Writes `<table>.md` and `<table>.csv` of each table in `which` under `results/tables`.

    Rows without a finished run of this preset say "not run". Raises UserError for a damaged record.
    """
    for name in which:
        study = Study(preset, results, paper)
        csv, markdown = {"imagenet": imagenet, "ablation": ablation}[name](study)
        notes = _accuracy_notes(study, name) + (_profile_notes(study) if name == "imagenet" else []) + study.notes
        text = f"## {TITLES[name]} (preset `{preset_name}`)\n\n{markdown.to_markdown(index=False, disable_numparse=True)}\n\n"
        write_text(results / "tables" / f"{name}.csv", csv.to_csv(index=False))
        write_text(results / "tables" / f"{name}.md", text + "".join(f"- {note}\n" for note in notes))


TITLES = {
    "imagenet": "Table 1: classification, complexity and CPU latency",
    "ablation": "Table 2: branches, ResNet18",
}


def _accuracy_notes(study: Study, name: str) -> list[str]:
    rows = [row for row, _ in imagenet_rows(study.paper)]
    if name == "ablation":
        rows = [row for summed, gated, _ in ablation_rows(study.paper) for row in (summed, gated) if row]
    runs = [run for row in rows for run in study.runs(row)]
    notes = [
        f"**What the accuracy is of: {DATASETS[study.preset['data']['dataset']]}.** The bold columns were measured here; the "
        "paper's are of ImageNet. The difference between the two says nothing about the method."
    ]
    if runs:
        same = sum(run["trained"]["top1_hits"] == run["fused"]["top1_hits"] for run in runs)
        largest = max(run["logits"]["relative"] for run in runs)
        images = " or ".join(str(count) for count in sorted({run["images"] for run in runs}))
        notes += [
            f"Accuracy of the fused network after the last epoch, on {images} held-out images; seeds: {_seeds(study)}. The "
            "best epoch of each run is in its `run.json`.",
            f"Trained and fused form have the same top-1 hits in {same} of {len(runs)} runs; their logits differ by at most "
            f"{largest:.1e} of the largest.",
            f"Trained on {_each(run['run']['machine'] for run in runs)}, in {_precisions(runs)}, at commit "
            f"{', '.join(sorted({str(run['run']['commit'])[:10] + str(run['run']['commit'])[40:] for run in runs}))}.",
        ]
    missing = [row for row in dict.fromkeys(rows) if not study.runs(row)]
    if missing:
        notes.append(f"{NOT_RUN.capitalize()}: {', '.join(f'`{row}`' for row in missing)}.")
    return notes


def _profile_notes(study: Study) -> list[str]:
    notes = []
    if study.complexity["rows"]:
        notes.append(
            "Complexity of the 1000-class networks at 224×224. FLOPs and Params in the paper's convention: the plain network "
            "(PD-A and PD-B as one 3×3 convolution, plus PD-B's gate) with its BatchNorms; operations as `paradise.profiling."
            "complexity` lists them. MACs: multiply-accumulates alone. Stored: parameters that the fused network keeps; a fused "
            "PD-B keeps one kernel per branch, which the paper does not count."
        )
    if study.latency["rows"]:
        machine = study.latency["machine"]
        threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
        notes.append(
            f"Latency: {machine['processor']}, {threads}, {machine['instructions']}, batch 1, 224×224, fused, median of "
            f"{study.latency['rounds']} interleaved runs. Ratio: to the plain ResNet of the same depth. The paper's machine is "
            "another: compare ratios, not milliseconds."
        )
    return notes


def _seeds(study: Study) -> str:
    return ", ".join(str(seed) for seed in study.preset["seeds"])


def _each(machines) -> str:
    return " and ".join(sorted({f"{machine['gpu'] or machine['processor']} ({machine['instructions']})" for machine in machines}))


def _precisions(runs: list[dict]) -> str:
    return " and ".join(sorted({run["run"]["precision"] for run in runs}))


def _links(study: Study, row: str) -> str:
    links = [f"[{run['seed']}](../{row}/seed{run['seed']}/run.json)" for run in study.runs(row)]
    return " ".join(links) or NOT_RUN


def _runs_csv(study: Study, row: str) -> dict:
    runs = study.runs(row)
    return {
        "top1_best_epoch": statistics.fmean(run["run"]["best"]["val_top1"] for run in runs) if runs else NOT_RUN,
        "runs": " ".join(str(study.folder(row, run["seed"]) / "run.json") for run in runs) or NOT_RUN,
    }
