"""The study as one HTML file that needs nothing else: tables, claims, figures, evidence, and each number's origin."""

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markdown_it import MarkdownIt
from markupsafe import Markup

from paradise.study import figures
from paradise.study.claims import ClaimsTable
from paradise.study.evidence.section import Section, sections
from paradise.study.files import write_text
from paradise.study.forest import CAPTION, draw_forest
from paradise.study.notes import AnyRun, reasons_text
from paradise.study.paper import read_paper
from paradise.study.preset import Preset
from paradise.study.records import Measurement
from paradise.study.registry import DATASETS, EVIDENCE, TABLES
from paradise.study.report.missing import list_missing, list_refused
from paradise.study.report.runs import HEIGHT, WIDTH, describe_runs
from paradise.study.report.workflow import draw_workflow, list_edges
from paradise.study.results import Study
from paradise.study.table import MARK, Filled
from paradise.study.views import write_view

# What in an SVG of ours is as light or dark as the page.
DARK = "<style>svg{color:%s}@media (prefers-color-scheme:dark){svg{color:#e6e6e6}}</style>"
MARKDOWN = MarkdownIt("zero").enable(["backticks", "emphasis", "escape"])  # all that notes have


def write_report(preset: Preset) -> None:
    """Writes `report.html`, `report.json`, its record, and `figures/*.{svg,png}` of what has been measured.

    What is missing, damaged or of other settings is named in it, with the command that makes it, and not shown.

    Args:
        preset: The study.

    Raises:
        UserError: A file cannot be written.
    """
    study = Study(preset, strict=False)
    runs, tables = _runs(study), _tables(study)
    claims = [(title, table) for title, table in tables if isinstance(table, ClaimsTable)]
    drawn = figures.study_figures(study)
    evidence = sections(study)
    of_study = {name: figure for name, (figure, _) in drawn.items()}
    for _, table in claims:
        if forest := draw_forest(table):
            of_study["claims"] = forest
    of_study |= {f"evidence-{section.name}": section.figure for section in evidence}
    of_study["workflow"] = draw_workflow(list_edges(study.survey, "report"))
    pictures = figures.draw(of_study)
    figures.save(pictures, preset.results / "figures")
    text = (
        _environment()
        .get_template("report.html.jinja")
        .render(
            preset=preset.name,
            dataset=DATASETS.get(preset.data.dataset).title,
            counts=_counts(study, evidence),
            missing=list_missing(study),
            damaged=list_refused(study, damaged=True),
            refused=list_refused(study, damaged=False),
            claims=claims,
            forest=CAPTION if "claims" in of_study else None,
            tables=[(title, table) for title, table in tables if not isinstance(table, ClaimsTable)],
            figures={name: text for name, (_, text) in drawn.items()},
            evidence=evidence,
            marks=_marks(study, evidence),
            mark=MARK,
            pictures=pictures,
            runs=describe_runs(runs),
            curve_size=(WIDTH, HEIGHT),
            profiles=_profiles(study),
        )
    )
    write_text(preset.results / "report.html", text)
    write_view(study, "report")


def uri(picture: figures.Picture) -> str:
    """The picture as an SVG in a data URI, its ink and ground those of a light or dark page."""
    text = picture.svg.replace(figures.INK, "currentColor").replace("fill: #ffffff", "fill: none")
    text = re.sub(r"(<svg[^>]*>)", rf"\1{DARK % figures.INK}", text[text.index("<svg") :], count=1)
    return f"data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}"


def markdown(text: str) -> Markup:
    """Bold and code of a note; all else is text."""
    return Markup(MARKDOWN.renderInline(text))


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"uri": uri, "markdown": markdown}
    return environment


def _tables(study: Study) -> list[tuple[str, Filled]]:
    """The titles of a study's tables, in their order, and the tables."""
    wanted = sorted((table for table in TABLES.all().values() if table.wanted(study.preset)), key=lambda of: of.order)
    return [(table.title, table.make(study)) for table in wanted]


def _counts(study: Study, evidence: Sequence[Section]) -> list[tuple[str, int, int]]:
    """What there is of the study: what, how many, of how many."""
    preset = study.preset
    there = sum(len(study.runs(row)) for row in preset.classifiers)
    counts = [("classification runs", there, sum(len(preset.seeds_of(row)) for row in preset.classifiers))]
    if preset.detectors:
        found = sum(len(study.detectors(row)) for row in preset.detectors)
        counts.append(("detectors", found, len(preset.detector_runs)))
    return [*counts, ("pieces of evidence", len(evidence), len(EVIDENCE.names()))]


def _runs(study: Study) -> list[AnyRun]:
    """The runs that numbers are from."""
    preset, paper = study.preset, read_paper()
    rows = dict.fromkeys([*preset.classifiers, *paper.rows])
    runs: list[AnyRun] = [run for row in rows for run in study.runs(row)]
    runs += [run for row in preset.models for run in study.imported(row)]
    detectors = dict.fromkeys([*preset.detectors, *paper.detectors])
    return [*runs, *(run for row in detectors for run in study.detectors(row))]


def _marks(study: Study, evidence: Sequence[Section]) -> dict[str, str]:
    """What the marked pieces of evidence are marked for, by their names."""
    marked = {section.name: study.marked.get(f"make_evidence {section.name}", ()) for section in evidence}
    commits = {section.name: section.source.short_commit for section in evidence}
    return {name: f"commit {commits[name]}: {reasons_text(marks)}" for name, marks in marked.items() if marks}


def _profiles(study: Study) -> list[tuple[str, str]]:
    """The profiles' names and records."""
    profiles: dict[str, Measurement | None] = {
        "complexity": study.complexity,
        "latency": study.latency,
        "detection": study.detection,
    }
    return [(name, json.dumps(of.model_dump(mode="json"), indent=1)) for name, of in profiles.items() if of]
