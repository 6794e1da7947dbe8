"""Policies: optimizers by import path and settings, plain data that other processes can build them from."""

import hashlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from qtt.artifacts.files import FACTS, locate
from qtt.errors import ArtifactError, ConfigError
from qtt.optimizers.base import Optimizer


@dataclass(frozen=True)
class Policy:
    """An optimizer to compare.

    name: what the tables call it.
    target: dotted path of a class or function that takes `seed` and `max_fidelity` and gives an `Optimizer`.
    settings: its other arguments; a mapping with the key `_target_` stands for what that path makes of it.
    """

    name: str
    target: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_config(cls, name: str, config: Mapping[str, Any]) -> "Policy":
        """From the plain dict of a file of `conf/optimizer`."""
        settings = {key: value for key, value in config.items() if key not in ("_target_", "_partial_")}
        return cls(name, str(config["_target_"]), settings)

    @property
    def artifacts(self) -> list[str]:
        """Digests of the artifacts that settings called `weights` name: folders are fitted anew."""
        return sorted(_digest(value) for value in _weights(self.settings))

    def make(self, seed: int, max_fidelity: int) -> Optimizer:
        """A new optimizer.

        Raises:
            ConfigError: the path leads nowhere, or to something that is no optimizer.
        """
        arguments = {key: self._build(value) for key, value in self.settings.items()}
        target = self._import(self.target)
        arguments |= {"seed": seed, "max_fidelity": max_fidelity} | _no_source(target)
        try:
            inspect.signature(target).bind(**arguments)
        except TypeError as error:
            raise ConfigError(f"Policy '{self.name}': {self.target} cannot be called: {error}.") from error
        except ValueError:  # not written in Python: its signature is not known
            pass
        made = target(**arguments)
        lacking = [name for name in ("setup", "ask", "tell") if not callable(getattr(made, name, None))]
        if lacking:
            raise ConfigError(
                f"Policy '{self.name}' is no optimizer: what {self.target} makes has no "
                f"{', '.join(lacking)}; see qtt.optimizers.base.Optimizer."
            )
        optimizer: Optimizer = made
        return optimizer

    def _build(self, value: Any) -> Any:
        if not (isinstance(value, Mapping) and "_target_" in value):
            return value
        arguments = {key: self._build(inner) for key, inner in value.items() if key != "_target_"}
        return self._import(str(value["_target_"]))(**arguments)

    def _import(self, path: str) -> Any:
        try:
            return pkgutil.resolve_name(path)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(f"Policy '{self.name}': {path} cannot be imported: {error}.") from error


def _no_source(target: Any) -> dict[str, None]:
    """No source of candidates, where an optimizer insists on one: a replay has the table's own."""
    try:
        parameter = inspect.signature(target).parameters.get("config_manager")
    except (TypeError, ValueError):
        return {}
    return {} if parameter is None or parameter.default is not parameter.empty else {parameter.name: None}


def _weights(settings: Mapping[str, Any]) -> Iterator[str]:
    """All values of the key `weights`, at any depth."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _weights(value)
        elif key == "weights" and value is not None:
            yield str(value)


def _digest(weights: str) -> str:
    """Of an artifact's facts, which hold the digests of its files; empty where there is none."""
    try:
        return hashlib.sha256((locate(weights) / FACTS).read_bytes()).hexdigest()
    except ArtifactError:
        return ""
