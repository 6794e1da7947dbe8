"""Parameters and latency of models, as constraints see them."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from models import build, make_card
from qtt.finetune.cv.classification import footprint
from qtt.finetune.cv.classification.footprint import footprints, latency_ms
from qtt.hub.model_hub import ModelHub
from qtt.types import TaskInfo
from waiting import LIMIT


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QTT_CACHE", str(tmp_path / "cache"))


def test_parameters_are_those_of_the_network_that_is_trained(make_task: Callable[..., TaskInfo]) -> None:
    task = make_task()
    found = footprints([make_card("test_resnet")], task)["test_resnet"]
    network = build("test_resnet")
    assert found.params == sum(p.numel() for p in network.parameters())
    assert found.latency_ms is None
    more = replace(task, class_names=tuple("abcdefgh"))
    extra = 8 - len(task.class_names)
    assert footprints([make_card("test_resnet")], more)["test_resnet"].params == found.params + extra * (
        network.fc.in_features + 1
    )


def test_position_embeddings_follow_the_input_size(make_task: Callable[..., TaskInfo]) -> None:
    card = replace(make_card("test_vit"), input_size=160, fixed_input_size=True, create_kwargs=())
    large, small = (
        footprints([card], replace(make_task(), settings=settings))["test_vit"]
        for settings in ({}, {"max_image_size": 32})
    )
    assert (large.size, small.size) == (160, 32)
    assert small.params < large.params


class Sleeping(nn.Module):
    """A network that takes its time."""

    def __init__(self, milliseconds: float) -> None:
        super().__init__()
        self.milliseconds = milliseconds
        self.calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert images.shape == (1, 3, 8, 8)
        assert not self.training
        self.calls += 1
        time.sleep(self.milliseconds / 1e3)
        return images


def test_latency_is_the_median_of_repeated_runs() -> None:
    network = Sleeping(10.0)
    assert latency_ms(network, 8) >= 10.0
    assert network.calls >= footprint.WARM_UP + footprint.LEAST_RUNS


def test_slow_networks_are_not_run_ten_times(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = footprint._run
    monkeypatch.setattr(footprint, "_run", lambda *arguments: 2.6 + 0 * usual(*arguments))
    network = Sleeping(0.0)
    assert latency_ms(network, 8) == 2600.0
    assert network.calls == footprint.WARM_UP + 2


def test_a_measured_latency_is_not_measured_again(
    make_task: Callable[..., TaskInfo], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub = ModelHub.load("tiny").subset(["test_resnet", "test_vit"])
    first = footprints(hub.cards, make_task(), latency=True)
    assert all(f.latency_ms is not None and f.latency_ms > 0 and f.device == "cpu" for f in first.values())
    monkeypatch.setattr(footprint, "latency_ms", lambda *_: pytest.fail("measured again"))
    assert footprints(hub.cards, make_task(), latency=True) == first
    (tmp_path / "cache" / "latency.json").write_text("{torn")
    monkeypatch.setattr(footprint, "latency_ms", lambda *_: 7.0)
    assert footprints(hub.cards, make_task(), latency=True)["test_vit"].latency_ms == 7.0


def test_measuring_draws_nothing_from_the_random_state(make_task: Callable[..., TaskInfo]) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    footprints([make_card("test_resnet")], make_task(), latency=True)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_constrained_search_chooses_from_the_models_that_are_left(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "qtt.run",
        "+experiment=quickstart",
        "num_candidates=12",
        "budget.seconds=null",
        "search_space.narrow={batch_size:[64]}",
    ]
    command += ["budget.evaluations=1", "constraints.max_params=4e5", f"run_dir={tmp_path / 'run'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stdout + done.stderr
    needs = json.loads((tmp_path / "run" / "footprints.json").read_text())
    allowed = {name for name, need in needs.items() if need["params"] <= 4e5}
    assert 0 < len(allowed) < len(needs) == 6
    candidates = json.loads((tmp_path / "run" / "candidates.json").read_text())
    assert {config["model"] for config in candidates["configs"]} <= allowed
    assert f"{len(allowed)} of 6 models keep max_params=400000" in done.stdout
