"""Writes workflow/costs.csv: what each job of the study of digits took here, by which the time left is estimated."""

import csv
from pathlib import Path

from paradise.study.files import write_csv
from paradise.study.terminal.time_left import COSTS

BENCHMARKS = Path("results/digits/benchmarks")


def main() -> None:
    lines = []
    for path in sorted(BENCHMARKS.rglob("*.tsv")):
        with path.open(newline="") as file:
            line = next(csv.DictReader(file, delimiter="\t"))
        lines.append([path.relative_to(BENCHMARKS).with_suffix(""), f"{float(line['s']):.1f}"])
    write_csv(COSTS, ["job", "seconds"], lines)


main()
