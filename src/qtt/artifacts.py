"""Optimizers by name: Quick-Tune cold, or (not in this version) with meta-learned weights."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qtt.errors import ArtifactError, unknown

if TYPE_CHECKING:
    from qtt.config_manager import ConfigManager
    from qtt.model_hub import ModelHub
    from qtt.optimizers.quick import QuickTune

COLD = "cold"
META_LEARNED = ("mtlbm/micro", "mtlbm/mini", "mtlbm/extended")


def get_pretrained_optimizer(
    name: str = COLD,
    *,
    model_hub: "str | ModelHub" = "tiny",
    search_space: str = "quickstart",
    narrow: Mapping[str, Sequence[Any]] | None = None,
    seed: int = 0,
    epochs_per_step: int = 1,
    max_fidelity: int = 50,
) -> "QuickTune":
    """A Quick-Tune optimizer, ready for `setup(128, metafeatures)` (tool paper, Figure 4).

    Args:
        name: "cold", which knows nothing but what it sees during the search.
        model_hub: a hub, or what `ModelHub.load` takes: a name, a YAML file or a folder of weights.
        search_space: a variant of `qtt.search_space`.
        narrow: hyperparameter to the options to keep of it.
        seed: of the candidates and of the predictor's initial weights.
        epochs_per_step: epochs that one step trains (Δt).
        max_fidelity: last epoch of every pipeline.

    Raises:
        ArtifactError: the name is unknown, or its weights are not part of this version.
        ConfigError, ModelHubError: the space or the hub cannot be built.
    """
    if name in META_LEARNED:
        raise ArtifactError(
            f"This version of qtt ships no meta-learned weights, so '{name}' cannot be loaded. They arrive "
            f"with a later release, which fits them by `python -m qtt.metatrain artifact="
            f"{name.removeprefix('mtlbm/')}`. Until then use '{COLD}', which learns during the search alone."
        )
    if name != COLD:
        raise ArtifactError(unknown("pretrained optimizer", name, (COLD, *META_LEARNED)))
    from qtt.optimizers.quick import QuickTune
    from qtt.predictors.cost import PhysicalCost
    from qtt.predictors.performance import DeepKernelGP

    return QuickTune(
        _config_manager(model_hub, search_space, narrow),
        performance=DeepKernelGP(),
        cost=PhysicalCost(),
        seed=seed,
        epochs_per_step=epochs_per_step,
        max_fidelity=max_fidelity,
    )


def _config_manager(
    model_hub: "str | ModelHub", search_space: str, narrow: Mapping[str, Sequence[Any]] | None
) -> "ConfigManager":
    from qtt.config_manager import ConfigManager
    from qtt.model_hub import ModelHub
    from qtt.search_space import build_space

    hub = ModelHub.load(model_hub) if isinstance(model_hub, str) else model_hub
    return ConfigManager(build_space(search_space, hub, narrow), hub)
