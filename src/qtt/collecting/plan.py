"""What a collection records: for a space, a seed and a dataset always the same pipelines, in one order."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from qtt.errors import ConfigError
from qtt.space.config_manager import ConfigManager
from qtt.types import Candidates, Config, MetaFeatures, TaskInfo

BLOCK = 16
"""Pipelines drawn at once."""

PATIENCE = 20
"""Blocks in succession that give nothing new, after which a space counts as exhausted."""


@dataclass(frozen=True)
class Plan:
    """The runs on one dataset; a run's number is its pipeline's config_id.

    task: for the objective, with the models of all pipelines; its work_dir holds their checkpoints.
    group, domain: of the dataset, where they are known (`set` and `domain` of a curve table).
    run_ids: names of the runs within a curve table.
    """

    name: str
    task: TaskInfo
    metafeatures: MetaFeatures
    candidates: Candidates
    run_ids: tuple[str, ...]
    group: str | None = None
    domain: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """What must stay the same when a collection is continued."""
        return {
            "dataset": self.name,
            "class_names": list(self.task.class_names),
            "metafeatures": asdict(self.metafeatures),
            "set": self.group,
            "domain": self.domain,
            "configs": [dict(config) for config in self.candidates.configs],
        }


def draw_pipelines(manager: ConfigManager, count: int, seed: int, dataset: str) -> Candidates:
    """Linear probes, where the space has them, and distinct random pipelines.

    These are drawn block by block, so that a larger `count` only adds to those of a smaller one. A space that
    holds fewer gives nearly all of them.

    Raises:
        ConfigError: count < 1.
    """
    if count < 1:
        raise ConfigError(f"runs_per_dataset must be at least 1; got {count}.")
    drawn: dict[str, Config] = {json.dumps(config): config for config in manager.probes()}
    block = idle = 0
    while len(drawn) < count and idle < PATIENCE:
        before = len(drawn)
        for config in manager.sample(BLOCK, _seed(seed, dataset, block)).configs:
            drawn.setdefault(json.dumps(config), config)
        block += 1
        idle = idle + 1 if len(drawn) == before else 0
    configs = tuple(drawn.values())[:count]
    named = {config.get("model") for config in configs}
    return Candidates(configs, tuple(card for card in manager.hub or () if card.name in named))


def run_names(dataset: str, count: int, identity: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of runs, different for collections of another identity, so that their tables can be joined."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:6]
    return tuple(f"{dataset}-{digest}-{number:04d}" for number in range(count))


def _seed(seed: int, dataset: str, block: int) -> int:
    digest = hashlib.sha256(json.dumps([seed, dataset, block]).encode()).digest()
    return int.from_bytes(digest[:4], "little")
