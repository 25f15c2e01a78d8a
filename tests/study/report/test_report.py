"""The report, in a real Chromium: that it works there, that every number leads to its run, and what it never shows."""

import csv
import json
import re
import shutil
from html import unescape
from pathlib import Path

import pytest
from conftest import REPOSITORY, changed
from selenium import webdriver
from selenium.webdriver.common.by import By
from written import IMAGES, change_record, job_of, make_preset, make_study, other_code, some_evidence, write_job

from paradise.study.figures import read_log
from paradise.study.preset import Preset
from paradise.study.registry import EVIDENCE
from paradise.study.report import markdown, write_report
from paradise.study.report.missing import list_missing
from paradise.study.report.runs import POINTS, draw_curve
from paradise.study.results import Study
from paradise.study.stale import Survey

PUBLISHED = REPOSITORY / "results" / "digits" / "report.html"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def chromium():
    for program in ("chromium", "chromedriver"):
        if not shutil.which(program):
            pytest.skip(f"{program} is missing; `sudo apt-get install chromium chromium-driver` enables this test")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def written_report(tmp_path_factory) -> Path:
    """The report of a whole study of two seeds, one run of which is marked, with evidence."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        preset = make_study(seeds=[0, 1], evidence=some_evidence())
        other_code(job_of(preset, "train", row="resnet18", seed="0"), "paradise.study.training.loop")
        write_report(preset)
    return folder / preset.results / "report.html"


@pytest.fixture(params=["published", "written"])
def any_report(request) -> Path:
    return PUBLISHED if request.param == "published" else request.getfixturevalue("written_report")


def opened(driver, path: Path, width: int = 1440, dark: bool = False):
    """The page, `width` CSS pixels wide."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    driver.get_log("browser"), driver.get_log("performance")
    driver.get(path.resolve().as_uri())
    return driver


def requested(driver) -> set[str]:
    """The addresses that the page asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return {url for url in sent if not url.startswith("data:")}


@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_the_report_fits_and_has_no_errors(chromium, any_report, width, dark):
    page = opened(chromium, any_report, width, dark)
    assert page.get_log("browser") == []
    assert requested(page) == {any_report.as_uri()}, "the report needs nothing but itself"
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    wide = page.execute_script(
        "return [...document.querySelectorAll('table')].filter(t => t.getBoundingClientRect().right > innerWidth + 1"
        " || t.scrollWidth > t.parentElement.clientWidth + 1).map(t => t.caption.textContent)"
    )
    assert wide == []
    unloaded = page.execute_script(
        "return [...document.images].filter(i => !i.closest('details') && !(i.complete && i.naturalWidth))"
        ".map(i => i.id)"
    )
    assert unloaded == []
    assert page.execute_script("return [...document.images].every(i => i.alt)")


def test_every_link_of_the_report_leads_somewhere(chromium, any_report):
    page = opened(chromium, any_report)
    broken = page.execute_script(
        "return [...document.querySelectorAll('a')].map(a => a.getAttribute('href'))"
        ".filter(h => !h.startsWith('#') || !document.getElementById(h.slice(1)))"
    )
    assert broken == []
    doubled = page.execute_script(
        "const ids = [...document.querySelectorAll('[id]')].map(e => e.id);"
        "return ids.filter((id, i) => ids.indexOf(id) !== i)"
    )
    assert doubled == []
    link = page.find_element(By.CSS_SELECTOR, "#tables td a")
    page.execute_script("arguments[0].scrollIntoView()", link)
    link.click()
    shown = page.find_element(By.CSS_SELECTOR, ":target")
    assert shown.is_displayed(), "a link opens the record that it leads to"
    assert "commit" in shown.text


def test_the_published_report_shows_what_the_tables_show():
    text = re.sub(r"\s+", " ", PUBLISHED.read_text())
    with (REPOSITORY / "results/digits/tables/imagenet.csv").open() as file:
        for line in csv.DictReader(file):
            row = re.search(rf'<th scope="row">{line["model"]}</th>(.*?)</tr>', text)[1]
            shown = re.findall(r'<div>(?:<a href="#[^"]+">)?([0-9.]+)', row)
            assert shown[0] == f"{float(line['top1_measured']):.2f}"
            assert shown[2] == f"{float(line['flops_g_measured']):.3f}"
            assert shown[4] == f"{float(line['latency_cpu_ms_measured']):.1f}"


def written(preset: Preset) -> str:
    write_report(preset)
    return (preset.results / "report.html").read_text()


def row(text: str, name: str) -> str:
    """A line of a table, by its head."""
    return re.search(rf'<th scope="row">{re.escape(name)}</th>(.*?)</tr>', text, re.S)[1]


def test_a_run_is_shown_with_its_facts_its_curve_and_its_records(chromium, written_report):
    page = opened(chromium, written_report)
    page.execute_script("location.hash = 'pd_b_resnet18-seed1'")
    shown = page.find_element(By.ID, "pd_b_resnet18-seed1")
    names = [element.text for element in shown.find_elements(By.TAG_NAME, "dt")]
    facts = dict(zip(names, [element.text for element in shown.find_elements(By.TAG_NAME, "dd")]))
    folder = "results/digits/pd_b_resnet18/seed1"
    assert list(facts) == [
        "measured",
        "preset",
        "seed",
        "commit",
        "trained",
        "machine",
        "precision",
        "versions",
        "weights",
        "records",
    ]
    assert facts["seed"] == "1"
    assert facts["trained"] == "2026-01-02T03:04:05+00:00, for 60 s"
    assert facts["machine"] == "Example CPU (AVX2)"
    assert facts["records"] == f"{folder}/run.json, {folder}/evaluation.json"
    assert facts["weights"].endswith(f"dvc pull {folder}/weights.safetensors")
    caption = shown.find_element(By.TAG_NAME, "figcaption").text
    assert caption == (
        "Top-1 accuracy after each of 3 epochs: validation 40.00 → 80.00 %, training 50.00 → 83.33 % (dashed)."
    )
    lines = page.execute_script(
        "return [...arguments[0].querySelectorAll('polyline')]"
        ".map(line => [line.points.numberOfItems, line.getTotalLength() > 50])",
        shown,
    )
    assert lines == [[3, True]] * 2
    records = [json.loads(element.text) for element in shown.find_elements(By.TAG_NAME, "pre")]
    assert [record["step"] for record in records] == ["train", "evaluate"]


def test_a_marked_run_is_marked_wherever_its_numbers_are(written_report):
    text = written_report.read_text()
    assert re.search(r'<div><a href="#resnet18-seed0">[0-9.]+ ± [0-9.]+†</a>', row(text, "ResNet18"))
    assert "†" not in row(text, "SE-ResNet18")
    assert "points†" in row(text, "PD-B-ResNet18 − ResNet18")
    assert "points†" not in row(text, "PD-B-ResNet50 − ResNet50")
    assert text.count("† made by other code or packages than today's: <code>resnet18</code> seed0 (commit") == 3
    assert "<dt>marked</dt><dd>other code in study.training.loop</dd>" in text
    # What looks at that run is marked as well.
    heads = dict(re.findall(r'<h3 id="evidence-(\w+)">(.*?)</h3>', text))
    assert heads["gradcam"] == "Grad-CAM†"
    assert heads["perceptrons"] == "Over-parameterisation"


def test_what_is_missing_is_said_with_the_command_that_makes_it(chromium):
    preset = make_study(seeds=[0, 1])
    for place in ("pd_b_resnet50/seed0", "resnet50/seed1", "detection/retinanet-pd_b_resnet50/seed0"):
        shutil.rmtree(preset.results / place)
    (preset.results / "profile" / "latency.json").unlink()
    (preset.results / "se_resnet18" / "seed1" / "evaluation.json").unlink()
    text = written(preset)
    listed = re.findall(r"<li>([^<]*): <code>snakemake ([^<]*)</code></li>", unescape(text))
    accuracy, ap, piece = "accuracy of both forms", "AP of both forms of a detector", "a piece of evidence"
    assert sorted(listed) == sorted(
        [
            (f"se_resnet18 seed1 ({accuracy})", "results/digits/se_resnet18/seed1/evaluation.json"),
            (f"resnet50 seed1 ({accuracy})", "results/digits/resnet50/seed1/evaluation.json"),
            (f"pd_b_resnet50 seed0 ({accuracy})", "results/digits/pd_b_resnet50/seed0/evaluation.json"),
            (
                f"retinanet-pd_b_resnet50 seed0 ({ap})",
                "results/digits/detection/retinanet-pd_b_resnet50/seed0/evaluation.json",
            ),
            ("latency (CPU latency of the first table's models, fused)", "results/digits/profile/latency.json"),
            *((f"{name} ({piece})", f"results/digits/evidence/{name}.json") for name in EVIDENCE.names()),
        ]
    )
    page = opened(chromium, preset.results / "report.html", 390)
    assert page.get_log("browser") == []
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390


def test_the_command_names_the_preset_where_it_is_not_the_default():
    command = dict(list_missing(Study(make_preset(["resnet18"], name="small"))))[
        "resnet18 seed0 (accuracy of both forms)"
    ]
    assert command == "snakemake results/small/resnet18/seed0/evaluation.json --configfile config/small.yaml"


def edit(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"commit": "f" * 40}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text(path.read_text()[:100]),
        lambda path: path.write_text("{}"),
        lambda path: path.write_bytes(b"\xff\xfe"),
        edit,
    ],
)
@pytest.mark.parametrize("name", ["evaluation.json", "run.json"])
def test_a_damaged_record_is_named_and_its_numbers_are_not_shown(damage, name):
    preset = make_study(["pd_b_resnet18"])
    path = preset.results / "pd_b_resnet18" / "seed0" / name
    damage(path)
    text = written(preset)
    assert "Damaged, edited by hand or of another version, and so not shown; delete it and run" in text
    assert f"<code>{path} is damaged (" in text
    assert "not run" in row(text, "PD-B-ResNet18").split("</td>")[0]
    assert 'id="pd_b_resnet18-seed0"' not in text


def test_a_run_of_other_settings_is_named_and_not_shown():
    preset = make_study(["resnet18", "pd_b_resnet18"])
    text = written(changed(preset, overrides={"resnet18": {"epochs": 99}}))
    assert "Not of today's settings, data and files, and so not shown; <code>snakemake</code> makes it again:" in text
    assert "<li>evaluate resnet18 seed0, train resnet18 seed0: epochs changed</li>" in text
    assert "not run" in row(text, "ResNet18").split("</td>")[0]
    assert 'id="resnet18-seed0"' not in text
    assert 'id="pd_b_resnet18-seed0"' in text


def test_evidence_is_shown_and_a_class_name_is_text_whatever_it_is(chromium):
    evil = '<script>window.broken = true</script><img src=x onerror="window.broken = true">$\\frac{'
    preset = make_study(evidence=some_evidence([evil, "$1"]))
    text = written(preset)
    page = opened(chromium, preset.results / "report.html")
    assert page.execute_script("return window.broken") is None
    assert page.get_log("browser") == []
    assert "5</strong>of 5 pieces of evidence" in text
    assert "90.00 → 80.00 % (p = 0.02)" in text
    titles = [element.text for element in page.find_elements(By.CSS_SELECTOR, "#evidence h3")]
    assert titles == [piece.title for piece in sorted(EVIDENCE.all().values(), key=lambda piece: piece.order)]
    sentences = page.execute_script(
        "return [...document.querySelectorAll('#evidence h3')].map(h => {let n = 0;"
        " for (let e = h.nextElementSibling; e.tagName == 'P'; e = e.nextElementSibling) n++; return n})"
    )
    assert sentences == [3] * 5


def test_evidence_that_cannot_be_shown_is_named_and_the_rest_shown():
    evidence = some_evidence(["a", "b"])
    preset = make_study(evidence=evidence)
    change_record(job_of(preset, "make_evidence", piece="pruning"), evidence={"rows": {}})
    cut = evidence["gradcam"] | {"arrays": evidence["gradcam"]["arrays"][:200]}
    change_record(job_of(preset, "make_evidence", piece="gradcam"), evidence=cut)
    text = written(preset)
    assert "results/digits/evidence/pruning.json" in text.split('<section id="claims"')[0]
    assert "3</strong>of 5 pieces of evidence" in text
    assert 'id="evidence-lottery"' in text
    assert 'id="evidence-pruning"' not in text


def test_the_same_records_make_the_same_report_and_record():
    preset, made = make_study(), []
    for _ in range(2):
        written(preset)
        made.append([(preset.results / name).read_bytes() for name in ("report.html", "report.json")])
    assert made[0] == made[1]


def test_the_report_is_of_another_study_where_a_record_changed():
    preset = make_study(["resnet18"])
    write_report(preset)
    job = job_of(preset, "report")
    assert not Survey(preset).why_stale(job)
    write_job(job_of(preset, "evaluate", row="resnet18", run="seed0"), right=lambda run: [True] * IMAGES)
    assert [str(reason) for reason in Survey(preset).why_stale(job)] == ["it does not show the results as they are"]


def test_of_many_runs_the_records_are_named_and_not_repeated():
    preset = make_study(["resnet18"], seeds=range(101))
    text = written(preset)
    assert text.count("<pre>") == 2  # the profiles
    assert text.count('<div id="resnet18-seed') == 101
    assert "<code>results/digits/resnet18/seed100/evaluation.json</code>" in text
    of_runs = text.split('<section id="runs"')[1].split('id="profile-complexity"')[0]
    assert len(of_runs) / 101 < 2500, "bytes of a run"


def test_a_long_curve_has_no_more_points_than_can_be_seen(tmp_path):
    lines = [f"{i},{1 / i}" for i in range(1, 90_001)]
    (tmp_path / "log.csv").write_text("\n".join(["iteration,loss", *lines]) + "\n")
    curve = draw_curve(read_log(tmp_path))
    points = curve.lines["validation"].split()
    assert POINTS / 2 < len(points) <= POINTS + 1
    assert (points[0], points[-1]) == ("0,0", "300,90")
    assert curve.text == "Training loss over 90000 iterations, smoothed: 1.000 → 0.000."


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**bold** and `x_y`", "<strong>bold</strong> and <code>x_y</code>"),
        ("<b>a</b> & <script>", "&lt;b&gt;a&lt;/b&gt; &amp; &lt;script&gt;"),
        ("`<b>`", "<code>&lt;b&gt;</code>"),
        ("[a](javascript:b) ![c](d) <http://e>", "[a](javascript:b) ![c](d) &lt;http://e&gt;"),
        ("a_b_c 3 * 4 * 5", "a_b_c 3 * 4 * 5"),
    ],
)
def test_a_note_has_bold_and_code_and_all_else_is_text(text, html):
    assert markdown(text) == html
