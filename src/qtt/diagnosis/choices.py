"""What a search that is told nothing would choose on this machine, asked of the code that chooses."""

from collections.abc import Iterator, Mapping
from typing import Any

from qtt.diagnosis.finding import Finding
from qtt.errors import QTTError
from qtt.hub.model_hub import ModelHub, locate_weights
from qtt.hub.surroundings import look_around, reachable
from qtt.support.machine import choose_device
from qtt.support.network import Probe


def device(settings: Mapping[str, Any]) -> Iterator[Finding]:
    """Where training runs, and with how many processes that prepare examples.

    settings: of the objective.
    """
    yield Finding("device", choose_device(str(settings["device"])))
    workers = settings["num_workers"]
    yield Finding(
        "loaders",
        f"{workers} processes" if workers else "none: the training process prepares examples itself",
    )


def models(hub: ModelHub) -> Iterator[Finding]:
    """The hub, and whether the weights of its models are at hand."""
    lacking = [card.name for card in hub if locate_weights(card) is None]
    found = f"{hub.name}, {len(hub)} models"
    if lacking:
        yield Finding("model hub", f"{found}, {len(lacking)} of them to be downloaded")
    else:
        yield Finding("model hub", f"{found}, all weights at hand")


def own_images(probe: Probe) -> Iterator[Finding]:
    """The models that `model_hub=auto` would take for a folder of images, without a bound on time."""
    choice = look_around(reached=reachable(probe))
    yield Finding("own images", choice.reason, mend=choice.advice)


def weights(name: str | None) -> Iterator[Finding]:
    """The meta-learned predictors that a search starts with; their files are read and verified."""
    if name is None:
        yield Finding("predictors", "cold")
        return
    from qtt.artifacts.files import read_artifact

    try:
        facts = read_artifact(name).facts
    except QTTError as error:
        yield Finding("predictors", str(error), "problem", "Install qtt again, or: optimizer=quick")
    else:
        yield Finding("predictors", f"{name}, {facts.summary}")


def values(config: Mapping[str, Any], choices: Mapping[str, str]) -> Iterator[Finding]:
    """Other values of the configuration that say how a search runs.

    choices: option by group.
    """
    yield Finding("optimizer", choices["optimizer"])
    yield Finding("search space", choices["search_space"])
    yield Finding("isolation", str(config["executor"]["isolation"]))
    quota = config["disk_quota_gb"]
    yield Finding("checkpoints", "without bound" if quota is None else f"up to {quota} GB in all")
