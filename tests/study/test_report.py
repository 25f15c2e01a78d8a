"""The report, in a real Chromium: that it works there, that every number leads to its run, and what it never shows."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import PAPER, REPOSITORY, write, write_run
from selenium import webdriver
from selenium.webdriver.common.by import By

from paradise.study import report
from paradise.study.causes import inputs, seal
from paradise.study.evidence import NAMES
from paradise.study.evidence.gradcam import pack

PUBLISHED = REPOSITORY / "results" / "digits" / "report.html"


@pytest.fixture(scope="module")
def chromium():
    for program in ("chromium", "chromedriver"):
        assert shutil.which(program), f"{program} is missing; apt-get install chromium chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


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
def test_the_published_report_fits_and_has_no_errors(chromium, width, dark):
    page = opened(chromium, PUBLISHED, width, dark)
    assert page.get_log("browser") == []
    assert requested(page) == {PUBLISHED.as_uri()}, "the report needs nothing but itself"
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


def test_every_link_of_the_published_report_leads_somewhere(chromium):
    page = opened(chromium, PUBLISHED)
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


def evidence(results: Path, classes: list[str]) -> None:
    """Records of all evidence, as small as they can be."""
    branches = ["standard1", "standard2", "skeleton", "group"]
    likeness = np.eye(4).tolist()
    layer = {
        "kernel_similarity": likeness, "output_similarity": likeness, "kernel_norms": [1] * 4,
        "histograms": [[0.5, 0.5]] * 4,
    }  # fmt: skip
    gate = {"mean": [0.25] * 4, "std": [0.1] * 4, "by_class": [[0.25] * 4] * 2, "frozen_at": [0.25] * 4}
    arrays = {row: np.ones((2, 4, 4), np.float16) for row in ("resnet18", "pd_a_resnet18")}
    arrays["images"] = np.zeros((2, 32, 32, 3), np.uint8)
    made = {
        "lottery": {
            "curves": {
                start: {"0": [50.0, 60.0 + i], "1": [51.0, 61.0]}
                for i, start in enumerate(("random", "rest", "maximum", "magnitude", "fused"))
            },
            "images": 360,
        },
        "perceptrons": {
            "kinds": {
                kind: {
                    "runs": {"0": {"accuracy": [40.0, 50.0], "fused_accuracy": 50.0}},
                    "params_training": 4000, "params_fused": 1000,
                }
                for kind in ("plain", "summed", "gated", "wide")
            },
            "hidden": 64, "branches": 4, "images": 360,
        },
        "diversity": {
            "edges": [-1, 0, 1], "classes": classes,
            "rows": {
                "pd_a_resnet18": {"branches": branches, "layers": {"layer1.0.conv1": layer}},
                "pd_b_resnet18": {
                    "branches": branches, "layers": {"layer1.0.conv1": layer},
                    "gate": {
                        "layers": {"layer1.0.conv1": gate}, "accuracy": 90.0, "accuracy_frozen": 80.0,
                        "right_only_with_gate": 9, "right_only_frozen": 1,
                    },
                },
            },
        },
        "pruning": {
            "rows": {"pd_a_resnet18": {"whole": 90.0, "without": dict(zip(branches, (10.0, 80.0, 70.0, 60.0)))}},
            "images": 360,
        },
        "gradcam": {
            "rows": {
                row: {"stage": "layer2", "predicted": [0, 1], "share_above_half": 0.2, "likeness_to_plain": 0.9}
                for row in ("resnet18", "pd_a_resnet18")
            },
            "labels": [0, 1], "classes": classes, "images": 200, "arrays": pack(arrays),
        },
    }  # fmt: skip
    for name, record in made.items():
        write(results / "evidence" / f"{name}.json", {"evidence": record, "machine": {}})


def written(preset, results) -> str:
    report.write_report(preset, Path("config/digits.yaml"), results, PAPER)
    return (results / "report.html").read_text()


def test_what_is_missing_is_said_with_the_command_that_makes_it(recorded, digits_preset, chromium):
    digits_preset["seeds"] = [0, 1]
    write_run(recorded, digits_preset, "resnet18", 1, hits=300)
    shutil.rmtree(recorded / "pd_b_resnet50")
    (recorded / "profile" / "latency.json").unlink()
    text = written(digits_preset, recorded)
    assert f"pd_b_resnet50, seed0: <code>snakemake {recorded}/pd_b_resnet50/seed0/evaluation.json</code>" in text
    assert "se_resnet18, seed1:" in text
    assert "resnet18, seed1:" not in text.replace("_resnet18, seed1", "")
    assert f"the profile of latency: <code>snakemake {recorded}/profile/latency.json</code>" in text
    assert "evidence: lottery, perceptrons, diversity, pruning, gradcam" in text
    page = opened(chromium, recorded / "report.html", 390)
    assert page.get_log("browser") == []
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text(path.read_text()[:100]),
        lambda path: path.write_text("{}"),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: write(path, {"fused": {"accuracy": 99.9}, "trained": {}, "files": {}, "images": 360}),
        lambda path: write(path, json.loads(path.read_text()) | {"seal": "other"}),
    ],
)
@pytest.mark.parametrize("name", ["evaluation.json", "run.json"])
def test_a_damaged_record_is_named_and_its_numbers_are_not_shown(recorded, digits_preset, damage, name):
    path = recorded / "pd_b_resnet18" / "seed0" / name
    damage(path)
    text = written(digits_preset, recorded)
    assert "Damaged, edited by hand or of another version" in text
    assert str(path) in text
    row = re.search(r'<th scope="row">PD-B-ResNet18</th>(.*?)</tr>', text, re.S)[1]
    assert "not run" in row.split("</td>")[0]
    assert 'id="pd_b_resnet18-seed0"' not in text


def test_a_run_of_other_settings_is_named_and_not_shown(recorded, digits_preset):
    path = recorded / "resnet18" / "seed0" / "run.json"
    run = json.loads(path.read_text())
    run["recipe"]["epochs"] = 99
    write(path, run)
    text = written(digits_preset, recorded)
    assert "Made with other settings than the preset's now" in text
    assert "resnet18 seed0" in text


def test_evidence_is_shown_and_a_class_name_is_text_whatever_it_is(recorded, digits_preset, chromium):
    evil = '<script>window.broken = true</script><img src=x onerror="window.broken = true">$\\frac{'
    evidence(recorded, [evil, "$1"])
    text = written(digits_preset, recorded)
    page = opened(chromium, recorded / "report.html")
    assert page.execute_script("return window.broken") is None
    assert page.get_log("browser") == []
    assert "5</strong>of 5 pieces of evidence" in text
    assert "90.00 → 80.00 % (p = 0.02)" in text
    titles = [element.text for element in page.find_elements(By.CSS_SELECTOR, "#evidence h3")]
    assert len(titles) == len(NAMES)
    sentences = page.execute_script(
        "return [...document.querySelectorAll('#evidence h3')].map(h => {let n = 0;"
        " for (let e = h.nextElementSibling; e.tagName == 'P'; e = e.nextElementSibling) n++; return n})"
    )
    assert sentences == [3] * 5


def test_damaged_evidence_is_named_and_the_rest_shown(recorded, digits_preset):
    evidence(recorded, ["a", "b"])
    path = recorded / "evidence" / "pruning.json"
    write(path, {"evidence": {"rows": {}}, "machine": {}})
    gradcam = json.loads((recorded / "evidence" / "gradcam.json").read_text())
    gradcam["evidence"]["arrays"] = gradcam["evidence"]["arrays"][:200]
    write(recorded / "evidence" / "gradcam.json", gradcam)
    text = written(digits_preset, recorded)
    assert f"{path} (" in text
    assert "3</strong>of 5 pieces of evidence" in text
    assert 'id="evidence-lottery"' in text
    assert 'id="evidence-pruning"' not in text


def test_the_same_records_make_the_same_report(recorded, digits_preset):
    assert written(digits_preset, recorded) == written(digits_preset, recorded)


def test_the_inputs_change_with_every_record(recorded, digits_preset):
    before = inputs(digits_preset, recorded)
    path = recorded / "resnet18" / "seed0" / "evaluation.json"
    record = json.loads(path.read_text())
    write(path, record | {"seal": seal(record)})
    assert inputs(digits_preset, recorded) != before
