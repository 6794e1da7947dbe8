"""`python -m qtt.doctor`: what it prints and returns, here and on machines with something broken."""

import json
from importlib.metadata import version

import pytest
import torch

from qtt import doctor
from qtt.artifacts import files
from qtt.hub.model_hub import load_hub
from qtt.support import network


def _silent(url: str) -> str | None:
    """A network where everything answers."""
    return None


def _gone(url: str) -> str | None:
    return "no route"


@pytest.mark.parametrize("probe", [_silent, _gone], ids=["network", "no network"])
def test_this_machine_can_search(probe: network.Probe, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main([], probe) == 0
    shown = capsys.readouterr().out
    for title in ("Packages", "Extras", "Machine", "Folders", "Network", "A search would choose"):
        assert f"\n{title}\n" in f"\n{shown}"
    assert f"torch             {version('torch')}" in shown
    assert "tiny, 6 models, all weights at hand" in shown
    assert "own images        CPU" in shown
    assert f"{len(load_hub('lite'))} models of lite (weights from packages)" in shown
    assert ("no route" in shown) == (probe is _gone)
    assert shown.strip().endswith("run +experiment=quickstart")


def test_programs_get_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--json"], _silent) == 0
    found = {(f["topic"], f["name"]): f for f in json.loads(capsys.readouterr().out)["findings"]}
    chosen = {name: f["found"] for (topic, name), f in found.items() if topic == "A search would choose"}
    assert chosen["device"].startswith("cuda" if torch.cuda.is_available() else "cpu")
    assert chosen["optimizer"] == "quick_pretrained"
    assert chosen["isolation"] == "process"
    assert found["Network", "Hugging Face hub"]["level"] == "ok"


def test_what_a_search_would_meet_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def damaged(name: str) -> None:
        raise files.ArtifactError("cost.safetensors is damaged")

    monkeypatch.setattr(files, "read_artifact", damaged)
    assert doctor.main([], _silent) == 1
    shown = capsys.readouterr().out
    assert "problem  predictors        cost.safetensors is damaged" in shown
    assert "→ Install qtt again" in shown
    assert shown.strip().endswith("Problems: 1. A search would meet them; mend them first.")


def test_a_configuration_that_cannot_be_composed_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise RuntimeError("conf is gone")

    monkeypatch.setattr(doctor, "_configuration", broken)
    assert doctor.main([], _silent) == 1
    assert "RuntimeError: conf is gone" in capsys.readouterr().out
