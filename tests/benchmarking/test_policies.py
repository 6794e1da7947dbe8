import shutil

import pytest

from qtt.artifacts.files import locate
from qtt.benchmarking.policies import Policy
from qtt.errors import ConfigError
from qtt.optimizers import ASHAOptimizer
from qtt.optimizers.quick import QuickTune


def test_settings_seed_and_horizon_reach_the_optimizer():
    config = {
        "_target_": "qtt.optimizers.asha.ASHAOptimizer",
        "_partial_": True,
        "max_fidelity": 50,
        "eta": 4,
    }
    made = Policy.from_config("asha", config).make(seed=7, max_fidelity=20)
    assert type(made) is ASHAOptimizer
    assert (made.seed, made.max_fidelity, made.eta) == (7, 20, 4)


def test_parts_are_built_anew_for_every_search():
    config = {
        "_target_": "qtt.optimizers.quick.QuickTune",
        "performance": {"_target_": "qtt.predictors.performance.DeepKernelGP", "steps": 2},
        "cost": {"_target_": "qtt.predictors.cost.PhysicalCost"},
    }
    policy = Policy.from_config("quick", config)
    first, second = policy.make(0, 50), policy.make(0, 50)
    assert isinstance(first, QuickTune)
    assert first.performance.steps == 2
    assert first.performance is not second.performance


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module.Thing", "cannot be imported"),
        ("qtt.optimizers.asha.Missing", "cannot be imported"),
        ("builtins.dict", "has no setup, ask, tell"),
    ],
)
def test_what_is_no_optimizer_is_refused(target, message):
    with pytest.raises(ConfigError, match=message):
        Policy("mine", target).make(0, 50)


def test_artifacts_count_by_their_content(tmp_path):
    """A folder that was fitted anew is another policy; a name or a folder of the same content is the same."""
    folder = tmp_path / "mine"
    shutil.copytree(locate("mtlbm/micro"), folder)
    settings = {"weights": str(folder), "cost": {"weights": "mtlbm/mini"}}
    before = Policy("quick", "qtt.quick_tune", settings).artifacts
    assert before == Policy("quick", "qtt.quick_tune", settings).artifacts
    assert len(set(before)) == 2
    facts = folder / "artifact.json"
    facts.write_text(facts.read_text().replace("sha256", "sha257", 1))
    assert Policy("quick", "qtt.quick_tune", settings).artifacts != before
    assert Policy("random", "qtt.optimizers.random.RandomOptimizer", {"eta": 3}).artifacts == []


def insistent(config_manager, seed, max_fidelity):
    """An optimizer of another package may insist on a source of candidates."""
    made = ASHAOptimizer(seed=seed, max_fidelity=max_fidelity)
    made.source = config_manager
    return made


def test_an_optimizer_that_insists_on_a_source_has_none_in_a_replay():
    assert Policy("mine", f"{__name__}.insistent").make(3, 20).source is None


@pytest.mark.parametrize(
    ("target", "reason"),
    [("builtins.object", "max_fidelity|seed"), ("qtt.optimizers.base.Expectation", "config_id")],
)
def test_what_cannot_be_called_like_an_optimizer_says_so(target, reason):
    with pytest.raises(ConfigError, match=rf"Policy 'mine': {target} cannot be called: .*({reason})"):
        Policy("mine", target).make(0, 50)
