"""YAML as presets have it: YAML 1.2's plain values, each key once, no anchors, aliases or tags; and small."""

import re
from pathlib import Path
from typing import Any

import yaml

from paradise.errors import UserError

LARGEST = 100_000  # bytes of a file
DEEPEST = 20  # sections in sections
SHOWN = 60  # characters of a wrong value, or key, that a message repeats


def read_yaml(path: Path) -> object:
    """The value in the YAML file `path`.

    Raises:
        UserError: It is not there, no file of text, too large, or not YAML of this kind.
    """
    try:
        if not path.exists():
            raise UserError(f"no preset at {path}")
        if not path.is_file():
            raise UserError(f"{path} is no file; a preset is one, such as config/digits.yaml")
        if path.stat().st_size > LARGEST:
            raise UserError(
                f"{path} has {path.stat().st_size:,} bytes and is no preset: these have {LARGEST:,} at most"
            )
        return yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_Loader)
    except UnicodeDecodeError:
        raise UserError(f"{path} is not text in UTF-8; save it in that encoding") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {_explain(error)}") from None


def cut(text: str) -> str:
    """`text`, so much of it as a message repeats."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


class _Loader(yaml.SafeLoader):
    """Composes nodes one by one, so that what is refused is refused where it begins."""

    depth = 0
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise _fault(event, f"a preset has no anchors and aliases ('{cut(event.anchor)}'); write the value out")
        if getattr(event, "tag", None) not in (None, "!"):
            raise _fault(event, f"a preset has no tags ('{cut(event.tag)}'); leave it out")
        self.depth += 1
        if self.depth > DEEPEST:
            raise _fault(event, f"more than {DEEPEST} sections lie in one another")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _fault(key, "a key is a word")
            if key.value in seen:
                raise _fault(key, f"the key '{cut(key.value)}' stands there a second time; leave one of the two")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _fault(event: Any, text: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=event.start_mark)


def _explain(error: yaml.YAMLError) -> str:
    """A fault of a file in one line, with the place."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {' '.join(str(error.problem).split())[:200]}"
    return " ".join(str(error).split())[:200]


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    if len(node.value) > SHOWN:
        raise _fault(node, f"the number {cut(node.value)} has {len(node.value)} digits")
    return int(node.value)


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(re.sub(r"^([-+]?)\.(inf|nan)$", r"\1\2", node.value.lower()))


# YAML 1.2's core schema. YAML 1.1's, PyYAML's own, takes `1e-4` for a word, `off` for false and `1:30` for ninety.
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)
