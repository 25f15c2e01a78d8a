import ast
import shutil
import textwrap
from pathlib import Path

import pytest

from paradise.study import code
from paradise.study.code import closure, differing, digest, fingerprint, has_no_numbers


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package whose files a test may change: a function that writes a module, and forgets hashes."""
    root = Path(shutil.copytree(code.ROOT, tmp_path / "paradise"))
    monkeypatch.setattr(code, "ROOT", root)

    def write(module: str, text: str) -> None:
        path = root.joinpath(*module.split(".")[1:]).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        forget()

    def forget() -> None:
        for cached in (code._source, code._read, code.closure):
            cached.cache_clear()

    forget()
    yield write
    forget()


def edited(package, old: str, new: str) -> bool:
    """Whether the fingerprint differs between two texts of a module."""
    package("paradise.toy", old)
    before = fingerprint("paradise.toy")
    package("paradise.toy", new)
    return fingerprint("paradise.toy") != before


@pytest.mark.parametrize(
    "new",
    [
        "SIZE = 1  # a comment\n\ndef f(x):\n    return x + SIZE\n",
        '"""A docstring."""\nSIZE = 1\n\ndef f(x):\n    """Another."""\n    return x + SIZE\n',
        "SIZE = (\n    1\n)\n\n\n\ndef f(\n    x,\n):\n    return (x +\n            SIZE)\n",
        'SIZE = 1\n"""What SIZE is."""\n\ndef f(x):\n    return x + SIZE\n',
        "SIZE = 0x1\n\ndef f(x):\n    return x + SIZE\n",
    ],
    ids=["comment", "docstrings", "layout", "string behind an attribute", "the same number otherwise written"],
)
def test_what_computes_the_same_is_the_same_code(package, new):
    assert not edited(package, "SIZE = 1\n\ndef f(x):\n    return x + SIZE\n", new)


@pytest.mark.parametrize(
    "new",
    [
        "SIZE = 2\n\ndef f(x):\n    return x + SIZE\n",
        "SIZE = 1\n\ndef f(x):\n    return x - SIZE\n",
        "SIZE = 1\n\ndef f(y):\n    return y + SIZE\n",
        "SIZE = 1.0\n\ndef f(x):\n    return x + SIZE\n",
        "SIZE = 1\n\ndef f(x, n=3):\n    return x + SIZE\n",
        "SIZE = 1\n\n@cache\ndef f(x):\n    return x + SIZE\n",
        "SIZE = 1\n\nasync def f(x):\n    return x + SIZE\n",
        "SIZE: int = 1\n\ndef f(x):\n    return x + SIZE\n",
        "SIZE = 1\n\ndef f(x):\n    return x + SIZE\n\nf(2)\n",
        'SIZE = 1\n\ndef f(x):\n    return x + SIZE\n\nNAME = "a string that is a value"\n',
    ],
)
def test_what_may_compute_something_else_is_other_code(package, new):
    assert edited(package, "SIZE = 1\n\ndef f(x):\n    return x + SIZE\n", new)


@pytest.mark.parametrize(
    "line",
    [
        "import paradise.kernels",
        "import paradise.kernels as k",
        "from paradise import kernels",
        "from paradise.kernels import fold",
        "from . import kernels",
        "from .kernels import fold",
        "def f():\n    from paradise.kernels import fold\n    return fold",
        "try:\n    import paradise.kernels\nexcept ImportError:\n    pass",
    ],
)
def test_imports_are_followed_however_they_are_written(package, line):
    package("paradise.toy", line)
    assert closure("paradise.toy") == ("paradise", "paradise.kernels", "paradise.toy")


def test_relative_imports_of_a_package_are_its_own(package):
    package("paradise.toys.__init__", "from . import parts\n")
    package("paradise.toys.parts", "from ..kernels import fold\n")
    assert closure("paradise.toys") == ("paradise", "paradise.kernels", "paradise.toys", "paradise.toys.parts")


def test_what_is_for_a_type_checker_alone_is_no_import(package):
    package("paradise.toy", "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import paradise.kernels\n")
    assert closure("paradise.toy") == ("paradise", "paradise.toy")


def test_the_packages_that_a_module_lies_in_are_its_code(package):
    package("paradise.study.data.toy", "")
    found = closure("paradise.study.data.toy")
    assert found == ("paradise", "paradise.study", "paradise.study.data", "paradise.study.data.toy")


def test_what_has_no_numbers_is_left_out_with_all_below_it(package):
    package("paradise.toy", "import paradise.errors\nimport paradise.study.terminal.progress\n")
    assert closure("paradise.toy") == ("paradise", "paradise.toy")
    assert has_no_numbers("paradise.study.terminal.progress")
    assert not has_no_numbers("paradise.study.terminals")


def test_all_that_has_no_numbers_exists_and_says_why():
    for module, why in code.NO_NUMBERS.items():
        assert code._source(module), module
        assert len(why.split()) >= 2


def test_an_entry_that_is_not_there_is_an_error():
    with pytest.raises(ModuleNotFoundError, match=r"^no module paradise\.gone$"):
        fingerprint("paradise.gone")


def test_the_modules_that_differ_are_named():
    then = {"paradise.block": "a", "paradise.study.runs": "b", "paradise.gone": "c"}
    now = {"paradise.block": "a", "paradise.study.runs": "x", "paradise.new": "d"}
    assert differing(then, now) == ["gone", "new", "study.runs"]
    assert differing(now, now) == []


def test_a_digest_is_of_all_modules_and_their_hashes():
    digests = [
        digest({"a": "1", "b": "2"}),
        digest({"b": "2", "a": "1"}),
        digest({"a": "1"}),
        digest({"a": "1", "b": "3"}),
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def constants(tree: ast.Module) -> list[ast.Constant]:
    """Constants of a module that are no docstrings."""
    lone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in lone]


def test_every_constant_of_a_module_is_in_its_hash(package):
    """Of the block, constant by constant."""
    source = code._source("paradise.block").read_text()
    hashes = {code._read("paradise.block")[0]}
    count = len(constants(ast.parse(source)))
    for index in range(count):
        tree = ast.parse(source)
        chosen = constants(tree)[index]
        chosen.value = f"{chosen.value}, changed"
        package("paradise.block", ast.unparse(tree))
        hashes.add(code._read("paradise.block")[0])
    assert len(hashes) == count + 1 > 30


def test_a_template_beside_a_package_is_its_code(package):
    package("paradise.toys.__init__", "")
    before = code._read("paradise.toys")[0]
    (code.ROOT / "toys" / "page.html.jinja").write_text("a page")
    package("paradise.toys.__init__", "")
    assert code._read("paradise.toys")[0] != before


def test_the_hash_of_a_text_is_the_same_under_every_python_and_in_every_release(package):
    """Records that are published have such hashes: with other ones all of them would be of other code."""
    package(
        "paradise.toy",
        '''
        """A docstring."""
        from typing import Any

        NAMES: dict[str, Any] = {"a": u"b", **{}}


        class Toy:
            def __call__(self, x, /, y=2, *others, z: int = 3, **more) -> None:
                del x
                self.value = [f"{y!r:>4}" for _ in others if z] or (lambda: None)()
                return None
        ''',
    )
    assert code._read("paradise.toy")[0] == "5e3dc864a55b"
    assert digest({"a": "1", "paradise.errors": "2"}) == digest({"a": "1"}) == "5499f31dbd91"
