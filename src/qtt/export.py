"""`python -m qtt.export RUN_DIR`: a network of a search as files that need no qtt.

python -m qtt.export runs/quickstart/default --out my-classifier
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from qtt.cli.common import errors_for_people


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    console = Console(highlight=False)
    with errors_for_people():
        from qtt.finetune.cv.classification.export import export_model
        from qtt.finetune.cv.classification.onnx_export import missing_packages

        with console.status("Writing and checking"):
            done = export_model(options.run_dir, options.out, model=options.model, onnx=options.onnx)
    kept = done.model
    lines = [
        f"Pipeline #{kept.config_id}: {kept.config.get('model')}, epoch {kept.fidelity}, "
        f"validation {kept.score:.4f}",
        f"timm checkpoint: loads with timm and gives the network's outputs on {done.images}",
    ]
    if done.agreement is not None:
        lines.append(
            f"timm's transform of image files alone: the same class for {done.agreement.same} of "
            f"{done.agreement.images}, probabilities differ by at most {done.agreement.difference:.2g}"
        )
    if done.onnx_difference is not None:
        lines.append(f"model.onnx: outputs differ by at most {done.onnx_difference:.1g} on {done.images}")
    elif options.onnx is None:
        lines.append(
            f"model.onnx: not written, for {', '.join(missing_packages())} is not installed: "
            "pip install 'qtt[export]'"
        )
    lines.append(f"Files and model card (README.md) are in {done.folder}")
    lines.append(f'To load it in Python: timm.create_model("local-dir:{done.folder}", pretrained=True)')
    for line in lines:
        console.print(Text(line), soft_wrap=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m qtt.export",
        description="Write a network of a search as files that need no qtt: a timm checkpoint, ONNX, and a "
        "model card. Each is compared with the network on validation images.",
    )
    parser.add_argument("run_dir", type=Path, help="folder of the search")
    parser.add_argument(
        "--model", default="best", help="best (on the validation images), incumbent, or a pipeline's id"
    )
    parser.add_argument("--out", type=Path, help="folder to write to (default: export in that of the search)")
    parser.add_argument(
        "--onnx",
        action=argparse.BooleanOptionalAction,
        help="write model.onnx (default: where the packages of the extra 'export' are installed)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
