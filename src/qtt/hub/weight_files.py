"""Model cards of weights files: `<timm name>[.<tag>].safetensors` with an optional JSON sidecar beside it.

Sidecar keys that make the card (all optional): timm_name, num_classes, create_kwargs (or `create`, the call
of `timm.create_model` as text), input_size (C, H, W), mean, std, interpolation, family, fixed_input_size,
pretraining, licence, top1, params and macs (counts at input_size, without the classifier). What it leaves out
comes from timm and from the file.
"""

import ast
import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtt.errors import DamagedFileError, ModelHubError
from qtt.support.files import parse_json, read_object
from qtt.types import ModelCard

_COMPLETE = {
    *("timm_name", "num_classes", "input_size", "mean", "std"),
    *("family", "fixed_input_size", "params", "macs"),
}

MOST_HEADER = 100_000_000
"""Bytes of a safetensors header, as the library has it."""


def folder_cards(folder: Path, prefix: str = "") -> tuple[ModelCard, ...]:
    """One card for each safetensors file of a folder, sorted by name.

    prefix: put before the file name in `ModelCard.weights`, for folders within a weights folder.

    Raises:
        ModelHubError: no such folder, no weights in it, or a sidecar that cannot be read.
    """
    if not folder.is_dir():
        raise ModelHubError(f"There is no weights folder {folder}.")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelHubError(
            f"{folder} holds no weights. Expected <timm name>.safetensors files, each with an optional "
            "<same name>.json beside it."
        )
    return tuple(replace(file_card(file), weights=prefix + file.name) for file in files)


def file_card(file: Path) -> ModelCard:
    """The card of one weights file, named by the file's stem."""
    sidecar = _read_sidecar(file.with_suffix(".json"))
    try:
        card = _from_sidecar(file, sidecar) if sidecar.keys() >= _COMPLETE else _from_timm(file, sidecar)
    except (TypeError, ValueError, SyntaxError) as error:
        raise ModelHubError(f"The sidecar of {file} cannot be used: {error}.") from error
    return card


def tensor_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a safetensors file's tensors, read from its header alone.

    Raises:
        ModelHubError: the file is not a complete safetensors file.
    """
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(file.stat().st_size, MOST_HEADER):
                raise ValueError(f"its header of {length} bytes is longer than the file or {MOST_HEADER}")
            header = parse_json(stream.read(length))
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
        if file.stat().st_size != end:
            raise ValueError(f"it has {file.stat().st_size} bytes, its header promises {end}")
        return {name: tuple(entry["shape"]) for name, entry in tensors.items()}
    except (struct.error, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelHubError(
            f"{file} is not a complete safetensors file ({error}); fetch or copy it again."
        ) from error


def _read_sidecar(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        return read_object(file)
    except DamagedFileError as error:
        raise ModelHubError(f"The sidecar {error}") from error


def _create_kwargs(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """Extra arguments for `timm.create_model`; read from the call in `create` where only that is given."""
    if "create_kwargs" in sidecar:
        return dict(sidecar["create_kwargs"] or {})
    call = ast.parse(sidecar.get("create") or "f()", mode="eval").body
    if not isinstance(call, ast.Call):
        raise ValueError(f"'create' is not a call: {sidecar['create']!r}")
    given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
    return {name: value for name, value in given.items() if name not in ("num_classes", "pretrained")}


def _overlay(card: ModelCard, file: Path, sidecar: Mapping[str, Any]) -> ModelCard:
    """`card` with everything that the sidecar states."""
    given: dict[str, Any] = {
        key: sidecar[key]
        for key in ("timm_name", "family", "interpolation", "top1", "pretraining", "licence")
        if isinstance(sidecar.get(key), str | int | float)
    }
    if "input_size" in sidecar:
        given["input_size"] = int(sidecar["input_size"][-1])
    for key in ("mean", "std"):
        if key in sidecar:
            given[key] = tuple(float(value) for value in sidecar[key])
    if "fixed_input_size" in sidecar:
        given["fixed_input_size"] = bool(sidecar["fixed_input_size"])
    if "num_classes" in sidecar:
        given["num_classes"] = int(sidecar["num_classes"])
    kwargs = tuple(sorted(_create_kwargs(sidecar).items()))
    return replace(card, name=file.stem, create_kwargs=kwargs, **given)


def _from_sidecar(file: Path, sidecar: Mapping[str, Any]) -> ModelCard:
    """A complete sidecar needs neither timm nor torch."""
    params, macs = float(sidecar["params"]) / 1e6, float(sidecar["macs"]) / 1e9
    return _overlay(ModelCard("", "", "", params, 0, macs), file, sidecar)


def _from_timm(file: Path, sidecar: Mapping[str, Any]) -> ModelCard:
    """What timm knows, overlaid by the sidecar; the size is measured."""
    from qtt.hub.timm_facts import classifier_size, is_pretraining, measure, pretraining_of, timm_card

    arch, _, tag = file.stem.partition(".")
    known = is_pretraining(file.stem)
    base = timm_card(str(sidecar.get("timm_name", file.stem if known else arch)))
    classes = int(sidecar.get("num_classes", classifier_size(base.timm_name, tensor_shapes(file))))
    pretraining = pretraining_of(tag) if tag else ("in1k" if classes == 1000 else "unknown")
    name = base.timm_name if known else base.timm_name.partition(".")[0]
    facts = replace(base, timm_name=name, num_classes=classes, pretraining=pretraining)
    card = _overlay(facts, file, sidecar)
    params, macs = measure(card)
    return replace(card, params=params, macs=macs)
