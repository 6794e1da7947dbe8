"""A network as an ONNX file, checked against PyTorch."""

import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from qtt.errors import ConfigError

TOLERANCE = 1e-4
"""Largest difference between ONNX and PyTorch, as a share of the largest output where that is above 1."""

NEEDED = ("onnx", "onnxruntime", "onnxscript")
INPUT, OUTPUT = "images", "logits"
OPSET = 18


def missing_packages() -> list[str]:
    """Packages of the extra `export` that are not installed."""
    return [name for name in NEEDED if find_spec(name) is None]


def require_packages() -> None:
    """See whether ONNX can be written.

    Raises:
        ConfigError: packages are missing.
    """
    missing = missing_packages()
    if missing:
        raise ConfigError(
            f"ONNX needs {', '.join(missing)}: pip install 'qtt[export]', or do "
            "without (--no-onnx, onnx=False)."
        )


def write_onnx(network: nn.Module, inputs: Tensor, path: Path, facts: Mapping[str, str]) -> float:
    """Write a network in eval mode with a batch dimension of any length, and check the file.

    network: on the CPU. inputs: (b, 3, s, s) normalised images to check with. facts: metadata of the file.

    Returns:
        The largest difference of an output on `inputs`, in batches of one and of all.

    Raises:
        ConfigError: packages are missing, the network cannot be exported, or the file computes something
            else; then there is no file.
    """
    require_packages()
    failures = []
    for exporter in (_export_graph, _export_trace):
        try:
            with _quiet():
                exporter(network, inputs[:2], path)
                _describe(path, facts)
            return _check(network, inputs, path)
        except ConfigError as error:
            failures.append(str(error))
        except Exception as error:  # torch's exporters fail in many ways, and one answer fits all
            reason = (str(error).strip().splitlines() or [""])[0]
            failures.append(f"{type(error).__name__}: {reason[:200]}")
    path.unlink(missing_ok=True)
    raise ConfigError(
        f"{type(network).__name__} cannot be written as ONNX ({'; '.join(failures)}). "
        "--no-onnx (onnx=False) exports the rest."
    )


def _export_graph(network: nn.Module, example: Tensor, path: Path) -> None:
    torch.onnx.export(
        network,
        (example,),
        path,
        dynamo=True,
        verbose=False,
        external_data=False,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: "batch"},),
    )


def _export_trace(network: nn.Module, example: Tensor, path: Path) -> None:
    """The older exporter, for networks whose graph the newer one cannot take (BEiT's, for instance)."""
    torch.onnx.export(
        network,
        (example,),
        path,
        dynamo=False,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}},
    )


def _describe(path: Path, facts: Mapping[str, str]) -> None:
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, dict(facts))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


@torch.inference_mode()
def _check(network: nn.Module, inputs: Tensor, path: Path) -> float:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # nobody asked for it; without a home it warns
    import onnxruntime

    expected = network(inputs)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for batch, outputs in ((inputs, expected), (inputs[:1], expected[:1])):
        found = torch.from_numpy(session.run([OUTPUT], {INPUT: batch.numpy()})[0])
        worst = max(worst, (found - outputs).abs().max().item())
    allowed = TOLERANCE * max(1.0, expected.abs().max().item())
    if not worst <= allowed:
        raise ConfigError(
            f"an output of the ONNX file differs by {worst:.2g} from PyTorch's, more than {allowed:.2g}"
        )
    return worst


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' hints to their own developers off the console."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
