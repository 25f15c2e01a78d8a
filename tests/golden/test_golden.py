"""The first losses of three rows against those that were recorded before a change.

On a processor and with a PyTorch that there is a record of, they must be equal to the last bit. Elsewhere there is
nothing to be equal to, which a warning says: then the first two must be nearly those of the nearest record. Later ones
are not compared: training makes differences by rounding larger with each step.
"""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
RECORDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
HELD_TO = {"all_instructions": {}, "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}}
FIRST, TOLERANCE = 2, 1e-3


def compare(measured: dict, records: dict[str, dict]) -> None:
    machine = ("torch", "instructions", "processor")
    for record in records.values():
        if all(record[key] == measured[key] for key in machine):
            assert measured["losses"] == record["losses"]
            return
    nearest = max(records, key=lambda name: records[name]["instructions"] == measured["instructions"])
    here = f"{measured['processor']} with {measured['instructions']} and torch {measured['torch']}"
    warnings.warn(
        f"no record of {here}: only the first {FIRST} losses were compared, with those of {nearest}; "
        "`python tests/golden/losses.py --record NAME` adds one",
        stacklevel=2,
    )
    assert measured["losses"].keys() == records[nearest]["losses"].keys()
    for row, losses in records[nearest]["losses"].items():
        ours, theirs = (list(map(float.fromhex, either[:FIRST])) for either in (measured["losses"][row], losses))
        assert ours == pytest.approx(theirs, rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("held_to", HELD_TO)
def test_losses_are_what_they_were(held_to):
    done = subprocess.run(
        [sys.executable, FOLDER / "losses.py"],
        env=os.environ | HELD_TO[held_to],
        stdout=subprocess.PIPE,
        check=True,
    )
    compare(json.loads(done.stdout), RECORDS)


def test_a_record_counts_to_the_last_bit_where_it_was_made():
    measured = json.loads(json.dumps(RECORDS["avx512-zen4"]))
    compare(measured, RECORDS)
    loss = measured["losses"]["pd_b_resnet50"][-1]
    measured["losses"]["pd_b_resnet50"][-1] = (float.fromhex(loss) * (1 + 2**-23)).hex()
    with pytest.raises(AssertionError):
        compare(measured, RECORDS)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("torch", "2.14.0"),
        ("instructions", "DEFAULT"),
        ("processor", {"vendor": "GenuineIntel", "family": "6", "model": "143"}),
    ],
)
def test_elsewhere_the_first_losses_are_compared_and_that_is_said(key, value):
    measured = json.loads(json.dumps(RECORDS["avx2-zen4"])) | {key: value}
    others = {"avx512-zen4": RECORDS["avx512-zen4"]}
    with pytest.warns(UserWarning, match=r"^no record of .*, with those of avx512-zen4;"):
        compare(measured, others)
    loss = measured["losses"]["pd_a_resnet18"][1]
    measured["losses"]["pd_a_resnet18"][1] = (float.fromhex(loss) * 1.002).hex()
    with pytest.warns(UserWarning), pytest.raises(AssertionError):
        compare(measured, others)


def test_the_nearest_record_has_the_same_instructions():
    measured = RECORDS["avx2-zen4"] | {"torch": "2.14.0"}
    with pytest.warns(UserWarning, match="with those of avx2-zen4"):
        compare(measured, RECORDS)
