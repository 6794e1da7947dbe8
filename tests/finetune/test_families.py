"""Every strategy in a real epoch of every architecture, with weights as if pretrained."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from images import CLASSES
from models import FAMILIES, TABLE4_FAMILIES, build, make_card, side
from qtt.finetune.cv.classification.data import DataStore
from qtt.finetune.cv.classification.model import build_network
from qtt.finetune.cv.classification.pipeline import Pipeline
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.strategies.freezing import frozen_blocks, layer_groups
from qtt.types import TaskInfo

State = dict[str, Tensor]
SETTINGS = FinetuneSettings(device="cpu")
SOURCE_CLASSES, RATE = 10, 0.3
NAMES = [
    *FAMILIES,
    *(pytest.param(name, marks=[pytest.mark.slow] * (name == "volo_d1_224")) for name in TABLE4_FAMILIES),
]
ONE_BY_ONE = [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in TABLE4_FAMILIES)]
FREEZING: list[dict[str, Any]] = [{"pct_to_freeze": 0.4}, {"linear_probing": True}]
ACTING: list[dict[str, Any]] = [
    {"layer_decay": 0.65},
    {"sp_reg": 0.1},
    {"delta_reg": 0.1},
    {"bss_reg": 0.1},
    {"cotuning_reg": 2.0},
]
TOGETHER = {
    "pct_to_freeze": 0.2,
    "stoch_norm": True,
    "drop": 0.2,
    **{k: v for one in ACTING for k, v in one.items()},
}


@dataclass
class Family:
    """An architecture with its task; the weights before training, and after an epoch without strategies."""

    name: str
    task: TaskInfo
    store: DataStore
    before: State
    plain: State

    def train(self, **changes: Any) -> State:
        """The network's state after one epoch."""
        return _train(Recipe(self.name, lr=1e-3, batch_size=12, **changes), self.task, self.store)[1]


def _train(recipe: Recipe, task: TaskInfo, store: DataStore) -> tuple[State, State]:
    pipeline = Pipeline(recipe, SETTINGS, task, 0, store)
    network = pipeline.learner.network
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pipeline.train_epoch()
    return before, network.state_dict()


@pytest.fixture(scope="module")
def store() -> DataStore:
    return DataStore()


@pytest.fixture(scope="module")
def family(
    request: pytest.FixtureRequest,
    image_folder: Path,
    store: DataStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> Family:
    name, folder = request.param, tmp_path_factory.mktemp("weights")
    save_file(build(name, SOURCE_CLASSES).state_dict(), folder / f"{name}.safetensors")
    card = replace(make_card(name), num_classes=SOURCE_CLASSES)
    task = TaskInfo(image_folder, CLASSES, weights_dir=folder, models=(card,))
    return Family(name, task, store, *_train(Recipe(name, lr=1e-3, batch_size=12), task, store))


def _changed(one: State, other: State) -> set[str]:
    return {name for name, tensor in one.items() if not torch.equal(tensor, other[name])}


def _finite(state: State) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in state.values())


@pytest.mark.parametrize("changes", ACTING, ids="-".join)
@pytest.mark.parametrize("family", ONE_BY_ONE, indirect=True)
def test_a_strategy_acts(family: Family, changes: dict[str, Any]) -> None:
    after = family.train(**changes)
    assert _finite(after)
    assert _changed(after, family.before) & _changed(after, family.plain)


@pytest.mark.parametrize("family", NAMES, indirect=True)
def test_all_strategies_act_together(family: Family) -> None:
    test_a_strategy_acts(family, TOGETHER)


@pytest.mark.parametrize("family", NAMES, indirect=True)
def test_stochastic_norm_acts_where_there_is_batch_norm(family: Family) -> None:
    after = family.train(stoch_norm=True)
    assert _finite(after)
    normed = any("running_mean" in name for name in after)
    assert bool(_changed(after, family.plain)) == normed


@pytest.mark.parametrize("changes", FREEZING, ids="-".join)
@pytest.mark.parametrize("family", NAMES, indirect=True)
def test_what_is_frozen_stays_as_it_was(family: Family, changes: dict[str, Any]) -> None:
    """Running statistics included: those of a batch norm belong to its weight's block."""
    model = build(family.name)
    blocks, head = layer_groups(model).blocks, set(layer_groups(model).head)
    count = frozen_blocks(changes.get("pct_to_freeze", 1.0), len(blocks))
    frozen = {name for block in blocks[:count] for name in block}
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and f"{name}.weight" in frozen:
            frozen |= {f"{name}.{buffer}" for buffer, _ in module.named_buffers()}
    after = family.train(**changes)
    changed = _changed(after, family.before)
    assert _finite(after)
    assert head <= changed
    assert not changed & frozen
    assert changed >= _changed(family.plain, family.before) - frozen


@dataclass
class Dropped:
    """An active dropout: what went in, what came out."""

    rate: float
    given: Tensor
    left: Tensor


@pytest.fixture
def dropped(monkeypatch: pytest.MonkeyPatch) -> list[Dropped]:
    """Calls of active dropout, by modules and as a function."""
    calls: list[Dropped] = []
    original: Callable[..., Tensor] = functional.dropout

    def drop(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        left = original(x, p, training)
        if training and p > 0:
            calls.append(Dropped(p, x, left))
        return left

    monkeypatch.setattr(functional, "dropout", drop)
    return calls


@pytest.mark.parametrize("family", NAMES, indirect=True)
def test_dropout_has_its_probability_and_rests_in_evaluation(family: Family, dropped: list[Dropped]) -> None:
    """A few architectures have dropout of their own, which is no hyperparameter and stays."""
    size = side(family.name)
    images = torch.rand(24, 3, size, size, generator=torch.Generator().manual_seed(0))
    networks = [
        build_network(Recipe(family.name, drop=rate), SETTINGS, family.task, 0) for rate in (0.0, RATE)
    ]

    def passes(network: nn.Module) -> tuple[Tensor, Tensor, set[float]]:
        dropped.clear()
        with torch.no_grad():
            return network(images), network(images), {call.rate for call in dropped}

    one, other, own = passes(networks[0].train())
    assert torch.equal(one, other) == (not own)
    one, other, rates = passes(networks[1].train())
    assert not torch.equal(one, other)
    assert rates == own | {RATE}
    for call in dropped:
        present, lost = call.given != 0, call.left == 0
        share = float(lost[present].double().mean())
        assert abs(share - call.rate) < 4.5 * (call.rate * (1 - call.rate) / int(present.sum())) ** 0.5
        torch.testing.assert_close(call.left[~lost], call.given[~lost] / (1 - call.rate))
    one, other, rates = passes(networks[1].eval())
    assert torch.equal(one, other)
    assert not rates
