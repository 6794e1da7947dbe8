"""What there is to learn since a predictor looked last."""

from collections.abc import Mapping

from qtt.predictors.fantasies import NOTHING, Fantasy, Supposed
from qtt.runs.history import Curve, History


class ChangedCurves:
    """Which pipelines were observed anew, or are supposed to do otherwise, since one looked last."""

    def __init__(self) -> None:
        self._history: History | None = None
        self._results = 0
        self._seen: dict[int, Curve] = {}
        self._fantasies: Mapping[int, Fantasy] = {}

    def read(self, history: History, fantasies: Mapping[int, Fantasy] = NOTHING) -> dict[int, Curve]:
        """Curves that differ from those of the last call, by pipeline; empty where a fantasy was all."""
        changed = self._observed(history)
        before, self._fantasies = self._fantasies, fantasies
        changed |= dict.fromkeys(i for i, fantasy in fantasies.items() if before.get(i) is not fantasy)
        changed |= dict.fromkeys(i for i in before if i not in fantasies)
        supposed = Supposed(history, fantasies)
        return {i: supposed.curve(i) for i in changed}

    def _observed(self, history: History) -> dict[int, None]:
        """Pipelines whose own curves differ, in the order in which they were first observed."""
        if history is self._history and len(history) == self._results:
            return {}
        self._history, self._results = history, len(history)
        changed: dict[int, None] = {}
        for i in history.observed:
            curve, seen = history.curve(i), self._seen.get(i)
            if curve is not seen and curve != seen:
                changed[i] = None
                self._seen[i] = curve
        return changed
