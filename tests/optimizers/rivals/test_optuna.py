"""Optuna behind the protocol."""

from typing import Any

import pytest

from optimizers.rivals.library_contract import LibraryContract
from qtt.errors import ConfigError
from qtt.optimizers.rivals.optuna import OptunaOptimizer
from qtt.testing.synthetic import SyntheticSpace

pytest.importorskip("optuna", reason="needs the extra optimizers")


class TestTPEWithHyperband(LibraryContract):
    def make(self, seed: int, **settings: Any) -> OptunaOptimizer:
        return OptunaOptimizer(SyntheticSpace(), seed=seed, **settings)


class TestTPEWithSuccessiveHalving(LibraryContract):
    def make(self, seed: int, **settings: Any) -> OptunaOptimizer:
        return OptunaOptimizer(SyntheticSpace(), seed=seed, pruner="successive_halving", **settings)


class TestGaussianProcess(LibraryContract):
    test_promising_pipelines_get_more_epochs = None  # type: ignore[assignment]  # it trains all to their ends

    def make(self, seed: int, **settings: Any) -> OptunaOptimizer:
        return OptunaOptimizer(SyntheticSpace(), seed=seed, sampler="gp", pruner="none", **settings)


@pytest.mark.parametrize("wrong", [{"sampler": "tpee"}, {"pruner": "hyperbnad"}, {"proposals": 2}])
def test_settings_that_are_none_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"hyperband|tpe|{next(iter(wrong))}"):
        OptunaOptimizer(**wrong)
