"""SMAC behind the protocol."""

import inspect
import logging
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from optimizers.rivals.library_contract import LibraryContract
from qtt.errors import ConfigError
from qtt.optimizers.rivals.positions import Positions
from qtt.optimizers.rivals.smac import SMACOptimizer, _in_order
from qtt.testing.contracts import play
from qtt.testing.synthetic import METAFEATURES, SyntheticCurves, SyntheticSpace
from qtt.types import Candidates

smac = pytest.importorskip("smac", reason="needs the extra optimizers")

CONF = Path(__file__).parents[3] / "conf" / "optimizer" / "smac.yaml"
QUICK = {"initial": 5, "challengers": 200}
SEARCH = """
from qtt.optimizers.rivals.smac import SMACOptimizer
from qtt.testing import SyntheticSpace, play

optimizer = SMACOptimizer(SyntheticSpace(), max_fidelity=3, initial=5, challengers=200)
optimizer.setup(SyntheticSpace().sample(60, 0))
print([(result.config_id, result.fidelity) for result in play(optimizer, 60)])
"""


class TestSMAC(LibraryContract):
    def make(self, seed: int, **settings: Any) -> SMACOptimizer:
        return SMACOptimizer(SyntheticSpace(), seed=seed, **QUICK, **settings)


def test_it_proposes_what_smac_would_evaluate(tmp_path: Path) -> None:
    """Its own loop on the same objective, as the other computation."""
    library, positions, curves = built(max_fidelity=27, seed=3, **QUICK)
    evaluated = []

    def objective(config: Any, seed: int, budget: float) -> float:
        values, epoch = dict(config), round(budget)
        evaluated.append((values, epoch))
        return 1.0 - curves.score(positions.config(values), epoch)

    scenario = smac.Scenario(
        Positions.of_candidates(SyntheticSpace().sample(40, 1), 0).space,
        output_directory=tmp_path,
        deterministic=True,
        n_trials=80,
        min_budget=1,
        max_budget=27,
        seed=3,
    )
    facade = smac.MultiFidelityFacade
    maximizer = facade.get_acquisition_maximizer(scenario, challengers=200)
    _in_order(maximizer._local_search)
    design = facade.get_initial_design(scenario, n_configs=5)
    components = {"acquisition_maximizer": maximizer, "initial_design": design, "logging_level": False}
    facade(scenario, objective, **components).optimize()
    for values, epoch in evaluated:
        proposal = library.propose()
        assert (proposal.values, proposal.until) == (values, epoch)
        library.finish(proposal, [curves.score(positions.config(values), epoch)], 1.0)
    assert len(evaluated) == 80


def test_another_process_proposes_the_same() -> None:
    """Whatever the order of a set of strings is there."""
    orders = [
        subprocess.run(
            [sys.executable, "-c", SEARCH],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert orders[0] == orders[1] != ""


def test_the_better_third_of_a_rung_goes_on() -> None:
    """SMAC's budgets are 1.85, 5.56, 16.67 and 50: they are trained until the nearest epoch."""
    library, _, _ = built(initial=27)
    rung = [library.propose() for _ in range(27)]
    for size, until in ((27, 2), (9, 6), (3, 17), (1, 50)):
        assert (len(rung), {proposal.until for proposal in rung}) == (size, {until})
        scores = {str(proposal.values): -float(i * 7 % 27) for i, proposal in enumerate(rung)}
        for proposal in reversed(rung):
            library.finish(proposal, [0.0, scores[str(proposal.values)]], 1.0)
        if size > 1:
            rung = [library.propose() for _ in range(size // 3)]
            best = sorted(scores, key=lambda name: scores[name])[-len(rung) :]
            assert sorted(str(proposal.values) for proposal in rung) == sorted(best)


def test_trials_have_no_end() -> None:
    library, _, _ = built(initial=150)
    assert all(library.propose() for _ in range(110))


def test_a_small_space_is_not_searched_forever(caplog: pytest.LogCaptureFixture) -> None:
    """Without an answer, no more than its initial design; in the end, nothing."""
    few = Candidates(tuple({"lr": lr, "opt": "sgd"} for lr in (0.1, 0.2, 0.3)))
    library = SMACOptimizer(max_fidelity=9, challengers=20).build(Positions.of_candidates(few, 0))
    asked = []
    while (proposal := library.propose()) is not None:
        asked.append(proposal)
    assert sorted(proposal.values["lr"] for proposal in asked) == [0, 1, 2]
    for proposal in asked:
        library.finish(proposal, [0.5], 1.0)
    for _ in range(30):
        if (proposal := library.propose()) is not None:
            assert proposal.until > 1
            library.finish(proposal, [0.5], 1.0)
    assert library.propose() is None
    assert caplog.records == []


def test_candidates_that_are_all_alike_are_trained_in_their_order() -> None:
    optimizer = SMACOptimizer(max_fidelity=2)
    optimizer.setup(Candidates((SyntheticSpace().sample(1, 0).configs[0],) * 2))
    told = play(optimizer, 10)
    assert [(result.config_id, result.fidelity) for result in told] == [(0, 1), (0, 2), (1, 1), (1, 2)]


def test_failures_are_as_bad_as_the_worst() -> None:
    library, _, _ = built()
    for score in (-4.0, None, 0.5, None, -9.0, None):
        proposal = library.propose()
        if score is None:
            library.fail(proposal)
        else:
            library.finish(proposal, [7.0, score], 1.0)
    costs = [value.cost for value in library._facade.runhistory.values()]
    assert costs == [5.0, 5.0, 0.5, 5.0, 10.0, 10.0]
    states = [value.status.name for value in library._facade.runhistory.values()]
    assert states == ["SUCCESS", "CRASHED"] * 3


def test_it_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """No file, output, thread, handler of logs or number drawn elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    np.random.seed(0)
    drawn, threads = np.random.get_state()[1].copy(), threading.active_count()
    handlers, level = list(logging.root.handlers), logging.root.level
    optimizer = SMACOptimizer(SyntheticSpace(), max_fidelity=3, **QUICK)
    optimizer.setup(20, METAFEATURES)
    assert list(tmp_path.iterdir()) == []
    play(optimizer, 60)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert threading.active_count() == threads
    assert (logging.root.handlers, logging.root.level) == (handlers, level)
    assert (np.random.get_state()[1] == drawn).all()


def test_conf_says_what_the_code_does_by_default() -> None:
    settings = {name: value for name, value in yaml.safe_load(CONF.read_text()).items() if name[0] != "_"}
    defaults = {name: p.default for name, p in inspect.signature(SMACOptimizer).parameters.items()}
    assert settings == {name: defaults[name] for name in defaults if name not in ("config_manager", "seed")}


@pytest.mark.parametrize("wrong", [{"eta": 1}, {"initial": 0}, {"challengers": 0}, {"proposals": 2}])
def test_settings_that_are_none_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SMACOptimizer(**wrong)


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smac", None)
    with pytest.raises(ConfigError, match=r"smac.*pip install 'qtt\[optimizers\]'"):
        SMACOptimizer()


def built(**settings: Any) -> tuple[Any, Positions, SyntheticCurves]:
    positions = Positions.of_candidates(SyntheticSpace().sample(40, 1), 0)
    return SMACOptimizer(**settings).build(positions), positions, SyntheticCurves()
