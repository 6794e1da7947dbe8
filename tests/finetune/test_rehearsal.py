"""What every pipeline needs, tried before the first one: found, or told with what mends it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from images import write_image_folder
from pipelines import PLAIN
from qtt.errors import ConfigError, DatasetError, EnvironmentFault, ModelHubError
from qtt.evaluation.faults import is_of_the_world
from qtt.finetune.cv.classification import objective, rehearsal
from qtt.finetune.cv.classification.metafeatures import describe
from qtt.finetune.cv.classification.script import LIBRARIES, needs, rehearse
from qtt.support import resources
from qtt.tasks import load_task
from qtt.types import Candidates, TaskInfo

MakeTask = Callable[..., TaskInfo]
pytestmark = pytest.mark.usefixtures("cold")


def _candidates(task: TaskInfo, *models: str, **changes: Any) -> Candidates:
    named = models or ("test_vit", "test_resnet", "test_convnext")
    cards = tuple(card for card in task.models if card.name in named)
    return Candidates(tuple(PLAIN | {"model": name} | changes for name in named), cards)


def _facts(task: TaskInfo, candidates: Candidates | None = None) -> list[str]:
    return [said.text for said in rehearse(candidates or _candidates(task), task) if said.fact]


def test_facts_in_order_and_the_images_stay_open(make_task: MakeTask) -> None:
    task = make_task()
    images = sum(file.suffix == ".png" for file in task.path.rglob("*"))
    assert _facts(task) == ["device cpu", f"{images} images"]
    assert len(objective._data._folders) == 1
    assert len(objective._data._splits) == 1
    assert not (task.work_dir or Path()).exists(), "a rehearsal trains nothing"
    assert load_task("image_classification").rehearsal == f"{rehearse.__module__}.{rehearse.__name__}"


def test_weights_are_those_of_the_candidates_alone(make_pretrained_task: MakeTask, tmp_path: Path) -> None:
    task = make_pretrained_task()
    assert _facts(task)[1] == "weights of 3 models"
    few = tmp_path / "few"
    few.mkdir()
    for name in ("test_vit", "test_resnet"):
        shutil.copy(task.weights_dir / f"{name}.safetensors", few)  # type: ignore[operator]
    task = replace(task, weights_dir=few)
    assert _facts(task, _candidates(task, "test_vit", "test_resnet"))[1] == "weights of 2 models"
    assert _facts(task, _candidates(task, "test_vit"))[1] == "weights of 1 model"
    with pytest.raises(ModelHubError, match=r"1 of 3 models cannot be had: test_convnext"):
        _facts(task)
    unpretrained = replace(task, settings={**task.settings, "pretrained": False})
    assert len(_facts(unpretrained)) == 2


def test_a_device_that_is_not_there(make_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EnvironmentFault, match="torch finds no CUDA device"):
        _facts(make_task(settings={"device": "cuda"}))


def test_settings_that_cannot_be_are_a_mistake(make_task: MakeTask) -> None:
    with pytest.raises(ConfigError) as caught:
        _facts(make_task(settings={"num_workers": -1}))
    assert not is_of_the_world(caught.value)


def test_data_that_are_gone_or_unreadable(make_task: MakeTask, tmp_path: Path) -> None:
    path = write_image_folder(tmp_path / "data", {"train": 4, "val": 2})
    task, _, _ = describe(path)
    known = make_task(path=path, class_names=task.class_names, dataset=task.dataset, image_size=32)
    assert _facts(known)[1] == "18 images"
    image = next((path / "train").rglob("*.png"))
    image.rename(tmp_path / "elsewhere.png")
    with pytest.raises(DatasetError, match="has changed"):
        _facts(known)
    (tmp_path / "elsewhere.png").rename(image)
    for file in (path / "train").rglob("*.png"):
        file.write_bytes(b"no image" + file.read_bytes()[8:])
    objective._data = type(objective._data)()
    with pytest.raises(DatasetError, match="cannot be read"):
        _facts(replace(known, dataset=None))


def test_the_smallest_models_are_tried(make_task: MakeTask) -> None:
    task = make_task()
    sizes = dict(zip(("test_vit", "test_resnet", "test_convnext", "test_byobnet"), (4, 1, 3, 2), strict=True))
    cards = tuple(replace(card, params=sizes[card.name]) for card in task.models if card.name in sizes)
    configs = [PLAIN | {"model": name} for name in (*sizes, "test_resnet")]
    trials = rehearsal.smallest(Candidates(tuple(configs), cards))
    assert [(trial.config_id, trial.config["model"]) for trial in trials] == [
        (1, "test_resnet"),
        (3, "test_byobnet"),
        (2, "test_convnext"),
    ]
    assert rehearsal.smallest(Candidates(({"lr": 0.1},))) == []


def test_one_model_that_breaks_is_no_fault_but_all_of_them_are(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, built = make_task(), rehearsal.build_network
    broken: set[str] = set()

    def build(recipe: Any, *rest: Any) -> Any:
        if recipe.model in broken:
            raise RuntimeError("no kernel image is available")
        return built(recipe, *rest)

    monkeypatch.setattr(rehearsal, "build_network", build)
    first = str(rehearsal.smallest(_candidates(task))[0].config["model"])
    broken.add(first)
    assert _facts(task)[-1].endswith("images")
    broken |= {card.name for card in task.models}
    with pytest.raises(EnvironmentFault, match=rf"tried with {first}, .*no kernel image.*qtt\.doctor"):
        _facts(task)


def test_pipelines_that_refuse_are_their_own_failures(make_task: MakeTask) -> None:
    task = make_task()
    assert _facts(task, _candidates(task, opt="nonsense"))[-1].endswith("images")


def test_a_device_without_memory_for_the_smallest(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB.")

    monkeypatch.setattr(rehearsal, "build_network", full)
    with pytest.raises(EnvironmentFault, match="nvidia-smi tells who"):
        _facts(make_task())


def test_decoded_images_need_room_on_disk_or_in_memory(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(settings={"cache_dir": str(tmp_path / "images")})
    monkeypatch.setattr(resources, "free_disk", lambda path: 0)
    assert len(_facts(task)) == 2  # memory has room
    shutil.rmtree(tmp_path / "images")
    objective._data = type(objective._data)()
    monkeypatch.setattr(resources, "memory", lambda: (1000, 1000))
    with pytest.raises(EnvironmentFault, match=r"Decoded images.*cache_dir=DIR.*cache_mb=MB"):
        _facts(task)
    monkeypatch.setattr(resources, "free_disk", lambda path: 10**12)
    assert len(_facts(task)) == 2


def test_a_cache_folder_that_cannot_be_written_is_told(make_task: MakeTask, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    task = make_task(settings={"cache_dir": str(tmp_path / "file" / "images")})
    assert _facts(task)[-1] == f"decoded images in memory ({tmp_path / 'file' / 'images'} cannot take them)"
    in_memory = make_task(settings={"cache_gb": 0})
    assert _facts(in_memory)[-1].endswith(" images")


def test_what_is_needed_follows_the_largest_model(make_task: MakeTask) -> None:
    small, large = (replace(make_task().models[0], name=str(p), params=p) for p in (1.0, 25.0))
    found = needs(Candidates(({"model": "1.0"}, {"model": "25.0"}), (small, large)))
    assert (found.disk, found.memory) == (5 * 10**8, LIBRARIES + 3 * 10**8)
    assert needs(Candidates(({"lr": 1},))).disk == 0
