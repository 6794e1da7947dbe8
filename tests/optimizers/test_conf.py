from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from qtt.optimizers import ASHAOptimizer, EpochwiseRandomOptimizer, RandomOptimizer
from qtt.optimizers.quick import QuickTune
from qtt.testing import METAFEATURES, SyntheticSpace

CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("quick", QuickTune),
        ("quick_pretrained", QuickTune),
        ("random", RandomOptimizer),
        ("random_epochwise", EpochwiseRandomOptimizer),
        ("asha", ASHAOptimizer),
    ],
)
def test_every_optimizer_of_conf_instantiates(name, cls):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("run", [f"optimizer={name}", "optimizer.epochs_per_step=2"])
    optimizer = instantiate(config.optimizer)(config_manager=SyntheticSpace(), seed=4)
    assert type(optimizer) is cls
    optimizer.setup(6, METAFEATURES)
    assert (optimizer.ask().fidelity, optimizer.max_fidelity, optimizer.seed) == (2, 50, 4)


def test_conf_says_what_the_code_does_by_default():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("run", ["optimizer=quick"])
    from_conf = instantiate(config.optimizer.performance)
    default = type(from_conf)()
    assert vars(from_conf) == vars(default)
