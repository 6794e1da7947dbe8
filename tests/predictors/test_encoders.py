import dataclasses

import numpy as np
import torch

from qtt.predictors.encoders import CurveEncoder, Inputs, PointEncoder
from qtt.predictors.features import FeatureSpec
from qtt.predictors.points import PointBuilder
from qtt.runs.history import History
from qtt.space.hyperparameters import CONDITIONS
from qtt.space.search_space import FULL
from qtt.testing.synthetic import CARDS, METAFEATURES, SyntheticSpace
from qtt.types import Result


def inputs(history, ids, epochs):
    space = SyntheticSpace()
    features = FeatureSpec.from_options(space.options, space.cards).encode(space.sample(6, 0), METAFEATURES)
    return Inputs.of(PointBuilder(features, max_fidelity=6).queries(history, ids, epochs), 0.5, 0.1)


def test_figures_of_a_curve():
    history = History(
        [Result(0, 1, 0.4, 1.0), Result(0, 2, 0.8, 1.0), Result(0, 3, 0.7, 1.0), Result(1, 1, 0.2, 1.0)]
    )
    x = inputs(history, [0, 1, 2], [4, 2, 1])
    torch.testing.assert_close(x.last, torch.tensor([2.0, -3.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(x.gain, torch.tensor([-1.0, 0.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(x.best, torch.tensor([3.0, -3.0, 0.0], dtype=torch.float64))
    assert x.started.tolist() == [1.0, 1.0, 0.0]


def test_the_future_is_masked():
    torch.manual_seed(0)
    encoder = CurveEncoder().double()
    seen = torch.zeros(1, 10, dtype=torch.float64)
    seen[0, :4] = 1.0
    curve = torch.rand(1, 10, dtype=torch.float64)
    longer = torch.cat([curve * seen, torch.zeros(1, 90, dtype=torch.float64)], dim=1)
    longer_seen = torch.cat([seen, torch.zeros(1, 90, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(encoder(curve * seen, seen), encoder(longer, longer_seen))
    assert encoder(torch.zeros(1, 10).double(), torch.zeros(1, 10).double()).abs().sum() == 0.0


def test_every_input_column_moves_the_output():
    options = {"model": tuple(card.name for card in CARDS), **FULL}
    spec = FeatureSpec.from_options(options, CARDS, conditional=CONDITIONS)
    widths = [spec.width(group) for group in ("pipeline", "model", "task")]
    torch.manual_seed(0)
    encoder = PointEncoder(*widths).double()
    generator = torch.Generator().manual_seed(1)
    shapes = {"pipeline": (2, widths[0]), "model": (2, widths[1]), "task": (2, widths[2]), "curve": (2, 50)}
    draws = {name: torch.randn(shape, generator=generator).double() for name, shape in shapes.items()}
    figures = {
        name: torch.rand(2, generator=generator).double()
        for name in ("budget", "last", "gain", "best", "started")
    }
    x = Inputs(**draws, **figures, seen=torch.ones(2, 50).double())
    leaves = [item.name for item in dataclasses.fields(Inputs) if item.name != "seen"]
    for name in leaves:
        getattr(x, name).requires_grad_()
    weights = torch.randn(200, generator=generator).double()
    encoded = torch.cat([encoder.static(x), encoder.progress(x)], dim=1)
    (encoded * weights[: encoded.shape[1]]).sum().backward()
    for name in leaves:
        gradient = np.abs(getattr(x, name).grad.numpy())
        assert (gradient > 1e-9).all(), f"{name}: columns {np.argwhere(gradient <= 1e-9)[:, -1]} are dead"
