"""Run folders as searches leave them, written without a search."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from images import CLASSES, write_image_folder
from qtt.hub.model_hub import load_hub
from qtt.reporting.run_view import RunView
from qtt.runs.folder import RunFolder
from qtt.runs.kept_models import INCUMBENT, KeptModel
from qtt.support.files import write_json
from qtt.types import Candidates, Result, TaskInfo

HUB = load_hub("tiny")
MODELS = HUB.names[:2]
CONFIGS = tuple({"model": MODELS[i % 2], "lr": 0.1**i, "opt": "sgd" if i < 2 else "adam"} for i in range(4))

WriteRun = Callable[..., RunView]


def _write_run(
    path: Path,
    results: Sequence[tuple[float, Result]],
    *,
    configs: Sequence[Mapping[str, Any]] = CONFIGS,
    dataset: Path = Path("data/leaves"),
    classes: Sequence[str] = CLASSES,
    config: Mapping[str, Any] | None = None,
    budget: Mapping[str, Any] | None = None,
) -> RunView:
    """results: with the seconds of the budget at which they came."""
    path.mkdir(parents=True)
    named = {c.get("model") for c in configs}
    models = tuple(card for card in HUB if card.name in named)
    folder = RunFolder(path)
    folder.claim(Candidates(tuple(configs), models), TaskInfo(path=dataset, class_names=tuple(classes)))
    for elapsed, result in results:
        folder.journal.append(result, elapsed)
    if config is not None:
        (path / "config.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False))
    settings = {"optimizer": "QuickTune", "objective": None, "budget": budget or {"seconds": 60.0}}
    write_json(path / "search.json", settings)
    return RunView.load(path)


@pytest.fixture
def write_run() -> WriteRun:
    return _write_run


@pytest.fixture
def results() -> list[tuple[float, Result]]:
    """Three pipelines with scores, two of them failing later or at once, one step that was cut off."""
    nan = float("nan")
    return [
        (5.0, Result(0, 1, 0.5, 4.0)),
        (8.0, Result(1, 1, 0.4, 2.0)),
        (9.0, Result(3, 1, nan, 0.5, status="failed", info={"reason": "CUDA out of memory"})),  # type: ignore[arg-type]
        (12.0, Result(0, 2, 0.8, 3.0)),
        (15.0, Result(2, 1, 0.7, 2.0)),
        (17.0, Result(1, 2, nan, 1.5, status="failed", info={"reason": "loss is NaN"})),  # type: ignore[arg-type]
        (60.0, Result(0, 3, nan, 40.0, status="timeout")),  # type: ignore[arg-type]
    ]


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset of images."""
    return write_image_folder(tmp_path_factory.mktemp("photos") / "photos", {"train": 4, "val": 5})


def _keep_network(run: Path, score: float, classes: Sequence[str] = CLASSES, config_id: int = 0) -> KeptModel:
    """Put a network that never learned into a run folder as its incumbent."""
    from safetensors.torch import save_file
    from torch import manual_seed

    from qtt.hub.weights import create_model

    card = HUB[MODELS[config_id % 2]]
    kept = KeptModel(run / INCUMBENT, config_id, 2, score, CONFIGS[config_id], card, tuple(classes))
    kept.folder.mkdir(parents=True)
    manual_seed(0)
    save_file(dict(create_model(card, len(classes), pretrained=False).state_dict()), kept.weights)
    kept.write()
    return kept


@pytest.fixture
def keep_network() -> Callable[..., KeptModel]:
    return _keep_network
