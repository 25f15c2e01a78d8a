"""Writes the tables of the digits study into README.md, in few columns; with --check, exit code 1 where it has others.

They stand between `<!-- NAME -->` and `<!-- /NAME -->`, and come from results/digits/tables/NAME.md, which git has.
"""

import re
import sys
from pathlib import Path

from paradise.study.files import write_text
from paradise.study.table import markdown_table

README, TABLES = Path("README.md"), Path("results/digits/tables")
# Titles as they stand there; what has the paper's beside it is shown with that in parentheses.
COLUMNS = {
    "imagenet": ["Model", "**Top-1 %**", "**FLOPs G**", "**Params M**", "**Latency ms**", "**÷ ResNet**"],
    "ablation": ["Standard1", "Standard2", "Group", "Skeleton", "**PD-A top-1 %**", "**PD-B top-1 %**"],
    "detection": ["Detector", "Backbone", "**AP**", "**AP50**", "**AP_S**", "÷ ResNet50"],
}


def main() -> int:
    text = README.read_text(encoding="utf-8")
    for name, titles in COLUMNS.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}{_shortened(name, titles)}\n{end}{rest.split(end)[1]}"
    if "--check" not in sys.argv:
        write_text(README, text)
    elif text != README.read_text(encoding="utf-8"):
        print("README.md does not have the numbers of results/digits/tables: run `python workflow/readme.py`")
        return 1
    return 0


def _shortened(name: str, titles: list[str]) -> str:
    lines = (TABLES / f"{name}.md").read_text(encoding="utf-8").splitlines()
    headers, _, *rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line[:1] == "|"
    ]
    chosen = [headers.index(title) for title in titles]

    def cell(row: list[str], column: int) -> str:
        published = row[column + 1] if headers[column + 1] == "paper" else "–"
        return row[column] if published == "–" else f"{row[column]} ({published})"

    heads = [headers[column] + " (paper)" * (headers[column + 1] == "paper") for column in chosen]
    return markdown_table(heads, [[cell(row, column) for column in chosen] for row in rows])


if __name__ == "__main__":
    sys.exit(main())
