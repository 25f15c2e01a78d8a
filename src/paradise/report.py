"""The study as one HTML file that needs nothing else: tables, claims, figures, evidence, and each number's origin."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import jinja2
import pydot
from markupsafe import Markup, escape

from paradise import claims, figures, tables
from paradise import preset as presets
from paradise.causes import inputs
from paradise.errors import UserError
from paradise.evidence import NAMES, shown
from paradise.files import write_text
from paradise.progress import duration
from paradise.study import Study

# What in an SVG of ours is as light or dark as the page.
DARK = "<style>svg{color:%s}@media (prefers-color-scheme:dark){svg{color:#e6e6e6}}</style>"


def write_report(preset: dict, preset_path: Path, results: Path, paper: Path = presets.PAPER) -> None:
    """Writes `report.html` and `figures/*.{svg,png}` into `results`.

    What is missing, damaged or of other settings is named in it, with the command that makes it, and not shown.
    """
    study = Study(preset, results, strict=False)
    rulegraph = _rulegraph(preset_path)  # works while the rest is read
    drawn = figures.figures(study, paper)
    sections = shown.sections(study)
    runs = _runs(study)
    of_study = {name: figure for name, (figure, _) in drawn.items()}
    of_study |= {f"evidence-{section.name}": section.figure for section in sections}
    of_study["workflow"] = figures.dag(_rules(rulegraph))
    pictures = figures.draw(of_study | {run["anchor"]: run["curve"] for run in runs if run["curve"]})
    figures.save({name: pictures[name] for name in of_study}, results / "figures")
    paper_tables = [tables.TABLES[name](study, paper) for name in presets.tables(preset) if name in tables.TABLES]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"uri": uri, "markdown": _markdown}
    text = environment.get_template("report.html.jinja").render(
        preset=preset_path.stem,
        dataset=tables.DATASETS[preset["data"]["dataset"]],
        inputs=inputs(preset, results),
        counts=_counts(study, sections),
        missing=_missing(study, preset_path, sections),
        stale=list(dict.fromkeys(study.stale)),
        damaged=list(dict.fromkeys(study.damaged)),
        claims=claims.claims(study, paper),
        claim_texts=claims.texts,
        claim_notes=claims.notes(study),
        tables=paper_tables,
        figures={name: text for name, (_, text) in drawn.items()},
        evidence=sections,
        pictures=pictures,
        runs=runs,
        profiles=_profiles(study),
    )
    write_text(results / "report.html", text)


def uri(picture: figures.Picture) -> str:
    """The picture as an SVG in a data URI, its ink and ground those of a light or dark page."""
    text = picture.svg.replace(figures.INK, "currentColor").replace("fill: #ffffff", "fill: none")
    text = re.sub(r"(<svg[^>]*>)", rf"\1{DARK % figures.INK}", text[text.index("<svg") :], count=1)
    return f"data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}"


def _markdown(text: str) -> Markup:
    """Bold and code of a note."""
    escaped = str(escape(text))
    escaped = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escaped)
    return Markup(re.sub(r"`(.+?)`", r"<code>\1</code>", escaped))


def _rulegraph(preset_path: Path) -> subprocess.Popen:
    """Snakemake, which says in Graphviz's language how the rules hang together."""
    command = [sys.executable, "-m", "snakemake", "report", "--rulegraph", "--forceall", "--nolock"]
    return subprocess.Popen(
        [*command, "--configfile", preset_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _rules(rulegraph: subprocess.Popen) -> list[tuple[str, str]]:
    """The workflow's rules, each with the ones that take what it makes."""
    graph, errors = rulegraph.communicate()
    if rulegraph.returncode:
        raise UserError(f"snakemake cannot draw its rules: {' '.join(errors.split())[-300:]}")
    (parsed,) = pydot.graph_from_dot_data(graph[graph.index("digraph") :])
    names = {node.get_name(): (node.get_label() or "").strip('"') for node in parsed.get_nodes()}
    return [(names[edge.get_source()], names[edge.get_destination()]) for edge in parsed.get_edges()]


def _counts(study: Study, sections: list[shown.Section]) -> list[tuple[str, int, int]]:
    """What there is of the study: what, how many, of how many."""
    seeds = len(study.preset["seeds"])
    rows, detectors = presets.rows(study.preset), presets.detectors(study.preset)
    counts = [("classification runs", sum(len(study.runs(row)) for row in rows), len(rows) * seeds)]
    if detectors:
        counts.append(("detectors", sum(len(study.detectors(row)) for row in detectors), len(detectors) * seeds))
    return [*counts, ("pieces of evidence", len(sections), len(NAMES))]


def _missing(study: Study, preset_path: Path, sections: list[shown.Section]) -> list[tuple[str, str]]:
    """What is not there: what, and the command that makes it."""
    results, seeds = study.results, [f"seed{seed}" for seed in study.preset["seeds"]]
    configured = "" if preset_path == Path("config/digits.yaml") else f" --configfile {preset_path}"
    wanted = []
    for place, runs in (
        *((row, study.runs(row)) for row in presets.rows(study.preset)),
        *((f"detection/{row}", study.detectors(row)) for row in presets.detectors(study.preset)),
    ):
        there = {run["folder"].name for run in runs}
        wanted += [(f"{place}, {seed}", f"{place}/{seed}/evaluation.json") for seed in seeds if seed not in there]
    profiles = [("complexity", study.complexity), ("latency", study.latency)]
    if presets.detectors(study.preset):
        profiles.append(("detection", study.detection))
    wanted += [(f"the profile of {name}", f"profile/{name}.json") for name, profile in profiles if not profile["rows"]]
    missing = [(what, f"snakemake {results / path}{configured}") for what, path in wanted]
    absent = [name for name in NAMES if name not in [section.name for section in sections]]
    if absent:
        missing.append(
            (f"evidence: {', '.join(absent)}", f"snakemake evidence{configured} && snakemake report{configured}")
        )
    return missing


def _runs(study: Study) -> list[dict]:
    """What the report says of each run that a number is from."""
    runs = [run for row in presets.rows(study.preset) for run in study.runs(row)]
    runs += [run for row in presets.models(study.preset) for run in study.imported(row)]
    runs += [run for row in presets.detectors(study.preset) for run in study.detectors(row)]
    return [_described(run) for run in runs]


def _described(run: dict) -> dict:
    record, log = run["run"], figures.read_log(run["folder"])
    facts = {
        "preset": record.get("preset"),
        "seed": record.get("seed"),
        "commit": record["commit"],
        "trained": f"{record.get('time', 'at an unknown time')}, for {duration(record['seconds'])}"
        if "seconds" in record
        else record.get("time"),
        "machine": tables.machine(record["machine"]),
        "precision": record.get("precision"),
        "versions": ", ".join(f"{name} {version}" for name, version in record.get("versions", {}).items() if version),
        "weights": f"SHA-256 {record['files']['weights.safetensors']}; {tables.weights(run)}",
    }
    place = run["folder"].relative_to(run["folder"].parents[2 if "detection" in record else 1])
    return {
        "anchor": run["anchor"],
        "title": str(place.parent).removeprefix("detection/") + f", {place.name}",
        "facts": {name: value for name, value in facts.items() if value is not None},
        "curve": None if log is None else figures.sparkline(log),
        "records": {
            name: json.dumps(
                {key: value for key, value in part.items() if key not in ("run", "folder", "anchor")}, indent=1
            )
            for name, part in (("run.json", record), ("evaluation.json", run))
        },
    }


def _profiles(study: Study) -> list[dict]:
    profiles = [("complexity", study.complexity), ("latency", study.latency), ("detection", study.detection)]
    return [
        {"anchor": f"profile-{name}", "title": f"profile of {name}", "record": json.dumps(profile, indent=1)}
        for name, profile in profiles
        if profile["rows"]
    ]
