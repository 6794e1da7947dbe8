"""Optimizers by name: Quick-Tune with the meta-learned weights of an artifact, or cold."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtt.space.hyperparameters import ADDED
from qtt.support.announcements import announce

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace

    from qtt.artifacts.files import Artifact
    from qtt.hub.model_hub import ModelHub
    from qtt.optimizers.base import CandidateSource
    from qtt.optimizers.quick import QuickTune
    from qtt.predictors.base import CostPredictor, PerformancePredictor
    from qtt.space.config_manager import ConfigManager

COLD = "cold"
COLD_HUB, COLD_SPACE = "auto", "quickstart"
SHIPPED = "mtlbm/"


def get_pretrained_optimizer(
    name: str | Path = COLD,
    *,
    model_hub: "str | Path | ModelHub | None" = None,
    search_space: "str | Path | ConfigurationSpace | None" = None,
    narrow: Mapping[str, Sequence[Any]] | None = None,
    seed: int = 0,
    epochs_per_step: int = 1,
    max_fidelity: int = 50,
    refit: int = 0,
) -> "QuickTune":
    """A Quick-Tune optimizer, ready for `setup(128, metafeatures)` (tool paper, Figure 4).

    Meta-learned weights come from files alone, without network, and nothing in them is run. What they were
    fitted on is printed in one line.

    Args:
        name: "mtlbm/micro", "mtlbm/mini" or "mtlbm/extended"; the folder of an artifact that
            `python -m qtt.metatrain` wrote; or "cold", which knows nothing but what it sees in the search
            (and, in a space with linear probes, what finetuning usually adds to them).
        model_hub: a hub, or what `ModelHub.load` takes: a name, a YAML file or a folder of weights. None:
            `auto`, what fits this machine; with an artifact in a folder, the artifact's own; with a space of
            your own that names no models, no hub.
        search_space: a variant of `qtt.space.search_space`, or a space of your own: any
            `ConfigurationSpace`, or a file (JSON, YAML) that ConfigSpace wrote. None: the artifact's, or
            `quickstart` with "cold".
        narrow: hyperparameter to the options to keep of it; not with a space of your own.
        seed: of the candidates and, with "cold", of the predictor's initial weights.
        epochs_per_step: epochs that one step trains (Δt).
        max_fidelity: last epoch of every pipeline.
        refit: steps that finetune the meta-learned kernel before each decision; see `MetaPerformance`.

    Raises:
        ArtifactError: the name is unknown, or the artifact is missing, damaged or of a newer format.
        ConfigError, ModelHubError: the space or the hub cannot be built.
    """
    artifact = _artifact(name)
    shipped = str(name).startswith(SHIPPED)
    return _optimizer(
        artifact,
        _config_manager(artifact, model_hub, search_space, narrow, own_hub=not shipped),
        seed=seed,
        epochs_per_step=epochs_per_step,
        max_fidelity=max_fidelity,
        refit=refit,
    )


def quick_tune(
    config_manager: "CandidateSource | None" = None,
    *,
    weights: str | Path | None = None,
    performance: "PerformancePredictor | None" = None,
    cost: "CostPredictor | None" = None,
    refit: int = 0,
    **settings: Any,
) -> "QuickTune":
    """Quick-Tune over a given space and hub, as `conf/optimizer/quick.yaml` describes it.

    Args:
        config_manager: see `QuickTune`.
        weights: what `get_pretrained_optimizer` takes; its predictors come before the given ones.
        performance: predicts scores in a search without weights; None: as with "cold".
        cost: predicts seconds, likewise.
        refit: see `get_pretrained_optimizer`.
        settings: all others of `QuickTune`.

    Raises:
        ArtifactError: see `get_pretrained_optimizer`.
        ConfigError: impossible settings.
    """
    artifact = None if weights is None else _artifact(weights)
    given = {"performance": performance, "cost": cost} if artifact is None else {}
    settings |= {name: predictor for name, predictor in given.items() if predictor is not None}
    return _optimizer(artifact, config_manager, refit, **settings)


def _artifact(name: str | Path) -> "Artifact | None":
    """The artifact of a name, announced; None for "cold"."""
    if name == COLD:
        return None
    from qtt.artifacts.files import read_artifact

    artifact = read_artifact(name)
    announce(f"Predictors {artifact.facts.summary}")
    return artifact


def _announce_unknown(artifact: "Artifact", config_manager: "CandidateSource | None") -> None:
    """Say which hyperparameters of the space the artifact has not seen."""
    options = getattr(config_manager, "options", {})
    known = {"model", *(item.name for item in ADDED)}
    names = [n for n in options if n not in known and not artifact.features.encodes(n, options[n])]
    if names:
        learned = "its effect is" if len(names) == 1 else "their effects are"
        announce(
            f"Predictors {artifact.facts.name} know nothing of {', '.join(names)}: {learned} learned in "
            "the search alone"
        )


def _optimizer(
    artifact: "Artifact | None", config_manager: "CandidateSource | None", refit: int, **settings: Any
) -> "QuickTune":
    """Quick-Tune with the predictors of an artifact, or with cold ones."""
    from qtt.optimizers.quick import QuickTune
    from qtt.predictors.failure import FailureRate

    if artifact is None:
        from qtt.predictors.cost import PhysicalCost
        from qtt.predictors.performance import DeepKernelGP

        parts = {"performance": DeepKernelGP(), "cost": PhysicalCost(), "failure": FailureRate()}
        optimizer = QuickTune(config_manager, **{**parts, **settings})
        optimizer.performance = _probed(optimizer.performance, config_manager)
        return optimizer
    from qtt.predictors.meta import MetaPerformance
    from qtt.predictors.meta_cost import MetaCost

    _announce_unknown(artifact, config_manager)
    optimizer = QuickTune(
        config_manager,
        performance=_probed(
            MetaPerformance.from_tensors(artifact.features, artifact.performance, refit), config_manager
        ),
        cost=MetaCost.from_tensors(artifact.features, artifact.cost),
        failure=FailureRate.from_tensors(artifact.features, artifact.cost),
        **settings,
    )
    optimizer.portfolio = artifact.portfolio
    return optimizer


def _probed(
    performance: "PerformancePredictor", config_manager: "CandidateSource | None"
) -> "PerformancePredictor":
    """A predictor that knows what probes say, where the space has any."""
    from qtt.optimizers.base import ProbedSpace
    from qtt.predictors.gains import GainsOverProbes

    has_probes = isinstance(config_manager, ProbedSpace) and config_manager.probes()
    return GainsOverProbes(performance) if has_probes else performance


def _config_manager(
    artifact: "Artifact | None",
    model_hub: "str | Path | ModelHub | None",
    search_space: "str | Path | ConfigurationSpace | None",
    narrow: Mapping[str, Sequence[Any]] | None,
    *,
    own_hub: bool,
) -> "ConfigManager":
    """The space and hub of a search.

    own_hub: without another, the hub is the artifact's; that of shipped ones is large and to be downloaded.
    """
    from qtt.space.config_manager import ConfigManager
    from qtt.space.search_space import build_space

    own = None if artifact is None else artifact.config_manager()
    if own is not None and own_hub and model_hub is None and search_space is None and narrow is None:
        return own
    default_hub = COLD_HUB if own is None or own.hub is None or not own_hub else own.hub
    space = _own_space(search_space, narrow)
    if space is not None:
        return ConfigManager(space, _hub(model_hub, default_hub if "model" in space else None))
    as_learned = search_space is None and artifact is not None
    if search_space is None and artifact is not None and own is not None:
        search_space = artifact.facts.search_space
        options: dict[str, Any] = {name: values for name, values in own.options.items() if name != "model"}
        narrow = {**options, **(narrow or {})}
    hub = _hub(model_hub, default_hub)
    assert hub is not None
    space = build_space(str(search_space or COLD_SPACE), hub, narrow, extras=not as_learned)
    return ConfigManager(space, hub)


def _own_space(
    search_space: "str | Path | ConfigurationSpace | None", narrow: Mapping[str, Sequence[Any]] | None
) -> "ConfigurationSpace | None":
    """The user's own space, None where a variant is meant."""
    from qtt.errors import ConfigError
    from qtt.space.own_space import read_space

    if search_space is None or (isinstance(search_space, str) and not Path(search_space).suffix):
        return None
    if narrow is not None:
        raise ConfigError("narrow is for the variants of qtt's space; narrow a space of your own yourself.")
    return read_space(search_space) if isinstance(search_space, str | Path) else search_space


def _hub(source: "str | Path | ModelHub | None", default: "str | ModelHub | None") -> "ModelHub | None":
    from qtt.hub.model_hub import ModelHub

    found = default if source is None else source
    return found if found is None or isinstance(found, ModelHub) else ModelHub.load(found)
