import itertools

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from qtt.errors import ArtifactError
from qtt.predictors.features import Features
from qtt.predictors.meta import residual_points
from qtt.predictors.residual import (
    UNSEEN_MODEL_STD,
    UNSEEN_STD,
    ResidualKernel,
    ResidualPoints,
    ResidualPosterior,
)

WIDTHS = {"pipeline": 6, "model": 4, "task": 3}
COUNT = 10
JITTER = 1e-6


@pytest.fixture
def kernel():
    torch.manual_seed(0)
    kernel = ResidualKernel(*WIDTHS.values(), hidden=8)
    with torch.no_grad():
        for parameter in kernel.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return kernel


@pytest.fixture
def features():
    generator = np.random.default_rng(1)
    pipeline, model = (generator.normal(size=(COUNT, WIDTHS[name])) for name in ("pipeline", "model"))
    pipeline[9], model[9] = pipeline[0], model[0]  # 9 is what 0 is
    return Features(pipeline, model, generator.normal(size=WIDTHS["task"]))


def points(pipeline, length):
    start, end = residual_points(length)
    residual = np.random.default_rng([pipeline, length]).normal(size=len(start)) + 0.5
    return ResidualPoints(np.full(len(start), pipeline), start, end, residual)


OBSERVED = [points(0, 5), points(3, 21), points(4, 1), points(7, 3)]


KNOWN = np.full(COUNT, -1)
UNSEEN = np.array([-1, 0, 0, 1, -1, 1, 2, 0, 1, -1])
"""Which of the models that meta-training has not seen each candidate has."""


def observed(kernel, features, parts=OBSERVED, unseen=None):
    posterior = ResidualPosterior(kernel, features, unseen)
    for part in parts:
        posterior.replace({int(part.run[0]): part})
    return posterior


def covariance(kernel, features, run, start, end, unseen=KNOWN):
    """Prior covariance of any points, entry by entry, without noise."""
    rows = [features.pipeline, features.model, np.tile(features.task, (COUNT, 1))]
    with torch.no_grad():
        static = kernel.static(*(torch.as_tensor(row) for row in rows)).numpy()
        gates = kernel.gates(torch.as_tensor(start), torch.as_tensor(end)).numpy()
        own, length = kernel.log_own.exp().numpy(), kernel.log_length.exp().numpy()
    matrix = np.zeros((len(run), len(run)))
    for i, j in itertools.product(range(len(run)), repeat=2):
        matrix[i, j] = (static[run[i]] * gates[i]) @ (static[run[j]] * gates[j])
        kinds = int(start[i] > 0), int(start[j] > 0)
        if run[i] == run[j] and kinds[0] == kinds[1]:
            distance = abs(np.log(end[i]) - np.log(end[j])) / length[kinds[0]]
            matrix[i, j] += own[kinds[0]] ** 2 * np.exp(-distance)
        models = unseen[run[i]], unseen[run[j]]
        if min(models) >= 0 and kinds == (0, 0):
            matrix[i, j] += UNSEEN_STD**2 + UNSEEN_MODEL_STD**2 * (models[0] == models[1])
    return matrix


def noise(kernel, start):
    return np.exp(2.0 * kernel.log_noise.detach().numpy())[(start > 0).astype(int)]


def dense(kernel, features, ids, start, end, unseen):
    """Posterior mean and std of observations at queries by the textbook's formula (Rasmussen, eq. 2.23)."""
    run, begin, until = (
        np.concatenate([getattr(part, name) for part in OBSERVED]) for name in ("run", "start", "end")
    )
    residual = np.concatenate([part.residual for part in OBSERVED])
    points = np.append(run, ids), np.append(begin, start), np.append(until, end)
    joint = covariance(kernel, features, *points, unseen)
    known = len(run)
    inner = joint[:known, :known] + np.diag(noise(kernel, begin) + JITTER)
    cross = joint[known:, :known]
    mean = cross @ np.linalg.solve(inner, residual)
    variance = joint[known:, known:] - cross @ np.linalg.solve(inner, cross.T)
    return mean, np.sqrt(np.diag(variance) + noise(kernel, start))


QUERIES = [
    (np.array(query[0]), *(np.array(part, dtype=float) for part in query[1:]))
    for query in (
        ([1, 2, 5, 6, 8, 9], [0, 0, 0, 0, 0, 0], [1, 2, 5, 20, 50, 7]),
        ([1, 2, 5, 6, 8, 9], [1, 2, 10, 30, 49, 3], [2, 9, 50, 31, 50, 8]),
    )
]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("unseen", [KNOWN, UNSEEN, np.where(UNSEEN < 0, 3, UNSEEN)])
def test_the_posterior_is_the_dense_gaussian_process(kernel, features, query, unseen):
    mean, std = observed(kernel, features, unseen=unseen).shift(*query)
    expected_mean, expected_std = dense(kernel, features, *query, unseen)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(std, expected_std, rtol=1e-7)


def test_a_pipeline_with_observations_is_judged_like_one_with_the_same_features(kernel, features):
    """Its own curve is in the prior's mean already, so only what is shared counts."""
    posterior = observed(kernel, features)
    start, end = np.array([5.0]), np.array([8.0])
    seen, twin = (posterior.shift(np.array([i]), start, end) for i in (0, 9))
    np.testing.assert_array_equal(seen, twin)


def test_nothing_observed_is_the_prior(kernel, features):
    for ids, start, end in QUERIES:
        mean, std = ResidualPosterior(kernel, features).shift(ids, start, end)
        np.testing.assert_array_equal(mean, 0.0)
        prior = np.diag(covariance(kernel, features, ids, start, end)) + noise(kernel, start)
        np.testing.assert_allclose(std, np.sqrt(prior))


def test_the_order_of_updates_does_not_matter(kernel, features):
    query = QUERIES[0]
    expected = observed(kernel, features).shift(*query)
    for order in itertools.permutations(OBSERVED):
        np.testing.assert_array_equal(observed(kernel, features, order).shift(*query), expected)
    grown = observed(kernel, features, [points(3, 2), points(7, 20), *OBSERVED])
    np.testing.assert_array_equal(grown.shift(*query), expected)


def test_one_pipelines_observations_move_the_others(kernel, features):
    ids, start, end = np.arange(1, 9), np.zeros(8), np.full(8, 10.0)
    _, before = ResidualPosterior(kernel, features).shift(ids, start, end)
    mean, std = observed(kernel, features, OBSERVED[:1]).shift(ids, start, end)
    assert (mean != 0.0).all()
    assert (std < before).all()


@pytest.mark.parametrize(("group", "column"), [(g, c) for g, width in WIDTHS.items() for c in range(width)])
def test_every_input_column_moves_the_output(kernel, features, group, column):
    changed = {name: getattr(features, name).copy() for name in WIDTHS}
    changed[group][..., column] += np.linspace(0.5, 1.0, COUNT) if group != "task" else 1.0
    query = QUERIES[0]
    usual, other = (observed(kernel, inputs).shift(*query) for inputs in (features, Features(**changed)))
    for before, after in zip(usual, other, strict=True):
        assert (np.abs(before - after) > 1e-6).all()


def test_the_loss_is_the_negative_log_likelihood(kernel, features):
    part = ResidualPoints(
        *(np.concatenate([getattr(p, n) for p in OBSERVED]) for n in ("run", "start", "end", "residual"))
    )
    inner = covariance(kernel, features, part.run, part.start, part.end)
    inner += np.diag(noise(kernel, part.start) + JITTER)
    expected = -multivariate_normal(cov=inner).logpdf(part.residual) / len(part) - 0.5 * np.log(2 * np.pi)
    rows = [features.pipeline, features.model, np.tile(features.task, (COUNT, 1))]
    static = kernel.static(*(torch.as_tensor(row) for row in rows))
    columns = (torch.as_tensor(column) for column in (part.run, part.start, part.end, part.residual))
    assert kernel.loss(static, *columns).item() == pytest.approx(expected, rel=1e-9)


def test_parameters_come_back_as_they_were(kernel, features):
    again = ResidualKernel.from_tensors(kernel.tensors())
    expected = observed(kernel, features).shift(*QUERIES[0])
    np.testing.assert_array_equal(observed(again, features).shift(*QUERIES[0]), expected)


def test_parameters_handed_out_are_copies(kernel):
    kernel.tensors()["residual.log_noise"][:] = 7.0
    assert (kernel.log_noise < 7.0).all()


def test_every_parameter_is_needed_and_of_its_shape(kernel):
    tensors = kernel.tensors()
    for name, array in tensors.items():
        for bad in ({}, {name: np.concatenate([array, array])}):
            others = {key: value for key, value in tensors.items() if key != name}
            with pytest.raises(ArtifactError, match="residual kernel of the predictor is damaged"):
                ResidualKernel.from_tensors({**others, **bad})


def test_several_pipelines_at_once_are_as_one_after_the_other(kernel, features):
    together = ResidualPosterior(kernel, features)
    together.replace({int(part.run[0]): part for part in OBSERVED})
    expected = observed(kernel, features).shift(*QUERIES[0])
    np.testing.assert_array_equal(together.shift(*QUERIES[0]), expected)
