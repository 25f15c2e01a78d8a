"""The fingerprint of code: what a step's numbers come from, hashed without comments, docstrings and layout.

A step's code is the import closure of its entry module within this package: every module that it imports, anywhere in
it, and the packages that these lie in, with their templates. What is imported by its name at run time (a data set, a
kind of network) the step names itself.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import paradise
from paradise.study.hashes import remembered

PACKAGE = "paradise"
ROOT = Path(paradise.__path__[0])
# Modules, with all below them, that cannot change a number, and why. What they import is not followed.
NO_NUMBERS = {
    "paradise.errors": "the words of errors",
    "paradise.files": "how a file appears, whole or not at all; what is in it, others say",
    "paradise.study.files": "the same of text, JSON and CSV, and locks",
    "paradise.study.terminal": "reads the command line and shows progress; what a step gets of it is in its record",
    "paradise.study.preset": "what a step gets of a preset is in its record, as settings",
    "paradise.study.plain_yaml": "reads presets, whose values are compared themselves",
    "paradise.study.paper": "the published tables, of which no measurement reads more than the names of rows",
    "paradise.study.registry": "finds modules by name; those that it finds are named by the step",
    "paradise.study.steps": "says which files a step has; it computes nothing",
    "paradise.study.code": "hashes code",
    "paradise.study.agreement": "judges results that are there",
    "paradise.study.stale": "judges results that are there",
    "paradise.study.hashes": "hashes files",
    "paradise.study.records": "what records are called and how they are written",
    "paradise.study.provenance": "what a record says of commit, machine and versions",
}
# What every process loads with the preset that it reads.
ALWAYS = ("paradise.study.rows",)
LENGTH = 12  # hexadecimal digits of a module's hash


def fingerprint(*entries: str) -> dict[str, str]:
    """The code of a step: every module that its entry modules reach, with a hash of each.

    Args:
        entries: Full names of modules.

    Returns:
        Module → hash, in the alphabet's order.
    """
    return {module: _read(module)[0] for module in closure(*entries, *ALWAYS)}


def digest(code: dict[str, str]) -> str:
    """One hash over a `fingerprint`."""
    counted = sorted((module, found) for module, found in code.items() if not has_no_numbers(module))
    return hashlib.sha256(repr(counted).encode()).hexdigest()[:LENGTH]


def differing(code: dict[str, str], now: dict[str, str]) -> list[str]:
    """The modules in which two fingerprints differ, without the package's name."""
    changed = [module for module in sorted(code | now) if code.get(module) != now.get(module)]
    return [module.removeprefix(f"{PACKAGE}.") for module in changed if not has_no_numbers(module)]


@cache
def closure(*entries: str) -> tuple[str, ...]:
    """The modules that `entries` reach by imports, and the packages that they lie in; not those of `NO_NUMBERS`."""
    found: set[str] = set()
    waiting = list(entries)
    while waiting:
        module = waiting.pop()
        if module not in found and not has_no_numbers(module):
            found.add(module)
            waiting += _parents(module)
            waiting += _read(module)[1]
    return tuple(sorted(found))


def has_no_numbers(module: str) -> bool:
    """Whether `NO_NUMBERS` names the module or a package that it lies in."""
    return module in NO_NUMBERS or any(parent in NO_NUMBERS for parent in _parents(module))


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


@cache
def _source(module: str) -> Path | None:
    """Where a module of this package lies; None where there is none of that name."""
    path = ROOT.joinpath(*module.split(".")[1:])
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None


@cache
def _read(module: str) -> tuple[str, tuple[str, ...]]:
    """The hash of a module, and the modules of this package that it imports, wherever in it."""
    path = _source(module)
    if path is None:
        raise ModuleNotFoundError(f"no module {module}")
    # What is known of a file was found out by this file: with another it is found out again.
    told_by = Path(__file__).stat().st_mtime_ns
    found, names = remembered(f"code {told_by} {module}", path, partial(_parse, module))
    if path.name == "__init__.py" and (templates := sorted(path.parent.glob("*.jinja"))):
        texts = [template.read_text() for template in templates]
        found = hashlib.sha256("\0".join([found, *texts]).encode()).hexdigest()[:LENGTH]
    return found, tuple(name for name in names if _source(name))


def _parse(module: str, path: Path) -> tuple[str, list[str]]:
    """The hash of a module, and the names of this package that it imports."""
    tree = ast.parse(path.read_bytes())
    parts: list[str] = []
    _describe(tree, parts)
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:LENGTH]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    named: list[str] = []
    for node in _running(tree):
        if isinstance(node, ast.Import):
            named += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            named += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return digest, [name for name in dict.fromkeys(named) if name.split(".")[0] == PACKAGE]


def _running(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below `node`, without what stands under `if TYPE_CHECKING`, which never runs."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from _running(child)


def _describe(node: object, parts: list[str]) -> None:
    """Adds what a syntax tree means, alike under every version of Python: no places in the text, nothing empty."""
    if isinstance(node, ast.AST):
        parts.append(type(node).__name__)
        for name in node._fields:
            value = getattr(node, name, None)
            if value is not None and value != [] and name not in ("ctx", "kind"):
                parts.append(name)
                _describe(value, parts)
    elif isinstance(node, list):
        parts.append("[")
        for value in node:
            if not _is_docstring(value):
                _describe(value, parts)
        parts.append("]")
    else:
        parts.append(repr(node))


def _is_docstring(node: object) -> bool:
    """Whether a statement is a lone string, which does nothing."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
