import subprocess
import sys

import pytest

from qtt import MetaFeatures, get_pretrained_optimizer
from qtt.errors import ArtifactError, ConfigError
from qtt.model_hub import ModelHub
from qtt.testing.synthetic import CARDS


@pytest.fixture
def hub():
    return ModelHub("synthetic", CARDS)


def test_a_cold_optimizer_samples_from_its_hub_and_space(hub):
    optimizer = get_pretrained_optimizer("cold", model_hub=hub, narrow={"opt": ["adamw"]}, seed=3)
    optimizer.setup(16, MetaFeatures(800, 10, 64, 3))
    assert len(optimizer.candidates) == 16
    assert {config["opt"] for config in optimizer.candidates.configs} == {"adamw"}
    assert {config["model"] for config in optimizer.candidates.configs} <= set(hub.names)
    assert optimizer.ask().fidelity == 1


def test_settings_reach_the_optimizer(hub):
    optimizer = get_pretrained_optimizer(model_hub=hub, seed=7, epochs_per_step=2, max_fidelity=5)
    optimizer.setup(4)
    assert (optimizer.seed, optimizer.ask().fidelity, optimizer.max_fidelity) == (7, 2, 5)
    again = get_pretrained_optimizer(model_hub=hub, seed=7)
    again.setup(4)
    assert again.candidates == optimizer.candidates


def test_the_default_hub_has_candidates():
    optimizer = get_pretrained_optimizer()
    optimizer.setup(128, MetaFeatures(1437, 10, 64, 3))
    assert len(optimizer.candidates) == 128


@pytest.mark.parametrize("name", ["mtlbm/micro", "mtlbm/mini", "mtlbm/extended"])
def test_meta_learned_weights_are_refused_with_what_is_missing(name):
    with pytest.raises(
        ArtifactError, match=rf"ships no meta-learned weights.*artifact={name[6:]}`"
    ) as caught:
        get_pretrained_optimizer(name)
    assert "'cold'" in str(caught.value)


def test_unknown_names_show_close_ones():
    with pytest.raises(ArtifactError, match="Did you mean 'mtlbm/extended'"):
        get_pretrained_optimizer("mtlbm/extnded")


def test_an_unknown_search_space_is_refused(hub):
    with pytest.raises(ConfigError):
        get_pretrained_optimizer(model_hub=hub, search_space="nonsense")


def test_the_module_is_light():
    code = "import qtt.artifacts, sys; print([m for m in ('torch', 'ConfigSpace') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
