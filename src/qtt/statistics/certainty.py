"""What a score is worth: its standard error, ties with the best one, and what guessing would score.

Objectives report these with every result; see `qtt.types.Result`. Nothing is made up where they do not.
"""

from dataclasses import dataclass

from qtt.runs.history import History
from qtt.types import Result

TIE = "≈"
"""Stands beside a score that is a tie with the best one."""


@dataclass(frozen=True)
class Certainty:
    """What an objective reported beside a score.

    stderr: standard error of the score. examples: how many it is of. baseline: the majority baseline's score.
    Each of them None where the objective did not report it.
    """

    stderr: float | None = None
    examples: int | None = None
    baseline: float | None = None

    @classmethod
    def of(cls, result: Result) -> "Certainty":
        """What came with a result."""
        examples = result.reported("examples")
        return cls(
            result.reported("stderr"),
            None if examples is None else int(examples),
            result.reported("baseline"),
        )

    def beside(self, score: float, examples: str = "examples") -> str:
        """A score with all that is known of it: 0.9500 ± 0.0110 on 400 examples (majority baseline 0.9500).

        examples: what they are called.
        """
        text = f"{score:.4f}" + ("" if self.stderr is None else f" ± {self.stderr:.4f}")
        text += "" if self.examples is None else f" on {self.examples} {examples}"
        return text + ("" if self.baseline is None else f" (majority baseline {self.baseline:.4f})")


def ties(history: History) -> list[int]:
    """Pipelines whose best score is within the standard error of the best of all, the winner left out.

    Best first; empty where that error is not known. Scores of the same examples are correlated, so that this
    is a cautious rule: a difference beyond it may be one, a difference within it should decide nothing.
    """
    best = history.incumbent
    error = None if best is None else best.reported("stderr")
    if best is None or error is None:
        return []
    scores = {i: seen.score for i in history.ranking() if (seen := history.best(i)) is not None}
    return [i for i, score in scores.items() if i != best.config_id and best.score - score <= error]


def legend(history: History, metric: str) -> str:
    """What a table of scores needs to be read: the metric, the error, what ties are, and the baseline."""
    best = history.incumbent
    if best is None:
        return ""
    known = Certainty.of(best)
    count = "" if known.examples is None else f"{known.examples} "
    text = f"score: {metric} on {count}validation examples"
    if known.stderr is not None:
        text += "; ±: its standard error"
        tied = len(ties(history))
        text += f"; {TIE}: within that of the best, a tie ({tied})" if tied else "; no tie with the best"
    if any(seen.succeeded and seen.score > best.score for seen in history):
        text += "; the best is so by its estimate, which counts a part of gains over probes as luck"
    return text + (f"; majority baseline: {known.baseline:.4f}" if known.baseline is not None else "") + "."
