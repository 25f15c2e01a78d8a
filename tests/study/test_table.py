"""Markdown: whatever a record has in it is text, in a table with as many cells in each line and in a note."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from written import MACHINE, change_record, make_study

from paradise.study.registry import TABLES
from paradise.study.report import markdown
from paradise.study.results import Study
from paradise.study.table import code, each, escape, markdown_table
from paradise.study.tables import render

COMMONMARK = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
ANY = st.text(st.sampled_from("ab |\\`*_[]()<>&#~$!\n\r\t\"'/=-+.:;1\x00\u2028é"), max_size=30) | st.text(max_size=30)
NASTY = "a|b\n<img src=x onerror=alert(1)> `c`` *d* __e__ [f](g) ![h](i) &lt; ~~j~~ \\ $k$"


def inline(text: str) -> list:
    return [child for token in COMMONMARK.parse(text) if token.type == "inline" for child in token.children]


def cells(text: str) -> list[list[str]]:
    """The text of each cell, by the table's line."""
    lines, opened = [], False
    for token in COMMONMARK.parse(text):
        if token.type == "tr_open":
            lines.append([])
        elif token.type in ("th_open", "td_open"):
            opened = True
        elif token.type == "inline" and opened:
            assert all(child.type in ("text", "text_special", "code_inline") for child in token.children), text
            lines[-1].append("".join(child.content for child in token.children))
            opened = False
        else:
            assert token.type != "html_block", text
    return lines


def printed(text: str) -> str:
    """What a cell shows of a text: spaces where something cannot be printed, none at the ends."""
    return "".join(one if one.isprintable() else " " for one in text).strip(" ")


@given(ANY, ANY)
@example(NASTY, "\\|")
@example("a\\", "|b")
def test_a_table_has_as_many_cells_in_each_line_whatever_is_in_them(one, other):
    text = markdown_table(["**A**", "B", "C"], [[escape(one), "x", escape(other)], ["y", escape(other), "z"]])
    assert cells(text.replace("**A**", "A")) == [
        ["A", "B", "C"],
        [printed(one), "x", printed(other)],
        ["y", printed(other), "z"],
    ]


@given(ANY)
@example(NASTY)
def test_what_is_escaped_is_text_in_a_note_and_in_the_report(text):
    tokens = inline(f"on {escape(text)}, that is")
    assert {token.type for token in tokens} <= {"text", "text_special"}
    assert "".join(token.content for token in tokens) == f"on {printed(f'x{text}x')[1:-1]}, that is"
    assert "<" not in markdown(escape(text))


@given(ANY.filter(lambda text: text.strip() == text != ""))
@example("`a` ``b``")
@example("`")
def test_code_is_one_piece_of_code(text):
    (token,) = (token for token in inline(f"by {code(text)} it is") if token.type == "code_inline")
    assert token.content.strip(" ") == printed(text)


def test_what_is_said_once_of_several_is_escaped():
    assert each(["a_b", "a_b", "*c"]) == r"a_b, \*c"


@pytest.mark.parametrize("name", TABLES.names())
def test_no_table_has_html_or_other_cells_for_what_a_record_says(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    text = NASTY.replace("\n", " ")
    preset = make_study()
    plain = render(name, Study(preset))[f"{name}.md"]
    for job in Study(preset).survey.jobs.values():
        if job.record.exists() and "machine" in (values := json.loads(job.record.read_text())):
            changes = {"machine": values["machine"] | {"processor": text}}
            change_record(job, **changes, code=job.code | {"paradise.names": "0" * 12})
    changed = render(name, Study(preset))[f"{name}.md"]
    assert changed != plain
    types = {token.type for token in COMMONMARK.parse(changed)} | {token.type for token in inline(changed)}
    assert not {kind for kind in types if "html" in kind and changed.count("<br>") == 0}
    assert "<img" not in changed.replace(r"\<img", "")
    for of in (plain, changed):
        lines = [line.replace(r"\|", "") for line in of.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) == 1
    assert MACHINE["processor"] not in changed
