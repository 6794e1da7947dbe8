from collections.abc import Callable

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from models import FAMILIES, build
from qtt.errors import ConfigError
from qtt.finetune.cv.classification.model import build_network, build_optimizer
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.strategies.freezing import freeze
from qtt.types import TaskInfo

SCRATCH = FinetuneSettings(pretrained=False, device="cpu")


def _in_optimizer(optimizer: torch.optim.Optimizer) -> set[int]:
    return {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("layer_decay", [None, 0.75])
@pytest.mark.parametrize("name", FAMILIES)
def test_optimizer_holds_the_trainable_parameters_once(
    name: str, layer_decay: float | None, weight_decay: float
) -> None:
    model = build(name)
    freeze(model, 0.4)
    optimizer = build_optimizer(Recipe("m", layer_decay=layer_decay, weight_decay=weight_decay), model)
    held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}


@pytest.mark.parametrize("decay", [0.65, 0.75])
@pytest.mark.parametrize("name", FAMILIES)
def test_layer_decay_is_a_power_of_the_distance_from_the_head(name: str, decay: float) -> None:
    model = build(name)
    optimizer = build_optimizer(Recipe("m", layer_decay=decay), model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    scales = {
        names[id(parameter)]: group["lr_scale"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    groups = timm.models.group_parameters(model, model.group_matcher(coarse=False))
    for layer, members in groups.items():
        for member in members:
            assert scales[member] == pytest.approx(decay ** (len(groups) - 1 - layer)), member
    assert scales[f"{model.default_cfg['classifier']}.weight"] == 1


def test_layer_decay_of_a_transformer_by_hand() -> None:
    model = build("test_vit")
    optimizer = build_optimizer(Recipe("m", layer_decay=0.5), model)
    scale = {id(p): group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    assert scale[id(model.head.weight)] == 1
    assert scale[id(model.norm.weight)] == 0.5
    assert scale[id(model.blocks[5].mlp.fc1.weight)] == 0.5
    assert scale[id(model.blocks[0].mlp.fc1.weight)] == 0.5**6
    assert scale[id(model.pos_embed)] == 0.5**7


def test_weight_decay_leaves_out_norms_biases_and_embeddings() -> None:
    model = build("test_vit")
    optimizer = build_optimizer(Recipe("m", weight_decay=0.01), model)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        excluded = parameter.ndim <= 1 or name in ("cls_token", "pos_embed")
        assert decay[id(parameter)] == (0 if excluded else 0.01), name


class _Reference:
    """Update rules as their papers write them, on one matrix."""

    def __init__(self, recipe: Recipe, weight: torch.Tensor) -> None:
        self.recipe, self.weight = recipe, weight.clone().double()
        self.first = torch.zeros_like(self.weight)
        self.second = torch.zeros_like(self.weight)
        self.steps = 0

    def step(self, gradient: torch.Tensor) -> torch.Tensor:
        r, g = self.recipe, gradient.double()
        self.steps += 1
        if r.opt in ("sgd", "momentum", "adam"):
            g = g + r.weight_decay * self.weight
        if r.opt in ("sgd", "momentum"):
            beta = 0.9 if r.opt == "sgd" else r.momentum
            self.first = beta * self.first + g
            self.weight = self.weight - r.lr * (g + beta * self.first if r.opt == "sgd" else self.first)
            return self.weight
        beta1, beta2 = r.opt_betas
        self.first = beta1 * self.first + (1 - beta1) * g
        self.second = beta2 * self.second + (1 - beta2) * g**2
        root = (self.second / (1 - beta2**self.steps)).sqrt() + 1e-8
        first = beta1 * self.first + (1 - beta1) * g if r.opt == "adamp" else self.first  # Nesterov
        update = first / (1 - beta1**self.steps) / root
        shrink = r.lr * r.weight_decay if r.opt in ("adamw", "adamp") else 0.0
        if r.opt == "adamp":
            update, ratio = self._project(g, update)
            shrink *= ratio
        self.weight = self.weight * (1 - shrink) - r.lr * update
        return self.weight

    def _project(self, g: torch.Tensor, update: torch.Tensor) -> tuple[torch.Tensor, float]:
        """AdamP (Heo et al. 2021): no radial part where the gradient has none (δ .1, ratio .01)."""
        for view in (lambda x: x, lambda x: x.reshape(1, -1)):
            w, gradient = view(self.weight), view(g)
            cosine = functional.cosine_similarity(gradient, w, dim=1).abs()
            if cosine.max() < 0.1 / w.shape[1] ** 0.5:
                unit = w / w.norm(dim=1, keepdim=True)
                radial = (unit * view(update)).sum(1, keepdim=True) * unit
                return (view(update) - radial).reshape(self.weight.shape), 0.01
        return update, 1.0


@pytest.mark.parametrize(
    "options",
    [
        {"opt": "sgd"},
        *({"opt": "momentum", "momentum": m} for m in (0.0, 0.8, 0.99)),
        *(
            {"opt": o, "opt_betas": b}
            for o in ("adam", "adamw", "adamp")
            for b in ((0.9, 0.999), (0.0, 0.99))
        ),
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("orthogonal", [False, True])
def test_updates_are_the_papers(options: dict, weight_decay: float, orthogonal: bool) -> None:
    recipe = Recipe("m", lr=0.01, weight_decay=weight_decay, **options)
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(6, 4, bias=False)
    nn.init.normal_(layer.weight, generator=generator)
    optimizer = build_optimizer(recipe, layer)
    reference = _Reference(recipe, layer.weight.detach())
    for _ in range(5):
        gradient = torch.randn(4, 6, generator=generator)
        if orthogonal:
            unit = functional.normalize(layer.weight.detach(), dim=1)
            gradient -= (gradient * unit).sum(1, keepdim=True) * unit
        layer.weight.grad = gradient
        optimizer.step()
        expected = reference.step(gradient)
        torch.testing.assert_close(layer.weight.detach().double(), expected, rtol=2e-5, atol=2e-6)


def test_network_depends_on_seed_and_config_alone(make_task: Callable[..., TaskInfo]) -> None:
    recipe = Recipe("test_resnet")

    def weights(seed: int, config_id: int) -> torch.Tensor:
        torch.rand(1)
        return build_network(recipe, SCRATCH, make_task(seed=seed), config_id).fc.weight

    assert torch.equal(weights(0, 1), weights(0, 1))
    assert not torch.equal(weights(0, 1), weights(0, 2))
    assert not torch.equal(weights(0, 1), weights(1, 1))


def _drops(network: nn.Module) -> list[nn.Module]:
    """Modules that call functional dropout themselves: the network and its classification head."""
    return [m for m in network.modules() if m is network or "Head" in type(m).__name__]


@pytest.mark.parametrize("name", FAMILIES)
def test_dropout_reaches_every_family(name: str, make_task: Callable[..., TaskInfo]) -> None:
    def spread(drop: float) -> float:
        network = build_network(Recipe(name, drop=drop), SCRATCH, make_task(), 0)
        for module in network.modules():
            module.training = isinstance(module, nn.Dropout) or module in _drops(network)
        images = torch.ones(1, 3, *build(name).test_size)
        with torch.no_grad():
            return float((network(images) - network(images)).abs().max())

    assert spread(0.0) == 0
    assert spread(0.4) > 0


def test_unknown_models_are_refused(make_task: Callable[..., TaskInfo]) -> None:
    with pytest.raises(ConfigError, match="no card of model 'resnet999'"):
        build_network(Recipe("resnet999"), SCRATCH, make_task(), 0)
