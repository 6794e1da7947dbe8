from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from models import FAMILIES, build, make_card
from qtt.finetune.cv.classification.data import DataStore
from qtt.finetune.cv.classification.forward import ForwardStep, TrainingDiverged
from qtt.finetune.cv.classification.mixing import Mixer
from qtt.finetune.cv.classification.module import ClassificationModule
from qtt.finetune.cv.classification.pipeline import Pipeline
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.strategies.features import FeatureReader
from qtt.types import TaskInfo

MakeTask = Callable[..., TaskInfo]
HALF = (0.5, 0.5, 0.5)


class _Term:
    """A regulariser that notes the steps it sees and adds a constant."""

    held: tuple[Tensor, ...] = ()

    def __init__(self, value: float, needs_features: bool = True) -> None:
        self.value = value
        self.needs_features = needs_features
        self.seen: list[ForwardStep] = []

    def __call__(self, step: ForwardStep) -> Tensor:
        self.seen.append(step)
        return torch.tensor(self.value)


def _module(network: nn.Module, *terms: _Term) -> ClassificationModule:
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    return ClassificationModule(network, optimizer, Mixer(3, 0, 0, 1, 0), HALF, HALF, terms)


def _with_dropout(name: str, rate: float) -> nn.Module:
    torch.manual_seed(0)
    kwargs = dict(make_card(name).create_kwargs) if name in FAMILIES else {}
    return timm.create_model(name, num_classes=3, drop_rate=rate, **kwargs).train()


BATCH_NORM_IN_HEAD = "mobilenetv4_conv_small_035"
ALL = (*FAMILIES, BATCH_NORM_IN_HEAD)


def _images(network: nn.Module) -> Tensor:
    side = 64 if "CoAtNet" in type(network).__name__ or "MaxxVit" in type(network).__name__ else 32
    return torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_a_network_is_its_features_and_its_head(name: str, training: bool) -> None:
    network, twin = (_with_dropout(name, 0.0).train(training) for _ in range(2))
    images = _images(network)
    torch.testing.assert_close(network(images), twin.forward_head(twin.forward_features(images)))


@pytest.mark.parametrize("name", ALL)
def test_features_are_those_before_dropout(name: str) -> None:
    """Against the same network without dropout, in training mode; statistics move as without features."""
    network, plain = _with_dropout(name, 0.5), _with_dropout(name, 0.0)
    images = _images(network)
    reader = FeatureReader(network)
    for _ in range(2):
        maps = network.forward_features(images)
        logits = network.forward_head(maps)
        features = reader(maps)
        plain_maps = plain.forward_features(images)
        torch.testing.assert_close(features, plain.forward_head(plain_maps, pre_logits=True))
        assert features.ndim == 2 and features.requires_grad
        assert not torch.equal(logits, network.forward_head(maps))  # dropout is on again
        plain_logits = plain.forward_head(plain_maps)
        assert logits.shape == plain_logits.shape
    assert all(module.training for module in network.modules())
    for (key, buffer), other in zip(network.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(buffer, other, msg=key)


def test_batch_norms_of_the_head_see_a_batch_once() -> None:
    network = _with_dropout(BATCH_NORM_IN_HEAD, 0.2)
    term = _Term(0.0)
    module = _module(network, term)
    module.forward_step(torch.rand(4, 3, 32, 32) * 255, torch.eye(3)[[0, 1, 2, 0]])
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert len(norms) > 10
    assert {int(norm.num_batches_tracked) for norm in norms} == {1}


def test_features_are_read_only_where_something_needs_them() -> None:
    network = build("test_vit")
    x, y = torch.rand(2, 3, 32, 32) * 255, torch.eye(3)[[0, 1]]
    full = _module(network, _Term(0.0)).forward_step(x, y)
    assert full.features is not None and full.features.shape == (2, network.num_features)
    torch.testing.assert_close(network.head(full.features), full.logits)
    torch.testing.assert_close(full.images, x / 127.5 - 1)
    for terms in ((), (_Term(0.0, needs_features=False),)):
        step = _module(network, *terms).forward_step(x, y)
        assert step.features is None
        torch.testing.assert_close(step.logits, full.logits)


def test_loss_is_cross_entropy_and_terms_and_only_the_first_is_reported() -> None:
    network = build("test_vit").eval()
    module = _module(network, _Term(2.0), _Term(0.5))
    images, labels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8), torch.tensor([0, 1, 2, 0])
    entropy = functional.cross_entropy(network(images / 127.5 - 1), labels)
    torch.testing.assert_close(module.training_step((images, labels), 0), entropy + 2.5)
    module.training_step((images[:2], labels[:2]), 1)
    rest = functional.cross_entropy(network(images[:2] / 127.5 - 1), labels[:2])
    torch.testing.assert_close(module.sums["train_loss"], 4 * entropy.detach() + 2 * rest.detach())
    assert module.sums["train_images"] == 6 and module.sums["penalty"] == 15


def test_a_term_that_is_not_finite_ends_training() -> None:
    module = _module(build("test_vit"), _Term(float("nan")))
    batch = torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.tensor([0, 1])
    with pytest.raises(TrainingDiverged, match="The training loss became nan"):
        module.training_step(batch, 0)


def test_regularizers_are_no_part_of_the_module(make_pretrained_task: MakeTask) -> None:
    task = make_pretrained_task()
    config = {"sp_reg": 0.1, "delta_reg": 0.1, "bss_reg": 0.1, "cotuning_reg": 1.0}
    module = _pipeline(task, Recipe("test_resnet", **config)).module
    plain = _pipeline(task, Recipe("test_resnet")).module
    assert module.state_dict().keys() == plain.state_dict().keys()
    assert len(list(module.modules())) == len(list(plain.modules()))


def _pipeline(task: TaskInfo, recipe: Recipe, accumulate: int = 1) -> Pipeline:
    settings = FinetuneSettings.from_mapping(task.settings)
    return Pipeline(recipe, settings, task, 0, DataStore(), accumulate)


CHUNKED: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipped": {"clip_grad": 0.1, "mixup": 0.4, "smoothing": 0.1},
    "terms": {"sp_reg": 0.1, "delta_reg": 0.1, "cotuning_reg": 1.0},
}


@pytest.mark.parametrize("options", CHUNKED.values(), ids=CHUNKED)
@pytest.mark.parametrize("accumulate", [2, 3, 64])
def test_chunks_make_the_update_of_the_whole_batch(
    make_pretrained_task: MakeTask, options: dict[str, Any], accumulate: int
) -> None:
    """Up to rounding, for a network without batch norm; 24 images in batches of 9, 9 and 6."""
    recipe = Recipe("test_vit", opt="sgd", lr=0.05, batch_size=9, sched=None, **options)
    whole, chunked = (_pipeline(make_pretrained_task(), recipe, count) for count in (1, accumulate))
    records = [pipeline.train_epoch() for pipeline in (whole, chunked)]
    fresh = _pipeline(make_pretrained_task(), recipe)
    weights, expected, start = (
        nn.utils.parameters_to_vector(pipeline.learner.network.parameters()).detach()
        for pipeline in (chunked, whole, fresh)
    )
    moved = (expected - start).norm()
    assert moved > 5e-3
    assert (weights - expected).norm() < 1e-4 * moved
    assert records[0]["info"] == pytest.approx(records[1]["info"], rel=1e-4)


@pytest.mark.parametrize(
    ("name", "batch", "sizes"), [("test_resnet", 7, [3, 2, 2]), ("test_vit", 3, [1, 1, 1])]
)
def test_batch_norms_get_two_images_at_least(name: str, batch: int, sizes: list[int]) -> None:
    """A single image of one pixel in the last layers would be an error."""
    module, term = _module(build(name)), _Term(0.0)
    module.accumulate, module.regularizers = 16, (term,)
    module._propagate = lambda loss: loss.backward()
    images, labels = torch.zeros(batch, 3, 32, 32, dtype=torch.uint8), torch.zeros(batch, dtype=torch.int64)
    module.training_step((images, labels), 0)
    assert [len(step.targets) for step in term.seen] == sizes


@pytest.mark.parametrize("accumulate", [1, 2])
def test_terms_under_autocast(make_pretrained_task: MakeTask, accumulate: int) -> None:
    """bfloat16 as on a GPU: weights stay in 32 bits, and the loss is near that of 32 bits."""
    options = {"sp_reg": 0.01, "delta_reg": 0.01, "bss_reg": 0.01, "cotuning_reg": 0.5, "mixup": 0.4}
    recipe = Recipe("test_vit", opt="adamw", lr=1e-4, batch_size=8, drop=0.1, **options)
    exact, mixed = (_pipeline(make_pretrained_task(), recipe, accumulate) for _ in range(2))
    mixed.precision = "bf16-mixed"
    losses = [pipeline.train_epoch()["info"]["train_loss"] for pipeline in (exact, mixed)]
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.05)
    assert all(parameter.dtype is torch.float32 for parameter in mixed.learner.network.parameters())
