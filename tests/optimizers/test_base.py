import pytest

from qtt.errors import ConfigError
from qtt.optimizers import RandomOptimizer
from qtt.testing import SyntheticSpace
from qtt.types import Candidates


@pytest.mark.parametrize("settings", [{"epochs_per_step": 0}, {"epochs_per_step": 51}, {"seed": -1}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError):
        RandomOptimizer(SyntheticSpace(), **settings)


def test_sampling_needs_a_config_manager():
    with pytest.raises(ConfigError, match="config_manager"):
        RandomOptimizer().setup(4)


def test_a_search_needs_candidates():
    with pytest.raises(ConfigError, match="at least one"):
        RandomOptimizer().setup(Candidates(()))


def test_setup_starts_a_new_search():
    optimizer = RandomOptimizer(SyntheticSpace())
    optimizer.setup(4)
    trial = optimizer.ask()
    optimizer.tell({"config_id": trial.config_id, "fidelity": 1, "score": 0.5, "cost": 1.0, "status": True})
    optimizer.ask()
    optimizer.setup(4)
    assert len(optimizer.history) == 0
    assert not optimizer.waiting
    assert optimizer.ask() == trial
