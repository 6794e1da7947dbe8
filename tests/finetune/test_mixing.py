import numpy as np
import pytest
import torch
from torch.nn import functional

from qtt.finetune.cv.classification.mixing import Mixer, cut_and_mix, mix, soft_labels

LABELS = torch.tensor([0, 2, 1, 2, 0])


def _images(count: int = 5) -> torch.Tensor:
    return torch.arange(count, dtype=torch.float).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).clone()


@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.1])
def test_smoothing_is_torchs(smoothing: float) -> None:
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    ours = functional.cross_entropy(logits, soft_labels(LABELS, 3, smoothing))
    torch.testing.assert_close(ours, functional.cross_entropy(logits, LABELS, label_smoothing=smoothing))


def test_mixup_by_hand() -> None:
    images, targets = mix(_images(), soft_labels(LABELS, 3, 0.0), 0.75)
    torch.testing.assert_close(images[:, 0, 0, 0], torch.tensor([1.0, 1.5, 2.0, 2.5, 3.0]))
    expected = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    torch.testing.assert_close(targets, expected)  # classes are symmetric here …
    _, targets = mix(_images(2), soft_labels(torch.tensor([0, 1]), 3, 0.0), 0.75)
    torch.testing.assert_close(targets, torch.tensor([[0.75, 0.25, 0], [0.25, 0.75, 0]]))


@pytest.mark.parametrize("centre", [(0.5, 0.5), (0.0, 0.0), (0.99, 0.2)])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.75, 1.0])
def test_cutmix_targets_are_the_pixels_share(share: float, centre: tuple[float, float]) -> None:
    images, targets = cut_and_mix(_images(2), soft_labels(torch.tensor([0, 1]), 3, 0.0), share, centre)
    own = (images[0, 0] == 0).float().mean()
    torch.testing.assert_close(targets[0], torch.tensor([own, 1 - own, 0.0]))
    torch.testing.assert_close(targets[1], torch.tensor([1 - own, own, 0.0]))
    if centre == (0.5, 0.5):  # nothing is clipped: the box is the share, to a pixel
        assert own.item() == pytest.approx(1 - (round(8 * (1 - share) ** 0.5) / 8) ** 2)


@pytest.mark.parametrize("count", [1, 2, 5, 32])
@pytest.mark.parametrize(("mixup", "cutmix"), [(0.2, 0.0), (0.0, 0.1), (8.0, 4.0), (0.0, 0.0)])
def test_targets_sum_to_one(mixup: float, cutmix: float, count: int) -> None:
    mixer = Mixer(4, mixup, cutmix, 1.0, 0.1)
    rng = np.random.default_rng(0)
    labels = torch.arange(count) % 4
    for _ in range(20):
        images, targets = mixer(_images(count), labels, rng)
        torch.testing.assert_close(targets.sum(1), torch.ones(count))
        assert targets.min() >= 0.1 / 4 - 1e-6
        assert images.min() >= 0
        assert images.max() <= count - 1
        assert images.shape == (count, 3, 8, 8)


def test_zero_is_off() -> None:
    images, targets = Mixer(3, 0.0, 0.0, 1.0, 0.0)(_images(), LABELS, np.random.default_rng(0))
    assert torch.equal(images, _images())
    assert torch.equal(targets, functional.one_hot(LABELS, 3).float())


def _kinds(mixer: Mixer, draws: int = 600) -> dict[str, float]:
    rng = np.random.default_rng(1)
    found = {"none": 0, "mixup": 0, "cutmix": 0}
    for _ in range(draws):
        images, _ = mixer(_images(2) * 100, torch.tensor([0, 1]), rng)
        values = set(images[0].flatten().tolist())
        found["none" if values == {0.0} else "cutmix" if values <= {0.0, 100.0} else "mixup"] += 1
    return {name: count / draws for name, count in found.items()}


def test_probability_and_the_switch_between_both() -> None:
    kinds = _kinds(Mixer(2, 4.0, 4.0, 0.75, 0.0))
    assert kinds["none"] == pytest.approx(0.25, abs=0.06)
    assert kinds["mixup"] == pytest.approx(0.375, abs=0.07)
    assert kinds["cutmix"] == pytest.approx(0.375, abs=0.07)
    assert _kinds(Mixer(2, 4.0, 0.0, 1.0, 0.0))["mixup"] > 0.99
    assert _kinds(Mixer(2, 4.0, 4.0, 0.0, 0.0))["none"] == 1


def test_share_is_beta_distributed() -> None:
    from scipy.stats import beta, kstest

    rng = np.random.default_rng(2)
    mixer = Mixer(2, 0.4, 0.0, 1.0, 0.0)
    shares = [mixer(_images(2), torch.tensor([0, 1]), rng)[1][0, 0].item() for _ in range(800)]
    assert kstest(shares, beta(0.4, 0.4).cdf).pvalue > 0.01
