import json
import time

import torch
from torch import nn

from paradise.study.code import fingerprint
from paradise.study.profiling.latency import time_rounds, write_latency
from paradise.study.rows import Row


class Sleep(nn.Module):
    def __init__(self, seconds: float):
        super().__init__()
        self.seconds, self.calls = seconds, 0

    def forward(self, x):
        self.calls += 1
        time.sleep(self.seconds)
        return x


def test_times_are_each_models_own_and_warm_up_is_not_kept():
    models = {"slow": Sleep(0.02), "fast": Sleep(0.001)}
    times = time_rounds(models, torch.zeros(1), rounds=4)
    assert [len(values) for values in times.values()] == [4, 4]
    assert models["slow"].calls == models["fast"].calls == 9
    assert min(times["slow"]) >= 20
    assert min(times["fast"]) < 20


def test_every_round_has_an_order_of_its_own():
    order = []
    models = {name: nn.Identity() for name in "abcdef"}
    for name, model in models.items():
        model.register_forward_hook(lambda *_, name=name: order.append(name))
    time_rounds(models, torch.zeros(1), rounds=5)
    rounds = ["".join(order[i : i + 6]) for i in range(0, len(order), 6)]
    assert all(sorted(round) == list(models) for round in rounds)
    assert len(set(rounds)) > 5


def test_the_record(tmp_path):
    rows = [Row.parse("pd_a_resnet18"), Row.parse("pd_b_resnet18")]
    write_latency(rows, rounds=3, threads=1, preset="test", output=tmp_path / "latency.json")
    record = json.loads((tmp_path / "latency.json").read_text())
    assert set(record) == {
        *("step", "preset", "of", "settings", "inputs", "outputs", "code", "seal"),
        *("time", "commit", "versions", "machine", "rows"),
    }
    assert (record["step"], record["preset"], record["of"]) == ("latency", "test", {})
    assert record["settings"] == {"models": ["pd_a_resnet18", "pd_b_resnet18"], "rounds": 3, "threads": 1}
    assert (record["inputs"], record["outputs"]) == ({}, {})
    networks = (f"paradise.models.{kind}" for kind in ("plain", "pd_a", "pd_b"))
    assert record["code"] == fingerprint("paradise.study.profiling.latency", *networks)
    assert record["machine"]["threads"] == 1
    # The plain network that they are compared with is timed with them.
    assert list(record["rows"]) == ["pd_a_resnet18", "pd_b_resnet18", "resnet18"]
    for row in record["rows"].values():
        assert set(row) == {"times_ms"} and len(row["times_ms"]) == 3 and min(row["times_ms"]) > 0
