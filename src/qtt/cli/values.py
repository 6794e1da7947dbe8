"""What kind of value each key of the commands' configurations holds.

Keys that are not named here hold texts, lists or mappings that are explained where they are used, or belong
to what other packages bring.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from qtt.cli.kinds import (
    BUDGET,
    COUNTING,
    DURATION,
    MILLISECONDS,
    SHARE,
    Choice,
    Either,
    Kind,
    ListOf,
    Matching,
    Number,
    PathName,
    Switch,
    Words,
    bytes_in,
)
from qtt.errors import ConfigError
from qtt.support.machine import DEVICE

COUNT = Number("a whole number", 1, whole=True)
FROM_ZERO = Number("a whole number", 0, whole=True)
SEED = Number("a whole number", 0, 2**32 - 1, whole=True)
NUMBER = Number("a number", 0)
POSITIVE = Number("a number", 0, above=True)
SHARE_OF_ALL = Number("a share", 0, 1, units=SHARE, written="0.2, 20%")
SHARE_OF_SOME = Number("a share", 0, 1, above=True, units=SHARE, written="0.2, 20%")
PIXELS = Number("pixels", 1, whole=True, units=COUNTING, written="500000000, 500M")
PARAMETERS = Number("parameters", 0, above=True, units=COUNTING, written="5e6, 5M")
GIGABYTES = Number("gigabytes", 0, units=bytes_in(1e9), written="20, 20GB, 500MB, 1TB")
SWITCH = Switch()
PATH = PathName()

OPTIMIZER: Mapping[str, Kind] = {
    "epochs_per_step": COUNT,
    "max_fidelity": COUNT,
    "eta": Number("a whole number", 2, whole=True),
    "bootstrap_count": FROM_ZERO,
    "kind": Choice(("asha", "bohb")),
    "pruner": Choice(("hyperband", "successive_halving", "none")),
    "sampler": Choice(("tpe", "gp")),
    "weights_dir": PathName("the folder of weights", null="ifbo in the cache folder"),
    **dict.fromkeys(("brackets", "challengers", "fresh", "initial"), COUNT),
    "weights": PathName("an artifact or its folder", null="none, a cold start"),
    "refit": FROM_ZERO,
    "acquisition": Choice(("horizons", "multi_fidelity")),
    "horizons": ListOf(COUNT),
    "patience": COUNT,
    "exploration": NUMBER,
    "cost_aware": SWITCH,
    "gray_box": SWITCH,
    "proposals": FROM_ZERO,
    "fantasies": Choice(("mean", "draw"), null="nothing is supposed"),
}

COST: Mapping[str, Kind] = {
    "weights": PathName("an artifact's folder", null="random ones"),
    "steps": COUNT,
    "learning_rate": POSITIVE,
    "early": FROM_ZERO,
    "early_steps": COUNT,
    "every": COUNT,
    "patience": COUNT,
}

PERFORMANCE: Mapping[str, Kind] = {
    **COST,
    "network_learning_rate": POSITIVE,
    "max_observations": COUNT,
}

SETTINGS: Mapping[str, Kind] = {
    "image_size": COUNT.or_null("the dataset's, up to the model card's"),
    "max_image_size": COUNT.or_null("no bound"),
    "pretrained": SWITCH,
    "epoch_images": COUNT.or_null("all, or fewer for a short budget"),
    "val_images": COUNT.or_null("all, or fewer for a short budget"),
    "crop_area": SHARE_OF_SOME,
    "hflip": SHARE_OF_ALL,
    "class_weights": Choice(("balanced", "none"), null="none"),
    "sampler": Choice(("balanced", "none"), null="none"),
    "device": Matching("auto, cpu, cuda, or cuda:1 for the second GPU", DEVICE.pattern),
    "deterministic": SWITCH,
    "num_workers": FROM_ZERO,
    "cache_mb": Number("megabytes", 0, whole=True, units=bytes_in(2**20), written="2048, 2GiB"),
    "cache_dir": PathName(null="the folder for caches"),
    "cache_gb": Number("gigabytes", 0, whole=True, units=bytes_in(2**30), written="20, 20GiB"),
    "oom_accumulation": COUNT,
}

DATASET: Mapping[str, Kind] = {
    "path": PATH,
    "images": PathName(null="the table's own folder"),
    "cache_dir": PathName(null="the folder for caches"),
    **dict.fromkeys(
        ("file_column", "label_column", "split_column", "group_column"),
        Words("a column's name", null="recognised by its name, or none"),
    ),
    "max_bad": SHARE_OF_ALL,
    "max_pixels": PIXELS.or_null("178,956,970"),
}

COMMON: Mapping[str, Kind] = {
    "seed": SEED,
    "val_fraction": Number("a share", 0.01, 0.99, units=SHARE, written="0.2, 20%"),
    "weights_dir": PathName(null="no folder of weights"),
    "retry_failed": SWITCH,
    "model_hub.weights_dir": PathName(null="no folder of weights"),
    "search_space.path": PathName(null="none"),
    **{f"objective.settings.{key}": kind for key, kind in SETTINGS.items()},
}

KINDS: Mapping[str, Mapping[str, Kind]] = {
    "run": {
        **COMMON,
        "metric": Words("a metric's name"),
        "budget.seconds": BUDGET.or_null("no limit"),
        "budget.evaluations": COUNT.or_null("no limit"),
        "constraints.max_params": PARAMETERS.or_null("no bound"),
        "constraints.max_latency_ms": Number(
            "milliseconds", 0, above=True, units=MILLISECONDS, written="5, 5ms"
        ).or_null("no bound"),
        "num_candidates": COUNT,
        "run_dir": PathName(null="below runs_dir"),
        "runs_dir": PATH,
        "disk_quota_gb": GIGABYTES.or_null("no bound"),
        "executor.isolation": Choice(("process", "inline")),
        "executor.workers": COUNT.or_null("one for each GPU, or all the room of a cluster"),
        "executor.address": Words("auto, local or HOST:PORT"),
        "executor.shared": SWITCH,
        "executor.resources.cpu": NUMBER,
        "executor.resources.gpu": NUMBER.or_null("one where the cluster has any"),
        "patience_s": DURATION,
        "hang_factor": Number("a number", 1, above=True).or_null("no step hangs"),
        "hang_floor_s": BUDGET,
        "quiet": SWITCH,
        "tracker.wandb.patience": DURATION,
        **{f"dataset.{key}": kind for key, kind in DATASET.items()},
        **{f"optimizer.{key}": kind for key, kind in OPTIMIZER.items()},
        **{f"optimizer.performance.{key}": kind for key, kind in PERFORMANCE.items()},
        **{f"optimizer.cost.{key}": kind for key, kind in COST.items()},
    },
    "collect": {
        **COMMON,
        "patience_s": DURATION,
        "runs_per_dataset": COUNT,
        "epochs": COUNT,
        "horizon": COUNT,
        "time_cap": BUDGET.or_null("none"),
        "workers": COUNT,
        "threads": COUNT.or_null("as many as there are cores for each"),
        "datasets": ListOf(PATH),
        "out": PATH,
        "notes": ListOf(Words()),
    },
    "benchmark": {
        "table": PATH,
        "weights": PathName("an artifact or its folder", null="none, a cold start"),
        "hub": PathName("a hub's name or its file", null="none, models are known by name alone"),
        "seeds": Either(COUNT, ListOf(SEED)),
        "seconds": BUDGET,
        "datasets": ListOf(Words("a dataset's name"), null="all of the table"),
        "out": PathName(null="a folder of its own in runs"),
        "workers": Either(COUNT, ListOf(COUNT)),
        "processes": COUNT.or_null("one for each core"),
        "fresh": SWITCH,
    },
    "metatrain": {
        "hub": PathName("a hub's name, its file or a folder of weights"),
        "search_space.path": PathName(null="none"),
        "seed": SEED,
        "portfolio": FROM_ZERO,
        "paper_steps": FROM_ZERO,
        "datasets": ListOf(Words("a dataset's name"), null="all"),
        "exclude": ListOf(Words("a dataset's name")),
        "exclude_models": ListOf(Words("a model's name")),
        "out": PathName(null="a folder of its own in runs"),
        "fresh": SWITCH,
    },
}
"""By command and key."""


def settled(command: str, config: DictConfig) -> DictConfig:
    """The configuration with values as they are meant: units resolved, `~` for the home folder expanded.

    Raises:
        ConfigError: values that are not of their kind, all in one message.
    """
    changed = config.copy()
    wrong = list(_no_longer_mappings(command, config))
    for key, kind in KINDS[command].items():
        if not _holds_value(config, key):
            continue
        value = OmegaConf.select(config, key)
        given = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        try:
            meant = kind.read(given)
        except ValueError:
            wrong.append(f"{key}={_shown(given)}: expected {kind.expected}.")
            continue
        if meant != given or type(meant) is not type(given):
            OmegaConf.update(changed, key, meant)
    if wrong:
        raise ConfigError("\n".join(wrong))
    return changed


def _no_longer_mappings(command: str, config: DictConfig) -> Iterator[str]:
    """What is wrong with keys that have keys of their own, and were given a value in their place."""
    whole = {key.rpartition(".")[0]: key for key in reversed(list(KINDS[command])) if "." in key}
    for parent, key in whole.items():
        value = OmegaConf.select(config, parent, throw_on_missing=False)
        if value is not None and not OmegaConf.is_config(value):
            yield f"{parent}={_shown(value)}: {parent} has keys of its own, for instance {key}."


def _holds_value(config: DictConfig, key: str) -> bool:
    """Whether a key exists with a value of its own that qtt reads: no reference, none of other packages."""
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, DictConfig) or node._is_none() or node._is_missing() or part not in node:
            return False
        if "_target_" in node and not str(node["_target_"]).startswith("qtt."):
            return False
        child = node._get_node(part)
        if child is None or child._is_interpolation() or child._is_missing():
            return False
        node = child
    return True


def _shown(value: Any) -> str:
    """A value as one would type it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(_shown(item) for item in value)}]"
    return str(value)
