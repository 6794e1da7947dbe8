import pytest
import torch
from torch import nn
from torch.nn import functional

from models import FAMILIES, build
from qtt.finetune.cv.classification.forward import ForwardStep
from qtt.finetune.cv.classification.loss_terms import trainable_backbone
from qtt.finetune.cv.classification.model import build_optimizer
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.strategies.freezing import freeze
from qtt.finetune.cv.classification.strategies.sp import SP, squared_distance

NOTHING = ForwardStep(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2), torch.zeros(1, 2))


def test_squared_distance_by_hand() -> None:
    weights = [torch.tensor([1.0, 2.0]), torch.tensor([[0.5]])]
    anchors = [torch.tensor([0.0, 4.0]), torch.tensor([[0.0]])]
    assert squared_distance(weights, anchors) == 1 + 4 + 0.25
    assert SP(0.1, weights, anchors)(NOTHING) == pytest.approx(0.525)


def test_gradient_by_hand_and_by_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 2), (4,), (2, 2, 1, 1), ())
    weights, anchors = (
        [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes] for _ in range(2)
    )
    for weight in weights:
        weight.requires_grad_()
    assert torch.autograd.gradcheck(lambda *w: squared_distance(w, anchors), weights)
    SP(0.3, weights, anchors)(NOTHING).backward()
    for weight, anchor in zip(weights, anchors, strict=True):
        torch.testing.assert_close(weight.grad, 0.6 * (weight.detach() - anchor))


def test_layouts_of_memory_may_differ() -> None:
    torch.manual_seed(0)
    anchor = torch.randn(4, 3, 5, 5)
    weight = (anchor + 1).to(memory_format=torch.channels_last).requires_grad_()
    distance = squared_distance([weight], [anchor])
    torch.testing.assert_close(distance.detach(), torch.tensor(300.0))
    distance.backward()
    assert weight.grad is not None
    torch.testing.assert_close(weight.grad, torch.full_like(anchor, 2.0))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_backbones_trainable_weights_and_nothing_else(name: str) -> None:
    """The classifier is left out, and so is what is frozen; checked by the gradients that come."""
    model = build(name)
    freeze(model, 0.4)
    backbone = trainable_backbone(model)
    anchors = [parameter.detach() - 1 for parameter in backbone.values()]
    SP(0.5, tuple(backbone.values()), anchors)(NOTHING).backward()
    head = model.default_cfg["classifier"]
    for parameter_name, parameter in model.named_parameters():
        drawn = parameter.requires_grad and not parameter_name.startswith(f"{head}.")
        assert (parameter.grad is not None) == drawn, parameter_name
        if drawn:
            torch.testing.assert_close(parameter.grad, torch.ones_like(parameter), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer_decay", [None, 0.75])
@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_weight_decay_is_left_to_the_classifier(name: str, layer_decay: float | None) -> None:
    def decays(sp_reg: float) -> dict[int, tuple[float, float]]:
        recipe = Recipe(name, weight_decay=0.1, sp_reg=sp_reg, layer_decay=layer_decay)
        groups = build_optimizer(recipe, model).param_groups
        return {id(p): (g["weight_decay"], g.get("lr_scale", 1)) for g in groups for p in g["params"]}

    model = build(name)
    plain, drawn = decays(0.0), decays(0.01)
    assert plain.keys() == drawn.keys()
    weight = model.get_classifier().weight
    for parameter in model.parameters():
        assert drawn[id(parameter)][1] == plain[id(parameter)][1]
        assert drawn[id(parameter)][0] == (0.1 if parameter is weight else 0), parameter.shape
    assert sum(decay > 0 for decay, _ in plain.values()) > 10


def test_one_update_against_a_hand_written_loop() -> None:
    """Plain gradient descent on the loss with the penalty written out."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    start = [parameter.detach().clone() for parameter in layers.parameters()]
    x, y = torch.randn(5, 3).double(), torch.tensor([0, 1, 0, 1, 1])
    anchors = [parameter - 0.5 for parameter in start[:2]]
    loss = functional.cross_entropy(layers(x), y)
    (loss + SP(0.2, tuple(layers[0].parameters()), anchors)(NOTHING)).backward()
    found = [parameter.grad for parameter in layers.parameters()]
    layers.zero_grad()
    penalty = sum(((p - a) ** 2).sum() for p, a in zip(layers[0].parameters(), anchors, strict=True))
    (functional.cross_entropy(layers(x), y) + 0.2 * penalty).backward()
    for parameter, gradient in zip(layers.parameters(), found, strict=True):
        torch.testing.assert_close(gradient, parameter.grad)
