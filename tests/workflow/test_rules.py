"""What rules give to a shell: every placeholder quoted, so that no name of a file or a preset is run or taken apart."""

import ast
import re
import subprocess
from pathlib import Path
from string import Formatter

import pytest
from conftest import REPOSITORY, make_preset, run
from snakemake.utils import format as snakemake_format

from paradise.errors import UserError
from paradise.study.preset import Preset
from paradise.study.schedule import check_path
from paradise.study.sharing.pipeline import pipeline

FILES = [REPOSITORY / "Snakefile", *sorted((REPOSITORY / "workflow" / "rules").glob("*.smk"))]
STRINGS = r'((?:\s*"(?:[^"\\\n]|\\.)*")+)'
NASTY = "$(touch RUN) `touch RUN`;touch RUN|touch RUN&touch RUN>RUN<RUN 'a' \"b\" \\ * ~ #!\n-x {y} é"


def commands() -> list[tuple[str, str]]:
    """Every string that a rule, or `onerror`, gives to a shell, with the file that it is in."""
    found = []
    for file in FILES:
        text = re.sub(r"^\s*#.*$", "", file.read_text(), flags=re.MULTILINE)
        strings = re.findall(r"\bshell\s*(?::|\()" + STRINGS, text)
        shells = re.findall(r"\bshell\b(?!\.prefix)", text)
        assert len(strings) == len(shells), f"a shell in {file} that is no plain string"
        assert not re.search(r"\b(run|script|notebook|wrapper|shell\.\w+)\s*:", text), file
        found += [(file.name, "".join(ast.literal_eval(f"({string.strip()})"))) for string in strings]
    return found


def test_every_rule_that_makes_something_has_a_command():
    steps = list((REPOSITORY / "src" / "paradise" / "study" / "steps").glob("[a-z]*.py"))
    assert len(commands()) == len(steps) + 2  # and `settings`, and `onerror`


@pytest.mark.parametrize(("file", "command"), commands())
def test_every_placeholder_is_quoted(file, command):
    fields = [(field, spec) for _, field, spec, _ in Formatter().parse(command) if field is not None]
    assert fields
    assert [field for field, spec in fields if not spec.endswith("q")] == []


class Values:
    """Whatever is asked for: the nasty text."""

    def __getattr__(self, name: str) -> str:
        return NASTY


@pytest.mark.parametrize(("file", "command"), [of for of in commands() if of[0] != "Snakefile"])
def test_a_shell_gives_every_value_to_the_command_as_it_is(tmp_path, file, command):
    stub = tmp_path / "bin" / "paradise"
    stub.parent.mkdir()
    stub.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    stub.chmod(0o755)
    values = Values()
    text = snakemake_format(
        command,
        params=values,
        wildcards=values,
        resources=values,
        threads=NASTY,
        log=str(tmp_path / "a $(touch RUN) b"),
    )
    path = {"PATH": f"{stub.parent}:/usr/bin:/bin"}
    subprocess.run(["bash", "-c", text], cwd=tmp_path, env=path, check=True)
    given = (tmp_path / "a $(touch RUN) b").read_text().split("\0")[:-1]
    words = [part for part, field, _, _ in Formatter().parse(command) if field]
    assert given.count(NASTY) == len(words) - 1  # all but the log
    assert {entry.name for entry in tmp_path.iterdir()} == {"bin", "a $(touch RUN) b"}


@pytest.mark.parametrize("name", ["a{x}", "a}", "a\nb", "a'b", 'a"b', "a`b", "a\\b", "a\x1bb"])
def test_a_path_that_snakemake_would_take_apart_is_refused(tmp_path, name):
    preset = Preset.of(make_preset(tmp_path).values(), Path("config", name, "study.yaml"))
    first = next(character for character in name if character not in "abx")
    for refuse in (check_path, pipeline):
        with pytest.raises(UserError) as refused:
            refuse(preset)
        assert str(refused.value) == (
            f"the path {str(preset.path)!r} has {first!r} in it, which Snakemake takes for its own; rename it"
        )


@pytest.mark.parametrize("folder", ["data/{x}", "data/${x}", "data/a\nb", "data/$(touch RUN)", "data/a;b", "data/'a'"])
def test_so_is_such_a_folder_of_data(folder):
    with pytest.raises(UserError, match=r"'data\.folder': .* (should match pattern|cannot be printed)"):
        make_preset(Path(folder))
    check_path(make_preset(Path("data/my images, of May")))


@pytest.mark.slow
def test_a_study_in_a_folder_with_a_nasty_name_is_prepared_and_runs_nothing(tmp_path):
    """A folder of data, and of the preset, that a shell would run or take apart."""
    import yaml
    from conftest import copy_project

    project = copy_project(tmp_path / "a project; touch RUN")
    values = yaml.safe_load((project / "config" / "smoke.yaml").read_text())
    folder = "data/my images, of May"
    values["data"] |= {"folder": folder, "per_class": 4}
    place = project / "config" / "$(touch RUN) a b;c" / "study.yaml"
    place.parent.mkdir()
    place.write_text(yaml.safe_dump(values))
    preset = str(place.relative_to(project))
    run("snakemake", f"{folder}/manifest.csv", "--cores", "1", "--configfile", preset, cwd=project)
    assert (project / folder / "manifest.csv").is_file()
    assert not list(tmp_path.rglob("RUN"))
    run("paradise", "dvc-yaml", "--preset", preset, cwd=project)
    stages = yaml.safe_load((project / "dvc.yaml").read_text())["stages"]
    command = stages["prepare"]["cmd"]
    subprocess.run(["sh", "-c", f"snakemake() {{ :; }}; {command}"], cwd=project, check=True)
    assert not list(tmp_path.rglob("RUN"))
    place.rename(place.with_name("a{b}.yaml"))
    refused = run("snakemake", "-n", "--configfile", preset.replace("study", "a{b}"), cwd=project, check=False)
    assert refused.returncode == 2
    assert [line for line in refused.stdout.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in refused.stdout
