"""Options of installed packages in the configuration: listed, chosen, overridden, explained."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra.utils import instantiate

from plugins import announce
from qtt.cli.announced import extensions, option
from qtt.cli.configuration import check_overrides, composed
from qtt.curves.writing import write_table
from qtt.errors import ConfigError
from qtt.space.config_manager import ConfigManager
from recorded import frames, recorded
from waiting import LIMIT

SOURCE = """
from qtt.hub.model_hub import ModelHub
from qtt.optimizers import RandomOptimizer

class Mine(RandomOptimizer):
    def __init__(self, config_manager=None, *, seed, epochs_per_step=1, max_fidelity=50, exploration=0.2,
                 grid=(1, 2), names={"a": None}, hook=len, **others):
        super().__init__(config_manager, seed=seed, max_fidelity=max_fidelity)
        self.exploration = exploration

class Seedless:
    def __init__(self, config_manager): ...

class Bell:
    def __init__(self, tone, quiet=False): self.tone, self.quiet = tone, quiet

def hub(size=3): return ModelHub("any", ModelHub.load("tiny").cards[:size])
def photos(root="photos"): return root
"""

POINTS = {
    "qtt.optimizers": {"mine": "{m}:Mine", "seedless": "{m}:Seedless", "random": "{m}:Mine", "whole": "{m}"},
    "qtt.trackers": {"bell": "{m}:Bell"},
    "qtt.hubs": {"mine": "{m}:hub"},
    "qtt.datasets": {"photos": "{m}:photos"},
    "qtt.tasks": {"sounds": "{m}:Sounds"},
}


@pytest.fixture
def garden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """The module of an installed package that adds something to every group, under a name of its own."""
    module = f"garden_{abs(hash(request.node.nodeid))}"
    points = {
        group: {name: value.format(m=module) for name, value in named.items()}
        for group, named in POINTS.items()
    }
    announce(tmp_path / "site", "garden", points, SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return module


def test_nothing_is_imported_that_is_not_chosen(garden: str) -> None:
    assert set(extensions()["optimizer"]) == {"mine", "seedless", "random", "whole"}
    config, _ = composed("run", ["optimizer=random"])
    assert config.optimizer._target_ == "qtt.optimizers.random.RandomOptimizer", "conf/ comes first"
    assert garden not in sys.modules
    composed("run", ["tracker=bell"])
    assert garden in sys.modules


def test_parameters_with_plain_defaults_can_be_overridden(garden: str) -> None:
    config, _ = composed("run", ["optimizer=mine", "optimizer.exploration=0.1"])
    assert dict(config.optimizer) == {
        "_target_": f"{garden}.Mine",
        "_partial_": True,
        "epochs_per_step": 1,
        "max_fidelity": 50,
        "exploration": 0.1,
        "grid": [1, 2],
        "names": {"a": None},
    }
    hub = instantiate(composed("run", ["model_hub=mine", "model_hub.size=2"])[0].model_hub)
    assert (hub.name, len(hub)) == ("mine", 2)
    manager = ConfigManager(instantiate(config.search_space, models=list(hub.names)), hub)
    optimizer = instantiate(config.optimizer)(config_manager=manager, seed=3)
    assert (type(optimizer).__module__, optimizer.exploration, optimizer.seed) == (garden, 0.1, 3)
    optimizer.setup(4)
    assert optimizer.ask() is not None


@pytest.mark.usefixtures("garden")
def test_trackers_datasets_and_tasks_are_options_too() -> None:
    config, _ = composed("run", ["tracker=[tensorboard,bell]", "tracker.bell.tone=a", "quiet=true"])
    assert list(config.tracker) == ["console", "csv", "tensorboard", "bell"]
    bell = instantiate(config.tracker)["bell"]
    assert (bell.tone, bell.quiet) == ("a", True), "quiet follows the command"
    config, choices = composed("run", ["dataset=photos", "dataset.root=elsewhere"])
    assert instantiate(config.dataset) == "elsewhere"
    assert choices["dataset"] == "photos"
    task = composed("run", ["objective=sounds", "trainer=cpu"])[0].objective
    assert (task.task, task.settings.device) == ("sounds", "cpu")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer=mien", "Did you mean 'mine'"),
        ("optimizer=seedless", "takes no seed"),
        ("optimizer=whole", "is no class and no function"),
        ("tracker=[bel]", "Did you mean 'bell'"),
        ("model_hub=mime", "Did you mean 'mine'"),
    ],
)
@pytest.mark.usefixtures("garden")
def test_what_is_wrong_is_explained(override: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        check_overrides("run", [override])
    assert message in capsys.readouterr().err


@pytest.mark.usefixtures("garden")
def test_a_typo_in_a_parameter_has_close_matches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        check_overrides("run", ["optimizer=mine", "optimizer.explration=1"])
    assert "Did you mean optimizer.exploration" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="Unknown tracker 'bel'"):
        option("tracker", "bel")


def test_two_packages_with_one_name_stop_a_command_with_a_message(
    garden: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce(tmp_path / "other", "shed", {"qtt.trackers": {"bell": "shed:Bell"}}, "class Bell: ...")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{tmp_path / 'other'}:{':'.join(sys.path)}")
    done = _call("run", "--help", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"Error: Two packages install the tracker 'bell': {garden}:Bell and shed:Bell."
    )


def test_help_lists_them_and_a_benchmark_replays_them(
    garden: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{':'.join(sys.path)}")
    write_table(tmp_path / "table", frames([recorded("A", n=8, seed=0)]), source="synthetic")
    listed = _call("run", "--help", cwd=tmp_path).stdout
    optimizers = next(line for line in listed.splitlines() if line.startswith("optimizer: "))
    assert {"asha", "mine", "quick"} <= set(optimizers.removeprefix("optimizer: ").split(", "))
    assert "\nmodel_hub: auto, folder, lite, mine, modern" in listed
    assert "\nobjective: finetune, sounds\n" in listed
    settings = ["table=table", "policies=[random,mine]", "hub=null", "seeds=1", "processes=2", "seconds=500"]
    done = _call("benchmark", *settings, "out=out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line.split(",") for line in (tmp_path / "out" / "regret.csv").read_text().splitlines()]
    regret = {name: [row[1:] for row in rows if row[0] == name] for name in ("random", "mine")}
    assert regret["mine"], garden
    assert regret["mine"] == regret["random"], "it is random search under another name"


def _call(command: str, *arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", f"qtt.{command}", *arguments]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=LIMIT)
