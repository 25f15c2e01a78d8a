"""The package as it is installed: from a wheel, into an environment that has what the library declares, and no more."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import distribution, packages_distributions
from pathlib import Path, PurePosixPath

import pytest
from conftest import REPOSITORY
from packaging.requirements import Requirement

pytestmark = pytest.mark.slow
VERSION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from the sdist."""
    project, output = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, project)
    shutil.copytree(REPOSITORY / "src", project / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", output, project)
    (built,) = output.glob("*.whl")
    assert [path.name for path in output.glob("*.tar.gz")] == [f"paradise_nn-{VERSION}.tar.gz"]
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """The interpreter of an environment with the wheel and what the library needs, linked from this environment."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    (packages,) = folder.glob("lib/python*/site-packages")
    (metadata,) = packages.glob("paradise_nn-*.dist-info/METADATA")
    declared = [
        Requirement(line.removeprefix("Requires-Dist: "))
        for line in metadata.read_text().splitlines()
        if line.startswith("Requires-Dist: ")
    ]
    assert {requirement.name for requirement in declared if requirement.marker is None} == {"safetensors", "torch"}
    for name in needed(declared):
        link(name, packages)
    return python


def needed(requirements: list[Requirement], extras: frozenset[str] = frozenset()) -> set[str]:
    """The names of the distributions that these requirements bring."""
    found = set()
    for requirement in requirements:
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in extras or {""}):
            below = map(Requirement, distribution(requirement.name).requires or [])
            found |= {requirement.name} | needed(list(below), frozenset(requirement.extras))
    return found


def link(name: str, packages: Path) -> None:
    """Links what a distribution installed into `packages`, without what others have in the same folders."""
    owners = packages_distributions()
    for file in distribution(name).files:
        top = file.parts[0]
        if top in ("..", "__pycache__"):
            continue
        shared = len(set(owners.get(top, []))) > 1
        place = packages.joinpath(*file.parts[: 2 if shared else 1])
        if not place.exists():
            place.parent.mkdir(exist_ok=True)
            place.symlink_to(distribution(name).locate_file(PurePosixPath(*file.parts[: 2 if shared else 1])))


def run(*command: object, code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(list(map(str, command)), cwd="/", capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_the_wheel_holds_all_of_src(wheel):
    files = {
        path.relative_to(REPOSITORY / "src").as_posix()
        for path in (REPOSITORY / "src").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.parts[-2].endswith(".egg-info")
    }
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == files
    assert {"paradise/py.typed", "snakemake_logger_plugin_paradise/__init__.py"} <= names
    assert any(name.endswith(".jinja") for name in names)


STUDY = ("dvc", "matplotlib", "nvidia.dali", "pandas", "pydantic", "scipy", "sklearn", "snakemake", "typer", "yaml")
USE = f"""
import importlib.util
from pathlib import Path

def there(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False

assert not [name for name in {STUDY!r} if there(name)]

import torch
import paradise

assert paradise.__version__ == {VERSION!r}
torch.manual_seed(0)

def create():
    model = paradise.create_model("resnet18", num_classes=10)
    assert len(paradise.convert(model, "pd_b", ["layer3.*", "layer4.1.conv2"])) == 5
    return model

model = create()
images = torch.randn(4, 3, 32, 32)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
torch.nn.functional.cross_entropy(model(images), torch.arange(4)).backward()
optimizer.step()

fused = paradise.fuse(model)
with torch.no_grad():
    expected = model.eval()(images)
    assert (fused(images) - expected).abs().max() < 1e-4 * expected.abs().max()
    paradise.save_weights(fused, "fused.safetensors")
    again = paradise.fuse(create())
    paradise.load_weights(again, "fused.safetensors")
    assert torch.equal(again(images), fused(images))

assert max(paradise.export(fused, "m.pt2", image_size=32).values()) < 1e-4
program = torch.export.load("m.pt2").module()
with torch.no_grad():
    assert (program(images) - expected).abs().max() < 1e-4 * expected.abs().max()
try:
    paradise.export(fused, "m.onnx")
except paradise.UserError as error:
    assert str(error) == "onnx, onnxscript, onnxruntime missing; run: pip install 'paradise-nn[export]'", error
else:
    raise AssertionError("written without onnx")
assert sorted(path.name for path in Path().iterdir()) == ["fused.safetensors", "m.pt2"]
"""


def test_the_library_alone(python, tmp_path):
    run(python, "-I", "-c", f"import os; os.chdir({str(tmp_path)!r})\n{USE}")


def test_the_command_line_says_what_it_needs(python):
    said = "error: the study's command line needs more packages (no typer): pip install 'paradise-nn[study]'\n"
    for command in ((python.parent / "paradise", "--help"), (python, "-m", "paradise")):
        done = run(*command, code=2)
        assert (done.stdout, done.stderr) == ("", said)
