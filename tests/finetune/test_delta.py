import pytest
import torch

from models import FAMILIES, build
from qtt.finetune.cv.classification.forward import ForwardStep
from qtt.finetune.cv.classification.strategies.delta import Delta, feature_distance
from qtt.finetune.cv.classification.strategies.source import Source


def test_feature_distance_by_hand() -> None:
    """Squared lengths of the rows' differences, (1 + 4) and 9, and their mean."""
    features = torch.tensor([[1.0, 0.0], [2.0, 3.0]])
    source = torch.tensor([[0.0, 2.0], [2.0, 0.0]])
    assert feature_distance(features, source) == 7


def test_gradients_are_finite_differences() -> None:
    torch.manual_seed(0)
    features = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    source = torch.randn(3, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda f: feature_distance(f, source), features)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_sources_features_are_those_of_the_same_images(name: str) -> None:
    """Against timm's model without a classifier; the source stays in eval mode whatever happens around it."""
    model, reference = build(name, 10), build(name, 10)
    reference.reset_classifier(0)
    torch.manual_seed(0)
    images = torch.randn(2, 3, *model.test_size)
    source = Source(model.train())
    features = torch.randn(2, source.features(images).shape[1], requires_grad=True)
    step = ForwardStep(images, torch.zeros(2, 3), torch.zeros(2, 3), features)
    with torch.no_grad():
        expected = ((features - reference.eval()(images)) ** 2).sum() / 2
    found = Delta(0.1, source)(step)
    torch.testing.assert_close(found, 0.1 * expected)
    found.backward()
    assert features.grad is not None
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())
