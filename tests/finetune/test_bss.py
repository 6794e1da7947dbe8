import numpy as np
import pytest
import torch

from qtt.finetune.cv.classification.forward import ForwardStep, TrainingDiverged
from qtt.finetune.cv.classification.strategies.bss import BSS, spectral_shrinkage


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_by_hand() -> None:
    """The singular values of these rows are 3 and 0.5, whatever the rotation of the features."""
    features = torch.tensor([[0.0, 3.0, 0.0], [0.5, 0.0, 0.0]])
    assert spectral_shrinkage(features) == pytest.approx(0.25)
    assert spectral_shrinkage(features, smallest=2) == pytest.approx(9.25)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
    assert spectral_shrinkage(features @ rotation) == pytest.approx(0.25, rel=1e-5)
    step = ForwardStep(torch.zeros(2, 3, 1, 1), torch.zeros(2, 2), torch.zeros(2, 2), features)
    assert BSS(0.01)(step) == pytest.approx(0.0025)


@pytest.mark.parametrize("shape", [(8, 96), (96, 8), (1, 5), (5, 1), (7, 7), (64, 320)])
def test_against_singular_values(shape: tuple[int, int]) -> None:
    features = np.random.default_rng(0).normal(2, 1, shape).astype(np.float32)
    values = np.linalg.svd(features.astype(np.float64), compute_uv=False)
    assert spectral_shrinkage(torch.from_numpy(features)) == pytest.approx(values[-1] ** 2, rel=1e-5)


def test_small_values_beside_large_ones() -> None:
    """Squaring in single precision would lose σ = 1e-3 beside 1e3."""
    left = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(9, 9, dtype=torch.float64))[0][:6]
    values = torch.tensor([1e3, 300.0, 20.0, 5.0, 1.0, 1e-3], dtype=torch.float64)
    assert spectral_shrinkage(left @ torch.diag(values) @ right) == pytest.approx(1e-6, rel=1e-3)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (1, 3)])
def test_gradients_are_finite_differences(shape: tuple[int, int]) -> None:
    features = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: spectral_shrinkage(f), features)


def test_gradient_in_closed_form() -> None:
    """2 σ u vᵀ of the smallest singular value."""
    features = torch.randn(5, 12, dtype=torch.float64, requires_grad=True)
    spectral_shrinkage(features).backward()
    u, s, vt = torch.linalg.svd(features.detach(), full_matrices=False)
    torch.testing.assert_close(features.grad, 2 * s[-1] * torch.outer(u[:, -1], vt[-1]))


@pytest.mark.parametrize("features", [torch.zeros(3, 4), torch.ones(3, 4), torch.eye(4)])
def test_equal_and_missing_directions_have_finite_gradients(features: torch.Tensor) -> None:
    features = features.clone().requires_grad_()
    spectral_shrinkage(features).backward()
    assert features.grad is not None and features.grad.isfinite().all()


def test_is_exact_under_autocast() -> None:
    features = torch.randn(6, 20)
    with torch.autocast("cpu", torch.bfloat16):
        found = spectral_shrinkage(features)
    assert found.dtype is torch.float32
    assert torch.equal(found, spectral_shrinkage(features))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_a_divergence(value: float) -> None:
    """Either the term says so, or it is not finite itself and the training step says so."""
    features = torch.randn(6, 20)
    features[2, 3] = value
    try:
        assert not spectral_shrinkage(features).isfinite()
    except TrainingDiverged as error:
        assert "not finite" in str(error)
