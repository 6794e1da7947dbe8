"""ifBO behind the protocol, with networks of the library's own class that were fitted to its own prior.

The published weights are a download. Those of most tests are fitted for seconds: they predict something, and
nothing well. What a good network makes of the acquisition is seen with one whose answers are known.
"""

import contextlib
import io
import itertools
import os
import pickle
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st

from optimizers.rivals.library_contract import LibraryContract
from qtt.errors import ConfigError, DamagedFileError
from qtt.optimizers.rivals import ifbo as adapter
from qtt.optimizers.rivals.ifbo import Context, IfBOOptimizer, find_weights, load_network
from qtt.testing.contracts import play
from qtt.testing.synthetic import METAFEATURES, SyntheticSpace
from qtt.types import Candidates, Result, Status

pytest.importorskip("ifbo", reason="needs the extra optimizers")

import torch

NAME = "bopfn_broken_unisep_1000curves_10params_2M.pt"
CONF = Path(__file__).parents[3] / "conf"


def _prior(count: int, seed: int) -> list[Any]:
    """Batches of 8 sets of 40 points of curves over 3 hyperparameters, cut into context and queries."""
    from ifbo.priors import ftpfn_prior

    np.random.seed(seed)
    torch.manual_seed(seed)
    batches = []
    for _ in range(count):
        cut = int(np.random.randint(8, 32))
        settings = {"hp_dim": 3}
        batch = ftpfn_prior.get_batch(8, 40, 12, cut, device="cpu", hyperparameters=settings)
        batch.single_eval_pos = cut
        batches.append(batch)
    return batches


def _fit(file: Path, batches: int, steps: int) -> Path:
    """A small FT-PFN, fitted by the library's own training and saved as the library saves."""
    from ifbo import BarDistribution, encoders, get_batch_to_dataloader
    from ifbo.priors import ftpfn_prior
    from ifbo.train import train

    prior = itertools.cycle(_prior(batches, seed=0))
    random.seed(0)
    *_, model, _ = train(
        get_batch_to_dataloader(lambda *_, **__: next(prior)),
        BarDistribution(torch.linspace(0, 1, 101)),
        ftpfn_prior.get_encoder(),
        None,
        encoders.get_normalized_uniform_encoder(encoders.Linear),
        emsize=32,
        nhid=64,
        nlayers=2,
        nhead=2,
        epochs=10,
        steps_per_epoch=steps // 10,
        batch_size=8,
        bptt=40,
        lr=3e-3,
        warmup_epochs=2,
        single_eval_pos_gen=20,
        extra_prior_kwargs_dict={"num_features": 12},
    )
    torch.save(model, file)
    return file


@contextlib.contextmanager
def _undisturbed(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """The library trains aloud: it prints, replaces `print`, warns, and draws from global generators."""
    patch.setattr("builtins.print", print)
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
        yield
    random.setstate(before[0])
    np.random.set_state(before[1])
    torch.set_rng_state(before[2])
    patch.undo()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of weights fitted for seconds."""
    folder = tmp_path_factory.mktemp("weights")
    with _undisturbed(pytest.MonkeyPatch()):
        _fit(folder / NAME, batches=6, steps=40)
    return folder


class TestIfBO(LibraryContract):
    network: "_LastScore | None" = None

    @pytest.fixture(autouse=True)
    def _weights(self, weights: Path) -> None:
        self.weights_dir = weights

    def make(self, seed: int, **settings: Any) -> IfBOOptimizer:
        return IfBOOptimizer(SyntheticSpace(), seed=seed, weights_dir=self.weights_dir, fresh=8, **settings)

    def in_open_space(self, seed: int = 0) -> IfBOOptimizer:
        optimizer = self.make(seed, max_fidelity=self.max_fidelity)
        optimizer.config_manager = SyntheticSpace()._manager
        optimizer._network = self.network
        optimizer.setup(self.n, METAFEATURES)
        return optimizer

    def test_its_own_proposals_become_candidates_of_the_space(self) -> None:
        self.network = _LastScore()
        super().test_its_own_proposals_become_candidates_of_the_space()

    def test_promising_pipelines_get_more_epochs(self) -> None:
        """With a network that expects every curve to end where it is, plus chance."""
        for seed in range(3):
            optimizer = self.ready(seed, n=60, max_fidelity=27)
            optimizer._network = _LastScore()
            play(optimizer, 200)
            history = optimizer.history
            best = {i: history.best(i).score for i in history.observed}
            longest = sorted(best, key=history.fidelity)[-max(len(best) // 4, 1) :]
            assert np.mean([best[i] for i in longest]) > np.mean(list(best.values())) + 0.1

    def test_without_proposals_an_open_space_stays_as_it_is(self) -> None:
        optimizer = self.make(0, proposals=0)
        optimizer.config_manager = SyntheticSpace()._manager
        optimizer.setup(self.n, METAFEATURES)
        play(optimizer, 10)
        assert optimizer.candidates.proposed == 0

    def test_global_chance_is_left_alone(self) -> None:
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        play(self.in_open_space(), 8)
        after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        assert after == before

    def test_nothing_is_printed_or_written(
        self, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        play(self.in_open_space(), 8)
        assert capfd.readouterr() == ("", "")
        assert not list(tmp_path.iterdir())

    def test_conf_makes_it(self) -> None:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("run", ["optimizer=ifbo", f"optimizer.weights_dir={self.weights_dir}"])
        optimizer = instantiate(config.optimizer)(config_manager=SyntheticSpace(), seed=4)
        optimizer.setup(6, METAFEATURES)
        assert (optimizer.ask().fidelity, optimizer.max_fidelity, optimizer.fresh) == (1, 50, 256)


class _LastScore:
    """P = Φ((last score - threshold) / 0.1), that of a new curve being 0.5; keeps what it was asked."""

    most_hyperparameters = 10

    def __init__(self) -> None:
        self.asked: list[tuple[Context, Any, float]] = []

    def improvement(self, context: Context, asked: Any, threshold: float) -> Any:
        from scipy.stats import norm

        self.asked.append((context, asked, threshold))
        last = {0: 0.5, **dict(zip(context.tokens[:, 0], context.scores, strict=True))}
        return norm.cdf((np.array([last[number] for number in asked[:, 0]]) - threshold) / 0.1)


def _asking(monkeypatch: pytest.MonkeyPatch, candidates: Candidates, **settings: Any) -> IfBOOptimizer:
    """An optimizer with `_LastScore` for a network."""
    monkeypatch.setattr(adapter, "find_weights", lambda _: Path())
    monkeypatch.setattr(adapter, "load_network", lambda _: _LastScore())
    optimizer = IfBOOptimizer(**settings)
    optimizer.setup(candidates)
    return optimizer


def test_it_asks_for_a_random_horizon_and_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = _asking(monkeypatch, SyntheticSpace().sample(5, 0), max_fidelity=10)
    network: Any = optimizer._network
    optimizer.tell([Result(3, epoch, 0.1 * epoch, 1.0) for epoch in range(1, 5)])
    optimizer.tell([Result(1, 1, 0.3, 1.0), Result(2, 1, np.nan, 1.0, Status.FAILED)])
    horizons, shares = set(), []
    for seed in range(60):
        optimizer.seed, optimizer._pending = seed, {}
        optimizer.ask()
        context, asked, threshold = network.asked[-1]
        assert context.tokens[:, 0].tolist() == [1, 1, 1, 1, 2, 3]
        assert context.tokens[:, 1] * 10 == pytest.approx([1, 2, 3, 4, 1, 1])
        assert context.scores.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.3, 0.0])
        assert asked[:, 0].tolist() == [0, 2, 1, 0]  # candidates 0, 1, 3 and 4
        horizon = round(asked[0, 1] * 10)
        assert asked[:, 1] * 10 == pytest.approx([min(done + horizon, 10) for done in (0, 1, 4, 0)])
        assert (asked[1, 2:] == context.tokens[4, 2:]).all()
        horizons.add(horizon)
        shares.append((threshold - 0.4) / 0.6)
    assert horizons == set(range(1, 11))
    assert 1e-4 <= min(shares) < 3e-4
    assert 3e-2 < max(shares) <= 1e-1


def test_the_largest_probability_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = _asking(monkeypatch, SyntheticSpace().sample(3, 0))
    optimizer.tell([Result(0, 1, 0.2, 1.0), Result(1, 1, 0.9, 1.0), Result(2, 1, 0.8, 1.0)])
    assert [optimizer.ask().config_id for _ in range(3)] == [1, 2, 0]


def test_pending_steps_draw_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = _asking(monkeypatch, SyntheticSpace().sample(6, 0))
    network: Any = optimizer._network
    optimizer.tell(Result(0, 1, 0.2, 1.0))
    for _ in range(5):
        optimizer.ask()
    assert len({threshold for *_, threshold in network.asked}) == 5


def test_of_long_histories_the_network_sees_a_thousand_points(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = _asking(monkeypatch, Candidates(tuple({"x": x} for x in range(70))))
    curves = [[Result(i, epoch, 0.01 * epoch, 1.0) for epoch in range(1, 51)] for i in range(60)]
    optimizer.tell([*itertools.chain(*curves), *(Result(i, 1, 0.1, 1.0) for i in range(60, 66))])
    optimizer.ask()
    context = optimizer._network.asked[-1][0]
    counts = np.bincount(context.tokens[:, 0].astype(int))[1:]
    assert sorted(set(counts)) == [1, 16]
    assert len(context.scores) == 60 * 16 + 6
    first = (context.tokens[context.tokens[:, 0] == 1, 1] * 50).round().astype(int)
    assert (first[0], first[-1]) == (1, 50)
    assert set(np.diff(first)) == {3, 4}


def test_the_threshold_lies_above_scores_that_the_network_does_not_see(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    optimizer = _asking(monkeypatch, Candidates(tuple({"x": x} for x in range(70))))
    scores = [0.9 if epoch == 3 else 0.1 for epoch in range(1, 51)]
    optimizer.tell([Result(i, epoch, scores[epoch - 1], 1.0) for i in range(65) for epoch in range(1, 51)])
    optimizer.ask()
    context, _, threshold = optimizer._network.asked[-1]
    assert context.scores.max() == 0.1
    assert 0.9 == context.best < threshold


def test_of_many_curves_the_network_sees_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = _asking(monkeypatch, Candidates(tuple({"x": x} for x in range(1100))))
    optimizer.tell([Result(i, 1, i / 1100, 1.0) for i in range(1050)])
    optimizer.ask()
    context = optimizer._network.asked[-1][0]
    assert set(context.numbers) == set(range(50, 1050))
    assert (context.tokens[:, 0].min(), context.tokens[:, 0].max()) == (1, 1000)


def test_of_many_hyperparameters_those_that_differ_most_count() -> None:
    places = np.array([[0, 0, 0.1, np.nan], [1, 0, 0.2, np.nan], [1, 0, 0.3, 0.5]])
    assert adapter.most_distinct(places, 10).tolist() == [0, 1, 2, 3]
    assert adapter.most_distinct(places, 3).tolist() == [0, 2, 3]
    assert adapter.most_distinct(places, 2).tolist() == [0, 2]
    assert adapter.most_distinct(places, 1).tolist() == [2]


def test_more_hyperparameters_than_the_network_has_inputs(weights: Path) -> None:
    generator = np.random.default_rng(0)
    configs = tuple({f"x{j:02}": float(x) for j, x in enumerate(row)} for row in generator.random((9, 23)))
    optimizer = IfBOOptimizer(weights_dir=weights, max_fidelity=4)
    optimizer.setup(Candidates(configs))
    assert len(optimizer._columns) == 10
    for _ in range(12):
        trial = optimizer.ask()
        optimizer.tell(Result(trial.config_id, trial.fidelity, 0.5, 1.0))


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_scores_beyond_the_unit_interval_keep_their_order(scores: list[float]) -> None:
    mapped = adapter.to_unit_interval(np.sort(scores))
    assert mapped.min() >= 0
    assert mapped.max() <= 1
    assert (np.diff(mapped) >= -1e-12).all()  # but for rounding


def test_scores_in_the_unit_interval_stay() -> None:
    scores = np.array([0.0, 0.3, 1.0])
    assert adapter.to_unit_interval(scores) is scores
    assert adapter.to_unit_interval(np.array([-1.0, 0.0, 1.0])).tolist() == [0.25, 0.5, 0.75]


def test_the_network_says_of_known_curves_what_the_library_says(weights: Path) -> None:
    """With tokens that the library makes of curves."""
    from ifbo import Curve

    generator = torch.Generator().manual_seed(0)
    places = torch.rand(4, 3, generator=generator)
    times = [torch.arange(1, n + 1) / 10 for n in (2, 5, 1, 3)]
    scores = [torch.rand(len(t), generator=generator) for t in times]
    network = load_network(weights / NAME)
    context = [Curve(p, t, y) for p, t, y in zip(places, times, scores, strict=True)]
    predicted = network._surrogate.predict(context, [Curve(p, torch.tensor([0.8])) for p in places])
    expected = [float(result.pi(torch.tensor(0.6))) for result in predicted]
    tokens = [[i, float(t), *places[i - 1].tolist()] for i in range(1, 5) for t in times[i - 1]]
    asked = [[i, 0.8, *places[i - 1].tolist()] for i in range(1, 5)]
    shown = Context(np.array(tokens), torch.cat(scores).double().numpy(), {}, 0.0)
    assert network.improvement(shown, np.array(asked), 0.6) == pytest.approx(expected, abs=1e-6)
    assert len(set(expected)) == 4


def test_improvement_is_the_probability_above_the_threshold(weights: Path) -> None:
    network = load_network(weights / NAME)
    model = network._surrogate.model
    tokens, asked = np.array([[1, 0.5, 0.3], [1, 1.0, 0.3]]), np.array([[0, 0.5, 0.9], [0, 1.0, 0.2]])
    shown = Context(tokens, np.array([0.2, 0.4]), {}, 0.0)
    x = torch.tensor(np.concatenate([tokens, asked]), dtype=torch.float32).unsqueeze(1)
    with torch.no_grad():
        logits = model((x, torch.tensor([[0.2], [0.4]])), single_eval_pos=2)
    shares = logits.softmax(-1)[:, 0].double().numpy()  # of a hundred bars from 0 to 1
    for threshold, above in ((0.0, 100), (0.25, 75), (0.9, 10), (1.0, 0)):
        expected = shares[:, 100 - above :].sum(axis=1)
        assert network.improvement(shown, asked, threshold) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("place", [".", ".model"])
def test_weights_are_found_in_the_cache_folder(
    place: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QTT_CACHE", str(tmp_path))
    folder = tmp_path / "ifbo" / place
    folder.mkdir(parents=True)
    (folder / NAME).write_bytes((weights / NAME).read_bytes())
    assert find_weights().samefile(folder / NAME)
    optimizer = IfBOOptimizer()
    optimizer.setup(Candidates(({"x": 1}, {"x": 2})))
    assert optimizer.ask() is not None


@pytest.mark.parametrize("named", [False, True])
def test_where_weights_are_missing_it_says_how_to_get_them(
    named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QTT_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "mine" if named else tmp_path / "cache" / "ifbo"
    optimizer = IfBOOptimizer(weights_dir=folder if named else None)
    with pytest.raises(ConfigError) as refused:
        optimizer.setup(Candidates(({"x": 1}, {"x": 2})))
    message = str(refused.value)
    for part in (NAME, "0.0.1", str(folder), str(folder / ".model"), "https://", "curl", "weights_dir=DIR"):
        assert part in message
    assert not list(tmp_path.iterdir())


class _Intruder:
    """Pickles as a call."""

    def __init__(self, call: Any, *args: Any) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> Any:
        return self.call, self.args


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    from ifbo import FTPFN

    (tmp_path / "there").mkdir()
    for intruder in (_Intruder(os.rmdir, str(tmp_path / "there")), _Intruder(FTPFN, str(tmp_path))):
        torch.save({"model": intruder}, tmp_path / NAME)
        with pytest.raises(DamagedFileError, match=r"no layer of .*: (posix\.rmdir|ifbo\.surrogate)"):
            load_network(tmp_path / NAME)
    assert (tmp_path / "there").is_dir()


@pytest.mark.parametrize("content", ["text", "pickle", "tensors", "layer"])
def test_files_of_another_kind_are_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / NAME
    if content == "text":
        file.write_text("<html>404</html>")
    elif content == "pickle":
        file.write_bytes(pickle.dumps({"a": 1}))
    else:
        torch.save({"a": torch.ones(1)} if content == "tensors" else torch.nn.Linear(1, 1), file)
    with pytest.raises(DamagedFileError, match=f"{NAME} (cannot be read|holds a (dict|Linear) that is no)"):
        load_network(file)


@pytest.mark.parametrize("wrong", [{"proposals": 2}, {"fresh": 0}])
def test_settings_that_are_none_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        IfBOOptimizer(**wrong)


@pytest.mark.slow
def test_a_network_learns_the_librarys_prior_and_is_asked_as_it_learned(tmp_path: Path) -> None:
    """Fitted for a minute, it gives sets of curves it has not seen a likelihood above that of the uniform."""
    with _undisturbed(pytest.MonkeyPatch()):
        network = load_network(_fit(tmp_path / NAME, batches=80, steps=900))
        unseen = _prior(12, seed=1)
    model = network._surrogate.model
    gains, hits = [], []
    for batch in unseen:
        cut, x, y = batch.single_eval_pos, batch.x, batch.y
        with torch.no_grad():
            loss = model.criterion(model((x, y), single_eval_pos=cut), y[cut:])
        gains.append(-float(loss.mean()))
        for i in range(x.shape[1]):
            shown = Context(x[:cut, i].double().numpy(), y[:cut, i].double().numpy(), {}, 0.0)
            threshold = float(y[:cut, i].median())
            above = network.improvement(shown, x[cut:, i].double().numpy(), threshold)
            hits.append(((above > 0.5) == (y[cut:, i] > threshold).numpy()).mean())
    assert np.mean(gains) > 0.2
    assert np.mean(hits) > 0.55
