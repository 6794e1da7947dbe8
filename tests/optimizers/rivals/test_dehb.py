"""DEHB behind the protocol."""

import inspect
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import ConfigSpace as Cs
import numpy as np
import pytest
import yaml

from optimizers.rivals.library_contract import LibraryContract
from qtt.errors import ConfigError
from qtt.optimizers.rivals.dehb import DEHBOptimizer, _Evolution
from qtt.optimizers.rivals.positions import Positions
from qtt.space.config_manager import ConfigManager
from qtt.testing.contracts import play
from qtt.testing.synthetic import CARDS, METAFEATURES, SyntheticCurves, SyntheticSpace

dehb = pytest.importorskip("dehb", reason="needs the extra optimizers")

CONF = Path(__file__).parents[3] / "conf" / "optimizer" / "dehb.yaml"


class TestDEHB(LibraryContract):
    def make(self, seed: int, **settings: Any) -> DEHBOptimizer:
        return DEHBOptimizer(SyntheticSpace(), seed=seed, **settings)


def test_it_proposes_what_dehb_would_evaluate(tmp_path: Path) -> None:
    """Its own loop on the same objective, as the other computation."""
    library, positions, curves = built(max_fidelity=27, seed=3)
    evaluated = []

    def objective(config: Any, fidelity: float) -> dict[str, float]:
        values, epoch = library._values(config), round(fidelity)
        evaluated.append((values, epoch))
        return {"fitness": 1 - curves.score(positions.config(values), epoch), "cost": 1.0}

    dimensions = len(positions.space)
    settings = {"dimensions": dimensions, "min_fidelity": 1, "max_fidelity": 27, "n_workers": 1, "seed": 3}
    dehb.DEHB(f=objective, output_path=str(tmp_path), **settings).run(fevals=200)
    for values, epoch in evaluated:
        proposal = library.propose()
        assert (proposal.values, proposal.until) == (values, epoch)
        library.finish(proposal, [curves.score(positions.config(values), epoch)], 1.0)
    assert len(evaluated) == 200


def test_the_better_third_of_a_rung_goes_on() -> None:
    """DEHB's fidelities are 1.85, 5.56, 16.67 and 50: they are trained until the nearest epoch."""
    library, _, _ = built()
    rung = [library.propose() for _ in range(27)]
    for size, until in ((27, 2), (9, 6), (3, 17), (1, 50)):
        assert (len(rung), {proposal.until for proposal in rung}) == (size, {until})
        scores = {number(proposal): -float(i * 7 % 27) for i, proposal in enumerate(rung)}
        for proposal in reversed(rung):
            library.finish(proposal, [0.0, scores[number(proposal)]], 1.0)
        rung = [library.propose() for _ in range(size // 3)]
        best = sorted(scores, key=lambda i: scores[i])[-len(rung) :] if rung else []
        assert sorted(map(number, rung)) == sorted(best)


def test_without_answers_it_begins_another_bracket() -> None:
    library, _, _ = built()
    untils = [library.propose().until for _ in range(27 + 9 + 6 + 4)]
    assert untils == [*27 * [2], *9 * [6], *6 * [17], *4 * [50]]


def test_it_goes_on_where_all_fail() -> None:
    library, _, _ = built()
    for _ in range(150):
        library.fail(library.propose())
    assert library.propose() is not None


def test_one_epoch_is_enough_for_evolution() -> None:
    optimizer = DEHBOptimizer(max_fidelity=1)
    optimizer.setup(SyntheticSpace().sample(30, 0))
    assert len(play(optimizer, 100)) == 30


def test_ranges_and_their_conditions() -> None:
    space = Cs.ConfigurationSpace()
    space.add(Cs.CategoricalHyperparameter("model", [card.name for card in CARDS]))
    space.add(Cs.Float("lr", (1.23456789123e-5, 0.1), log=True), Cs.Integer("n", (3, 500), log=True))
    space.add(Cs.OrdinalHyperparameter("k", [1, 2, 5]), Cs.Float("decay", (1e-8, 1e-3), log=True))
    space.add(Cs.Float("momentum", (0.0, 0.9)))
    small, few = Cs.GreaterThanCondition(space["decay"], space["k"], 1), (space["decay"], space["n"], 100)
    space.add(Cs.AndConjunction(small, Cs.LessThanCondition(*few)))
    space.add(Cs.GreaterThanCondition(space["momentum"], space["decay"], 1e-5))
    manager = ConfigManager(space, SyntheticSpace.hub)
    positions = Positions.of_manager(manager, 0)
    library = _Evolution(None, positions)
    generator = np.random.default_rng(0)
    found = set()
    for places in (*np.eye(6), np.zeros(6), np.ones(6), *generator.random((200, 6))):
        values = library._values(places)
        config = positions.config(values)
        assert manager.validate(config) == config
        assert values.keys() == config.keys()
        found.add((config["k"], "decay" in values, "momentum" in values))
    assert len(found) == 7  # decay never where k is 1, and momentum never without it
    lengths = [positions.config(library._values(np.full(6, place)))["n"] for place in (0.0, 0.5, 1.0)]
    assert lengths == [3, round((3 * 500) ** 0.5), 500]


def test_it_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """No file, output, thread or number drawn elsewhere, and the handlers of loguru that someone made."""
    from loguru import logger

    heard: list[str] = []
    handler = logger.add(heard.append, format="{message}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "dehb"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    np.random.seed(0)
    drawn, threads = np.random.get_state()[1].copy(), threading.active_count()
    optimizer = DEHBOptimizer(SyntheticSpace(), max_fidelity=9)
    optimizer.setup(20, METAFEATURES)
    play(optimizer, 60)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert threading.active_count() == threads
    assert (np.random.get_state()[1] == drawn).all()
    logger.info("still heard")
    logger.remove(handler)
    assert heard == ["still heard\n"]
    assert "dehb" in sys.modules


def test_conf_says_what_the_code_does_by_default() -> None:
    settings = {name: value for name, value in yaml.safe_load(CONF.read_text()).items() if name[0] != "_"}
    defaults = {name: p.default for name, p in inspect.signature(DEHBOptimizer).parameters.items()}
    assert settings == {name: defaults[name] for name in defaults if name not in ("config_manager", "seed")}


@pytest.mark.parametrize("wrong", [{"eta": 1}, {"proposals": 2}])
def test_settings_that_are_none_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        DEHBOptimizer(**wrong)


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dehb", None)
    with pytest.raises(ConfigError, match=r"dehb.*pip install 'qtt\[optimizers\]'"):
        DEHBOptimizer()


def built(**settings: Any) -> tuple[Any, Positions, SyntheticCurves]:
    positions = Positions.of_candidates(SyntheticSpace().sample(40, 1), 0)
    return DEHBOptimizer(**settings).build(positions), positions, SyntheticCurves()


def number(proposal: Any) -> int:
    return int(proposal.handle["config_id"])
