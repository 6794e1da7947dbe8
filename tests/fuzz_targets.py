"""Readers of files that strangers wrote, each given any bytes: they read them, or raise an error of qtt's.

Used by `tests/fuzz/test_readers.py`, in every run of the tests, and by `tests/fuzz/campaign.py`.
"""

import hashlib
import io
import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from curve_frames import small_frames
from qtt.artifacts.files import SHIPPED, read_artifact
from qtt.cli.kinds import BUDGET, SHARE, Number, bytes_in
from qtt.curves.table import CurveTable
from qtt.curves.writing import write_table
from qtt.data.image_types import UNREADABLE, open_image
from qtt.errors import ObjectiveError, QTTError
from qtt.hub.model_hub import SHIPPED_WEIGHTS, load_hub
from qtt.hub.weight_files import file_card, tensor_shapes
from qtt.predictors.meta import MetaPerformance
from qtt.runs.journal import Journal
from qtt.runs.record import RunRecord
from qtt.search.final_training import kept_table
from qtt.space.own_space import read_space
from qtt.statistics import pipeline_table
from qtt.statistics.fronts import cost_table
from qtt.support.files import parse_json
from qtt.types import Result

MICRO = SHIPPED / "mtlbm" / "micro"
FOUND = Path(__file__).parent / "fuzz" / "found"
"""What campaigns found: `<target>/<name>`, bytes that once led to an error of another kind."""


@dataclass(frozen=True)
class Target:
    """One reader.

    seeds: bytes that it reads, given a folder to write to. read: gives it bytes, in that folder.
    allowed: errors by which it may refuse them.
    """

    name: str
    seeds: Callable[[Path], Sequence[bytes]]
    read: Callable[[bytes, Path], object]
    allowed: tuple[type[BaseException], ...] = (QTTError,)

    def check(self, data: bytes, folder: Path) -> bool:
        """Whether the bytes are read; any error that is not allowed comes out."""
        try:
            with warnings.catch_warnings(action="ignore"):  # of Pillow, on what it reads all the same
                self.read(data, folder)
        except self.allowed as error:
            assert str(error) or not isinstance(error, QTTError)
            return False
        return True


def found(name: str) -> list[bytes]:
    """Bytes that campaigns found for a target."""
    return [file.read_bytes() for file in sorted((FOUND / name).glob("*"))]


@contextmanager
def _put_back(*files: Path) -> Iterator[None]:
    """Files have their content again when this ends."""
    before = [file.read_bytes() for file in files]
    try:
        yield
    finally:
        for file, content in zip(files, before, strict=True):
            file.write_bytes(content)


def _journal_seeds(folder: Path) -> list[bytes]:
    journal = Journal(folder / "seed.jsonl")
    for epoch in (1, 2):
        journal.append(Result(3, epoch, 0.5, 1.5, info={"stderr": 0.1}), 2.0 * epoch)
    return [journal.path.read_bytes()]


def _read_journal(data: bytes, folder: Path) -> None:
    (folder / "journal.jsonl").write_bytes(data)
    Journal(folder / "journal.jsonl", rising=True).read(repair=False)


def _result_seeds(folder: Path) -> list[bytes]:
    return [json.dumps(Result(3, 1, 0.5, 1.5, info={"a": [1]}).to_dict()).encode()]


def _read_result(data: bytes, folder: Path) -> None:
    try:
        given = parse_json(data)
    except ValueError:
        return
    Result.from_dict(given)


ARTIFACT_FILES = ("space.json", "portfolio.json", "features.json", "artifact.json", "performance.safetensors")


def _artifact_seeds(folder: Path) -> list[bytes]:
    return [bytes([i]) + (MICRO / name).read_bytes() for i, name in enumerate(ARTIFACT_FILES[:4])]


def _read_artifact(data: bytes, folder: Path) -> None:
    """The first byte says which file the others are of; `artifact.json` vouches for it."""
    if not data:
        return
    if not (folder / "micro").is_dir():
        shutil.copytree(MICRO, folder / "micro")
    name = ARTIFACT_FILES[data[0] % len(ARTIFACT_FILES)]
    file, facts = folder / "micro" / name, folder / "micro" / "artifact.json"
    with _put_back(file, facts):
        file.write_bytes(data[1:])
        if file != facts:
            told = json.loads(facts.read_bytes())
            told["sha256"][name] = hashlib.sha256(data[1:]).hexdigest()
            facts.write_text(json.dumps(told))
        artifact = read_artifact(folder / "micro")
        artifact.config_manager()
        MetaPerformance.from_tensors(artifact.features, artifact.performance, 1)


def _write_table(folder: Path) -> Path:
    return write_table(folder / "table", small_frames(), source="none").folder


TABLE_FILES = ("configs", "curves", "datasets", "runs")


def _table_seeds(folder: Path) -> list[bytes]:
    table = _write_table(folder)
    return [bytes([i]) + (table / f"{name}.parquet").read_bytes() for i, name in enumerate(TABLE_FILES)]


def _read_table(data: bytes, folder: Path) -> None:
    """The first byte says which file the others are of; the manifest vouches for it."""
    if not data:
        return
    table = folder / "table"
    if not table.is_dir():
        _write_table(folder)
    name = f"{TABLE_FILES[data[0] % 4]}.parquet"
    file, manifest = table / name, table / "manifest.json"
    with _put_back(file, manifest):
        file.write_bytes(data[1:])
        told = json.loads(manifest.read_bytes())
        told["sha256"][name] = hashlib.sha256(data[1:]).hexdigest()
        manifest.write_text(json.dumps(told))
        opened = CurveTable.load(table)
        for dataset in opened.datasets:
            opened.metafeatures(dataset)
            opened.curves(dataset)


RUN_FILES = ("candidates.json", "task.json", "search.json", "end.json", "environment.json", "journal.jsonl")
TASK = {
    **dict.fromkeys(("work_dir", "weights_dir", "best_score", "dataset")),
    "path": "data",
    "class_names": ["a", "b"],
    "val_fraction": 0.2,
    "seed": 0,
    "max_fidelity": 5,
    "models": [],
    "settings": {},
    "image_size": 32,
}


def _write_run(folder: Path) -> Path:
    from qtt.testing import SyntheticSpace

    run = folder / "run"
    run.mkdir(parents=True)
    candidates = SyntheticSpace().sample(3, 0)
    (run / "candidates.json").write_text(json.dumps({"format": 1, **candidates.to_dict()}))
    (run / "task.json").write_text(json.dumps(TASK))
    (run / "search.json").write_text(json.dumps({"task": None, "disk_quota_gb": 1.0, "isolation": "inline"}))
    (run / "end.json").write_text(json.dumps({"reason": "x", "results": 2, "whole": True}))
    (run / "environment.json").write_text(json.dumps({"python": "3", "packages": {"qtt": "0"}}))
    journal = Journal(run / "journal.jsonl")
    for epoch in (1, 2):
        journal.append(Result(1, epoch, 0.5, 1.0), float(epoch))
    return run


def _run_seeds(folder: Path) -> list[bytes]:
    run = _write_run(folder)
    return [bytes([i]) + (run / name).read_bytes() for i, name in enumerate(RUN_FILES)]


def _read_run(data: bytes, folder: Path) -> None:
    """The first byte says which file the others are of."""
    if not data:
        return
    run = folder / "run"
    if not run.is_dir():
        _write_run(folder)
    file = run / RUN_FILES[data[0] % len(RUN_FILES)]
    with _put_back(file):
        file.write_bytes(data[1:])
        record = RunRecord.load(run)
        pipeline_table(record.history, record.candidates)
        cost_table(record)
        kept_table(record)
        record.task_here()


def _hub_seeds(folder: Path) -> list[bytes]:
    card = {"name": "a", "timm_name": "test_resnet", "family": "f", "params": 0.5, "input_size": 64}
    full = card | {"create_kwargs": {"img_size": 64}, "mean": [0.5, 0.5, 0.5], "weights": "a.safetensors"}
    return [yaml.safe_dump({"name": "h", "cards": [one]}).encode() for one in (card, full)]


def _read_hub(data: bytes, folder: Path) -> None:
    (folder / "hub.yaml").write_bytes(data)
    load_hub(str(folder / "hub.yaml"))


def _sidecar_seeds(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted((SHIPPED_WEIGHTS / "tiny").glob("*.json"))[:2]]


def _read_sidecar(data: bytes, folder: Path) -> None:
    weights = folder / "test_resnet.safetensors"
    if not weights.exists():
        shutil.copy(next((SHIPPED_WEIGHTS / "tiny").glob("test_resnet*.safetensors")), weights)
    weights.with_suffix(".json").write_bytes(data)
    file_card(weights)


def _weights_seeds(folder: Path) -> list[bytes]:
    from safetensors.numpy import save

    return [save({"a": np.zeros((2, 3), np.float32), "b": np.ones(1, np.float16)})]


def _read_weights(data: bytes, folder: Path) -> None:
    (folder / "w.safetensors").write_bytes(data)
    tensor_shapes(folder / "w.safetensors")


def _image_seeds(folder: Path) -> list[bytes]:
    image = Image.fromarray(np.arange(16 * 16 * 3, dtype=np.uint8).reshape(16, 16, 3))
    written = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        file = io.BytesIO()
        image.save(file, kind)
        written.append(file.getvalue())
    return written


def _read_image(data: bytes, folder: Path) -> None:
    with open_image(io.BytesIO(data)) as image:
        if image.width * image.height <= 10**6:
            image.convert("RGB").load()


def _value_seeds(folder: Path) -> list[bytes]:
    return [b"10min", b"1.5h", b"20GB", b"20%", b"null", b"1e3", b"0.2"]


def _read_value(data: bytes, folder: Path) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for kind in (BUDGET, Number("bytes", units=bytes_in(1e9)), Number("a share", 0, 1, units=SHARE)):
        try:
            kind.read(text)
        except ValueError as error:
            assert str(error) or kind.expected


def _space_seeds(folder: Path) -> list[bytes]:
    from ConfigSpace import ConfigurationSpace

    from qtt.space.own_space import space_to_dict

    space = ConfigurationSpace({"x": (0.0, 1.0), "n": (1, 5), "c": ["a", "b"]})
    return [yaml.safe_dump(space_to_dict(space)).encode(), json.dumps(space_to_dict(space)).encode()]


def _read_space(data: bytes, folder: Path) -> None:
    (folder / "space.yaml").write_bytes(data)
    read_space(folder / "space.yaml")


TARGETS = (
    Target("journal", _journal_seeds, _read_journal),
    Target("result", _result_seeds, _read_result, (ObjectiveError,)),
    Target("artifact", _artifact_seeds, _read_artifact),
    Target("table", _table_seeds, _read_table),
    Target("run", _run_seeds, _read_run),
    Target("hub", _hub_seeds, _read_hub),
    Target("sidecar", _sidecar_seeds, _read_sidecar),
    Target("weights", _weights_seeds, _read_weights),
    Target("image", _image_seeds, _read_image, UNREADABLE),
    Target("value", _value_seeds, _read_value),
    Target("space", _space_seeds, _read_space),
)
