"""ifBO: freeze-thaw with a network that predicts learning curves in context, FT-PFN.

The library holds the network's code; its weights are a download that is not made here, and the acquisition
function is that of the paper.

Notation: m observations in context, n pipelines asked about, d hyperparameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from inspect import isclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qtt.data.user_cache import in_user_cache
from qtt.errors import ConfigError, DamagedFileError
from qtt.optimizers.base import CandidateOptimizer, CandidateSource
from qtt.optimizers.rivals.base import require, zero_or_one
from qtt.optimizers.rivals.positions import Positions
from qtt.space.horizon import last_epoch
from qtt.types import Candidates, Config, MetaFeatures

if TYPE_CHECKING:
    from torch import nn

Array = NDArray[np.float64]

VERSION = "0.0.1"
"""Of FT-PFN; the library has no other."""

MOST = 1000
"""Observations that FT-PFN was trained to see at once, and curves that it can tell apart."""

FOLDER = "ifbo"
"""Of the weights, in the user's cache."""

_PARTS = (
    "ifbo.bar_distribution",
    "ifbo.decoders",
    "ifbo.encoders",
    "ifbo.layer",
    "ifbo.positional_encodings",
    "ifbo.priors.ftpfn_prior",
    "ifbo.transformer",
    "ifbo.utils",
)
_ACTIVATIONS = ("torch._C._nn.gelu", "torch.nn.functional.gelu", "torch.nn.functional.relu")


class IfBOOptimizer(CandidateOptimizer):
    """In-context freeze-thaw Bayesian optimization (Rakotoarison et al. 2024, ICML).

    Every step continues the live pipeline that most probably exceeds a random threshold within a random
    number of epochs, as FT-PFN predicts from all curves so far (MFPI-random, section 4). The first step is
    drawn at random. A pipeline that failed counts as one that scored 0, and pending ones are left out.

    FT-PFN knows up to 10 hyperparameters: of more, those count that differ most among the candidates that the
    search began with. It sees up to 1000 observations: of more, each curve shows points at even distances.

    In a search over an open space (`proposals` = 1 and a config manager) the candidates compete with
    pipelines that are drawn at random after each result; one that wins becomes a candidate.
    """

    def __init__(
        self,
        config_manager: CandidateSource | None = None,
        *,
        seed: int = 0,
        epochs_per_step: int = 1,
        max_fidelity: int = 50,
        proposals: int = 1,
        fresh: int = 256,
        weights_dir: Path | str | None = None,
    ) -> None:
        """See `CandidateOptimizer`.

        Args:
            config_manager: samples candidates, and is the open space.
            seed: of horizons, thresholds and pipelines drawn.
            epochs_per_step: Δt.
            max_fidelity: last epoch of every pipeline, and the largest horizon.
            proposals: 0: choose among the candidates that the search began with.
            fresh: pipelines drawn after each result.
            weights_dir: folder of FT-PFN's weights, searched at `setup`; None: `ifbo` in the user's cache
                (`qtt.data.user_cache`).

        Raises:
            ConfigError: `proposals` is neither 0 nor 1, `fresh` is less than 1, or there is no ifBO.
        """
        require("ifbo")
        super().__init__(
            config_manager, seed=seed, epochs_per_step=epochs_per_step, max_fidelity=max_fidelity
        )
        if fresh < 1:
            raise ConfigError(f"fresh, how many pipelines ifBO draws, must be at least 1; got {fresh}.")
        self.proposals, self.fresh = zero_or_one(proposals), fresh
        self.weights_dir = weights_dir
        self._network: Network | None = None

    def setup(self, n: int | Candidates, metafeatures: MetaFeatures | None = None) -> None:
        """Start a new search; see `CandidateOptimizer.setup`.

        Raises:
            ConfigError: there is nothing to choose from, or there are no weights, or they cannot be used.
        """
        super().setup(n, metafeatures)
        if self._network is None:
            self._network = load_network(find_weights(self.weights_dir))
        source = self.config_manager if self.proposals and self._may_grow else None
        self._positions = Positions.of(self.candidates, source, self.seed)
        self._open = self._positions.manager is not None
        places = [self._positions.places(config) for config in self.candidates.configs]
        self._columns = most_distinct(np.array(places), self._network.most_hyperparameters)
        self._rows: dict[int, tuple[Config, Array]] = {}

    def _choose(self, live: list[int]) -> int:
        chance = self._chance(len(self._pending))
        bet = _Bet.draw(chance, self.max_fidelity)
        context = self._context()
        if context is None:
            return live[int(chance.integers(len(live)))]
        values = self._values(context, bet, live)
        return live[int(chance.choice(np.flatnonzero(values == values.max())))]

    def _propose(self) -> Sequence[Config]:
        """The best of the pipelines drawn after a result, where it is better than all candidates."""
        context = self._context()
        if not self._open or context is None:
            return ()
        assert self.config_manager is not None
        chance = self._chance(0)
        bet = _Bet.draw(chance, self.max_fidelity)
        drawn = self.config_manager.sample(self.fresh, int(chance.integers(2**31))).configs
        live = self._progress.live(())
        values = self._values(context, bet, live, drawn)
        known, promised = values[: len(live)].max(initial=-1.0), values[len(live) :]
        for i in np.argsort(-promised, kind="stable"):
            if promised[i] > known and drawn[i] not in self.candidates.configs:
                return (drawn[i],)
        return ()

    def _chance(self, pending: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.history.learned, pending])

    def _values(self, context: "Context", bet: "_Bet", ids: list[int], new: Sequence[Config] = ()) -> Array:
        """MFPI-random of candidates, and behind them of pipelines that are none: (len(ids) + len(new),)."""
        assert self._network is not None
        rows = [*map(self._row, ids), *map(self._hyperparameters, new)]
        known = [*(context.numbers.get(i, 0) for i in ids), *[0] * len(new)]
        ends = np.array([last_epoch(config, self.max_fidelity) for config in new], dtype=np.int64)
        last = np.concatenate([self._progress.last[ids], ends])
        done = np.concatenate([self._progress.done[ids], np.zeros(len(new))])
        until = np.minimum(done + bet.horizon, last) / self.max_fidelity
        asked = np.column_stack([known, until, np.array(rows)])
        return self._network.improvement(context, asked, bet.threshold(context.best))

    def _context(self) -> "Context | None":
        """What FT-PFN is shown of the history; None before there is anything."""
        history = self.history
        failed = history.failed
        ids = [*history.ranking(), *(i for i in failed if not history.fidelity(i))][:MOST]
        if not ids:
            return None
        curves = [[(seen.fidelity, seen.score) for seen in history.curve(i)] for i in ids]
        scores = to_unit_interval(np.array([score for curve in curves for _, score in curve]))
        mapped = iter(scores.tolist())
        points = [[(epoch, next(mapped)) for epoch, _ in curve] for curve in curves]
        for config_id, curve in zip(ids, points, strict=True):
            if config_id in failed:
                curve.append((min(history.fidelity(config_id) + 1, self.max_fidelity), 0.0))
        kept = _share([len(curve) for curve in points], MOST)
        tokens, observed = [], []
        for number, (config_id, curve) in enumerate(zip(ids, points, strict=True), start=1):
            for epoch, score in spread(curve, kept):
                tokens.append([number, epoch / self.max_fidelity, *self._row(config_id)])
                observed.append(score)
        numbers = {config_id: number for number, config_id in enumerate(ids, start=1)}
        return Context(np.array(tokens), np.array(observed), numbers, scores.max(initial=0.0))

    def _row(self, config_id: int) -> Array:
        """Hyperparameters of a candidate as FT-PFN has them, (d,); kept while the candidate is the same."""
        config = self.candidates.configs[config_id]
        kept = self._rows.get(config_id)
        if kept is None or kept[0] is not config:
            kept = self._rows[config_id] = config, self._hyperparameters(config)
        return kept[1]

    def _hyperparameters(self, config: Config) -> Array:
        """From 0 to 1, 0 where a hyperparameter is absent; one column of zeros where none differs."""
        places = np.nan_to_num(self._positions.places(config), nan=0.0)
        return places[self._columns] if len(self._columns) else np.zeros(1)


@dataclass(frozen=True, eq=False)
class Context:
    """Curves so far, as FT-PFN is shown them.

    tokens (m, 2 + d): number of the curve from 1, share of the last epoch, hyperparameters; scores (m,): from
    0 to 1. numbers: of the curves, by candidate; 0 is the number of all pipelines that have none.
    best: f_best, the best of all scores, shown or not.
    """

    tokens: Array
    scores: Array
    numbers: dict[int, int]
    best: float


@dataclass(frozen=True)
class _Bet:
    """What MFPI-random draws for a step.

    horizon: epochs to look ahead, h. share: what is to be gained of the way from the best score to 1, 10^τ.
    """

    horizon: int
    share: float

    @classmethod
    def draw(cls, chance: np.random.Generator, epochs: int) -> "_Bet":
        """With h ~ U{1, …, `epochs`} and τ ~ U(-4, -1)."""
        return cls(int(chance.integers(1, epochs, endpoint=True)), float(10 ** chance.uniform(-4, -1)))

    def threshold(self, best: float) -> float:
        """T = f_best + 10^τ (1 - f_best)."""
        return best + self.share * (1 - best)


class Network:
    """FT-PFN: probabilities of improvement in context. Predicts alone; holds no state."""

    def __init__(self, model: "nn.Module") -> None:
        from ifbo import FTPFN
        from torch import nn

        self._surrogate = FTPFN.__new__(FTPFN)  # its constructor downloads
        nn.Module.__init__(self._surrogate)
        self._surrogate.model, self._surrogate.device = model.eval(), None

    @property
    def most_hyperparameters(self) -> int:
        """How many the network has inputs for."""
        encoder: Any = self._surrogate.model.encoder
        return int(encoder.configuration_enc.num_features)

    def improvement(self, context: Context, asked: Array, threshold: float) -> Array:
        """P(score > threshold) of `asked` (n, 2 + d), rows as in a context's tokens; (n,)."""
        import torch
        from ifbo import PredictionResult

        numbers = [torch.as_tensor(x, dtype=torch.float32) for x in (context.tokens, context.scores, asked)]
        with torch.inference_mode():
            predicted = PredictionResult(self._surrogate(*numbers), self._surrogate.model.criterion)
            above: Array = predicted.pi(torch.tensor(threshold)).double().numpy()
        return above


def find_weights(folder: Path | str | None = None) -> Path:
    """The file of FT-PFN's weights, in a folder or below it where the library puts them.

    Raises:
        ConfigError: it is not there.
    """
    from ifbo.download import FILE_URL, WEIGHTS_FINAL_NAME

    base = in_user_cache(FOLDER) if folder is None else Path(folder).expanduser().absolute()
    name: str = WEIGHTS_FINAL_NAME(VERSION)
    places = (base, base / ".model")
    for place in places:
        file = place / name
        if file.is_file():
            return file
    raise ConfigError(
        f"ifBO needs the weights of FT-PFN {VERSION}, and there is no {name} in "
        f"{' or '.join(map(str, places))}. Where there is internet: mkdir -p {base} && "
        f"curl -L {FILE_URL(VERSION)} | tar -xz -C {base}; or name the folder that holds the file: "
        "weights_dir=DIR"
    )


def load_network(file: Path) -> Network:
    """FT-PFN of a file that holds a whole pickled module, as the library publishes it.

    Nothing in it is run: it is read with `weights_only=True`, and may name no classes but layers of PyTorch
    and of ifBO.

    Raises:
        DamagedFileError: the file holds something else.
    """
    import torch
    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    try:
        parts = {name: _part(name) for name in get_unsafe_globals_in_checkpoint(file)}
        strange = sorted(name for name, part in parts.items() if part is None)
        if not strange:
            with safe_globals([(part, name) for name, part in parts.items()]):
                model = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # what a stranger's file holds may break anywhere
        raise DamagedFileError(f"{file} cannot be read as weights of FT-PFN ({error}).") from error
    if strange:
        raise DamagedFileError(
            f"{file} is refused, since it names what is no layer of PyTorch or ifBO: {', '.join(strange)}."
        )
    if not (hasattr(model, "criterion") and hasattr(getattr(model, "encoder", None), "configuration_enc")):
        raise DamagedFileError(f"{file} holds a {type(model).__name__} that is no FT-PFN.")
    return Network(model)


def _part(name: str) -> Any:
    """The layer or activation of that name; None: it is neither."""
    import torch

    module, _, attribute = name.rpartition(".")
    if name in _ACTIVATIONS:
        return getattr(import_module(module), attribute)
    if module not in _PARTS and not module.startswith("torch.nn.modules."):
        return None
    try:
        found = getattr(import_module(module), attribute, None)
    except ImportError:
        return None
    return found if isclass(found) and issubclass(found, torch.nn.Module) else None


def to_unit_interval(scores: Array) -> Array:
    """Scores (m,) from 0 to 1: as they are, or if any is beyond, all s as 1/2 + s / (2 + 2 |s|)."""
    if len(scores) == 0 or (scores.min() >= 0 and scores.max() <= 1):
        return scores
    mapped: Array = 0.5 + 0.5 * scores / (1 + np.abs(scores))
    return mapped


def most_distinct(places: Array, most: int) -> NDArray[np.int64]:
    """Columns of (n, d), up to `most` of them: those with the most distinct values, the first of equals."""
    distinct = [len(np.unique(column)) for column in places.T]
    return np.sort(np.argsort([-count for count in distinct], kind="stable")[:most])


def spread(curve: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """Up to `most` points of a curve, the last among them, at even distances."""
    if len(curve) <= most:
        return list(curve)
    kept = np.linspace(len(curve) - 1, 0, most).round().astype(int)
    return [curve[i] for i in kept[::-1]]


def _share(lengths: Sequence[int], most: int) -> int:
    """How many points each curve may keep for all to have at most `most`."""
    kept = max(lengths)
    while sum(min(length, kept) for length in lengths) > most:
        kept -= 1
    return kept
