"""What finetuning is worth in a search: its best pipeline beside the best linear probe."""

from dataclasses import dataclass

from qtt.runs.history import History
from qtt.space.horizon import is_probe
from qtt.types import Candidates


@dataclass(frozen=True)
class BesideProbes:
    """Ids and scores of the best linear probe and of the best pipeline that trains more than a classifier.

    finetuned: None where there is none yet.
    """

    probe: tuple[int, float]
    finetuned: tuple[int, float] | None

    @classmethod
    def of(cls, history: History, candidates: Candidates) -> "BesideProbes | None":
        """What a search has seen; None where it has fitted no probe."""
        scores = {i: seen.score for i in history.ranking() if (seen := history.best(i)) is not None}
        probes = [(i, score) for i, score in scores.items() if is_probe(candidates.configs[i])]
        others = [(i, score) for i, score in scores.items() if not is_probe(candidates.configs[i])]
        return cls(probes[0], others[0] if others else None) if probes else None

    def in_words(self, candidates: Candidates) -> str:
        """`Linear probe: 0.9260 (#3 lite0) · best finetuned: 0.9400 (#41 lite2)`."""

        def named(found: tuple[int, float]) -> str:
            config_id, score = found
            return f"{score:.4f} (#{config_id} {candidates.configs[config_id].get('model')})"

        finetuned = "none yet" if self.finetuned is None else named(self.finetuned)
        return f"Linear probe: {named(self.probe)} · best finetuned: {finetuned}"
