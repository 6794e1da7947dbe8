"""Table 1: image sets in the layouts that torchvision reads, and the table of what sweeps found."""

import math
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hydra import compose, initialize_config_dir
from PIL import Image
from scipy.io import savemat
from scipy.stats import t as student
from torchvision import datasets

from qtt.cli.configuration import config_directory
from qtt.data.image_folder import scan_image_folder
from qtt.hub.model_hub import load_hub
from qtt.runs.folder import RunFolder
from qtt.support.files import write_json
from qtt.types import Candidates, Result, Status, TaskInfo
from waiting import LIMIT

SCRIPTS = Path(__file__).parents[2] / "experiments" / "table1"
CONF = Path(config_directory())
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("table1_*.yaml"))
Load = Callable[[str], ModuleType]


def photo(path: Path, shade: int) -> Path:
    """A small JPEG; the same shade gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (shade, 2 * shade % 256, 128)).save(path, "JPEG")
    return path


def write_flowers(root: Path, patch: pytest.MonkeyPatch) -> dict[str, int]:
    """Three classes in three splits; without the published checksums, which are those of the whole."""
    folder = root / "flowers-102"
    for number in range(1, 11):
        photo(folder / "jpg" / f"image_{number:05d}.jpg", number)
    splits = {"trnid": [8, 1, 4], "valid": [2, 5, 9], "tstid": [10, 7, 6, 3]}
    labels = [1, 1, 1, 2, 2, 2, 2, 102, 102, 102]
    savemat(folder / "imagelabels.mat", {"labels": np.array([labels], np.uint8)})
    savemat(folder / "setid.mat", {name: np.array([ids], np.uint16) for name, ids in splits.items()})
    unchecked = {key: (name, None) for key, (name, _) in datasets.Flowers102._file_dict.items()}
    patch.setattr(datasets.Flowers102, "_file_dict", unchecked)
    return {"train": 3, "val": 3, "test": 4}


def write_aircraft(root: Path) -> dict[str, int]:
    """Two variants, one of them with a slash in its name."""
    folder = root / "fgvc-aircraft-2013b" / "data"
    variants = ("Boeing 737-700", "F-16A/B")
    splits = {"train": 4, "val": 2, "test": 2}
    number = 0
    for split, count in splits.items():
        lines = []
        for place in range(count):
            number += 1
            photo(folder / "images" / f"{number:07d}.jpg", number)
            lines.append(f"{number:07d} {variants[place % 2]}")
        (folder / f"images_variant_{split}.txt").write_text("\n".join(lines) + "\n")
    (folder / "variants.txt").write_text("\n".join(variants) + "\n")
    return splits


def write_imagenette(root: Path) -> dict[str, int]:
    for split, count in {"train": 3, "val": 2}.items():
        for place, wnid in enumerate(("n01440764", "n03445777")):
            for number in range(count):
                photo(root / "imagenette2" / split / wnid / f"{wnid}_{number}.JPEG", 10 * place + number)
    return {"train": 6, "test": 4}


def write_cars(root: Path) -> dict[str, int]:
    folder = root / "stanford_cars"
    names = np.array(["Acura RL Sedan 2012", "Ram C/V Cargo Van Minivan 2012"], dtype=object)
    (folder / "devkit").mkdir(parents=True)
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})
    places = {"train": folder / "devkit" / "cars_train_annos.mat"}
    places["test"] = folder / "cars_test_annos_withlabels.mat"
    for split, count in {"train": 4, "test": 2}.items():
        rows = [(f"{number:05d}.jpg", number % 2 + 1) for number in range(count)]
        for name, label in rows:
            photo(folder / f"cars_{split}" / name, 40 * label)
        savemat(
            places[split], {"annotations": np.array(rows, dtype=[("fname", object), ("class", np.uint8)])}
        )
    return {"train": 4, "test": 2}


CLASSES = {
    "flowers": ["001", "002", "102"],
    "aircraft": ["Boeing 737-700", "F-16A-B"],
    "imagenette": ["golf ball", "tench"],
    "cars": ["Acura RL Sedan 2012", "Ram C-V Cargo Van Minivan 2012"],
}


def miniature(load: Load, name: str, root: Path, patch: pytest.MonkeyPatch) -> Any:
    """An image set as `fetch` knows it, but with the counts of its miniature, which is written to `root`."""
    if name == "flowers":
        counts = write_flowers(root, patch)
    else:
        counts = {"aircraft": write_aircraft, "imagenette": write_imagenette, "cars": write_cars}[name](root)
    return replace(load("fetch").SETS[name], counts=counts, classes=len(CLASSES[name]))


@pytest.mark.parametrize("name", CLASSES)
def test_a_published_layout_becomes_an_image_folder(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    images = miniature(load, name, tmp_path / "source", monkeypatch)
    made = load("fetch").fetch(name, images, tmp_path / "out", tmp_path / "source")
    found = scan_image_folder(made, val_fraction=0.5)
    assert list(found.class_names) == CLASSES[name]
    assert len(found.test) == images.counts["test"]
    if "val" in images.counts:
        assert (len(found.train), len(found.val)) == (images.counts["train"], images.counts["val"])
    else:
        assert found.drawn, "the official halves have no validation images"
    files = {path.name: path for path in (tmp_path / "source").rglob("*.[jJ][pP]*")}
    for path in made.rglob("*.[jJ][pP]*"):
        assert path.suffix.lower() in (".jpg", ".jpeg")
        assert path.stat().st_nlink > 1 or path.read_bytes() == files[path.name].read_bytes()
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name], "nothing half-made stays"


def test_flowers_and_aircraft_have_the_official_labels(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = load("fetch")
    for name in ("flowers", "aircraft"):
        images = miniature(load, name, tmp_path, monkeypatch)
        fetch.fetch(name, images, tmp_path / "out", tmp_path)
    placed = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.jpg")}
    assert {p for p in placed if p.startswith("flowers/t")} == {
        *("flowers/train/001/image_00001.jpg", "flowers/train/002/image_00004.jpg"),
        *("flowers/train/102/image_00008.jpg", "flowers/test/001/image_00003.jpg"),
        *("flowers/test/002/image_00006.jpg", "flowers/test/002/image_00007.jpg"),
        "flowers/test/102/image_00010.jpg",
    }
    assert "aircraft/test/F-16A-B/0000008.jpg" in placed
    assert "aircraft/val/Boeing 737-700/0000005.jpg" in placed


def test_published_counts_are_the_known_ones(load: Load) -> None:
    """Of fast.ai; Nilsback and Zisserman 2008; Krause et al. 2013; Maji et al. 2013."""
    sets = load("fetch").SETS
    totals = {name: (sum(images.counts.values()), images.classes) for name, images in sets.items()}
    assert totals == {
        "imagenette": (13_394, 10),
        "flowers": (8_189, 102),
        "cars": (16_185, 196),
        "aircraft": (10_000, 100),
    }


def test_other_counts_than_published_are_an_error(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = load("fetch")
    images = miniature(load, "aircraft", tmp_path, monkeypatch)
    more = replace(images, counts=dict(images.counts) | {"val": 3})
    with pytest.raises(fetch.FetchError, match="val has 2 images of 2 classes; published are 3 of 2"):
        fetch.fetch("aircraft", more, tmp_path / "out", tmp_path)
    assert not (tmp_path / "out" / "aircraft").exists()
    (tmp_path / "fgvc-aircraft-2013b" / "data" / "images" / "0000001.jpg").unlink()
    with pytest.raises(fetch.FetchError, match=r"0000001.jpg cannot be put into .* No such file"):
        fetch.fetch("aircraft", images, tmp_path / "out", tmp_path)
    with pytest.raises(fetch.FetchError, match="is not Oxford Flowers-102 as published: Dataset not found"):
        fetch.fetch("flowers", fetch.SETS["flowers"], tmp_path / "out", tmp_path)


def test_a_folder_that_is_half_made_is_made_anew(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, out = load("fetch"), tmp_path / "out"
    images = miniature(load, "flowers", tmp_path, monkeypatch)
    photo(out / ".flowers.part" / "train" / "055" / "left over.jpg", 1)
    made = fetch.fetch("flowers", images, out, tmp_path)
    assert not (out / ".flowers.part").exists()
    shutil.rmtree(tmp_path / "flowers-102")
    assert fetch.fetch("flowers", images, out, tmp_path) == made, "what is whole is not made again"
    next(made.rglob("*.jpg")).unlink()
    with pytest.raises(fetch.FetchError, match="published are"):
        fetch.fetch("flowers", images, out, tmp_path)


def test_an_interrupted_download_is_not_taken_for_whole(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision takes a folder that is there for whole; archives with checksums it looks at again."""
    fetch, counts = load("fetch"), write_imagenette(tmp_path / "published")
    with tarfile.open(tmp_path / "imagenette2.tgz", "w:gz") as archive:
        archive.add(tmp_path / "published" / "imagenette2", "imagenette2")
    url = (tmp_path / "imagenette2.tgz").as_uri()
    monkeypatch.setattr(datasets.Imagenette, "_ARCHIVES", {"full": (url, None)})
    monkeypatch.setattr(
        "torchvision.datasets.utils._get_redirect_url", lambda url, max_hops: url, raising=False
    )
    images = replace(fetch.SETS["imagenette"], counts=counts, classes=2)
    downloads = tmp_path / "out" / "downloads" / "imagenette"
    photo(downloads / "imagenette2" / "train" / "n01440764" / "half.JPEG", 1)
    (downloads / "imagenette2.tgz").write_bytes((tmp_path / "imagenette2.tgz").read_bytes())
    made = fetch.fetch("imagenette", images, tmp_path / "out")
    assert len(list(made.rglob("*.JPEG"))) == 10
    assert not list(made.rglob("half.JPEG"))
    assert (downloads / "whole").exists()


@pytest.mark.parametrize("name", ["imagenette", "flowers", "aircraft", "cars"])
def test_without_internet_the_command_says_what_to_do(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["fetch.py", name, "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        load("fetch").main()
    message = "no longer offered for download" if name == "cars" else "could not be downloaded from http"
    assert str(stop.value).startswith("Error: ")
    assert message in str(stop.value)
    assert "--source" in str(stop.value)
    assert "Licence of " in capsys.readouterr().out
    assert not (tmp_path / name).exists()


# --- sweeps ---


def overrides(experiment: str) -> list[list[str]]:
    """The overrides of each search of a sweep, as Hydra's sweeper makes them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("run", [f"+experiment={experiment}"], return_hydra_config=True)
    assert str(config.hydra.mode) == "RunMode.MULTIRUN"
    given = [f"{key}={value}" for key, value in config.hydra.sweeper.params.items()]
    return BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(given), None)[0]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_sweep_has_both_optimizers_and_steps_for_every_seed(experiment: str) -> None:
    searches = overrides(experiment)
    small = "small" in experiment
    assert len(searches) == (12 if small else 40)
    assert len({search[0] for search in searches[:4]}) == 1, "the searches of a seed come together"
    asked = {tuple(word.split("=")[1] for word in search) for search in searches}
    quick = "quick_pretrained" if experiment in ("table1_imagenette", "table1_flowers") else "quick_mini"
    seeds = map(str, range(3 if small else 10))
    assert asked == {(seed, step, name) for seed in seeds for step in "12" for name in (quick, "random")}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for search in (searches[0], searches[-1]):
            config = compose("run", [f"+experiment={experiment}", *search])
            assert config.optimizer.get("weights", "none") in ("mtlbm/micro", "mtlbm/mini", "none")
            assert config.optimizer.max_fidelity == (10 if small else 50)


def test_the_papers_budgets_and_figures_are_in_the_experiments_and_the_table(load: Load) -> None:
    for row in load("table1").PAPER:
        text = (CONF / "experiment" / f"table1_{row.dataset}.yaml").read_text(encoding="utf-8")
        config = yaml.safe_load(text)
        assert config["budget"]["seconds"] == row.budget
        assert Path(config["dataset"]["path"]).name == row.dataset
        assert f"{row.quick.split()[0]} % with Quick-Tune, {row.random} % with random search" in text
    for row, name in zip(load("table1").REDUCED, ("imagenette", "cars"), strict=True):
        config = yaml.safe_load((CONF / "experiment" / f"table1_small_{name}.yaml").read_text())
        assert config["budget"]["seconds"] == row.budget


# --- the table ---


def write_search(
    path: Path,
    optimizer: str,
    delta: int,
    seed: int,
    scores: Sequence[float] = (0.5, 0.75),
    test: float | None = 0.7,
    *,
    dataset: str = "flowers",
    budget: float = 3600.0,
    whole: bool = True,
) -> Path:
    """A run folder as a search leaves it: an epoch of a new pipeline every hundred seconds."""
    card = load_hub("tiny").cards[0]
    path.mkdir(parents=True)
    folder = RunFolder(path)
    configs = tuple({"model": card.name, "lr": 0.1**i} for i in range(len(scores) + 1))
    folder.claim(Candidates(configs, (card,)), TaskInfo(path=Path("data") / dataset, class_names=("a", "b")))
    for number, score in enumerate(scores):
        folder.journal.append(Result(number, 1, score, 90.0), 100.0 * (number + 1))
    last = Result(len(scores), 1, math.nan, 5.0, status=Status.TIMEOUT)
    folder.journal.append(last, budget)
    config = {"seed": seed, "optimizer": {"epochs_per_step": delta}, "budget": {"seconds": budget}}
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    write_json(path / "choices.json", {"optimizer": optimizer})
    settings = {"optimizer": "QuickTune", "objective": None, "budget": {"seconds": budget}}
    settings["task"] = "image_classification"
    write_json(path / "search.json", settings)
    write_json(path / "end.json", {"reason": "over", "results": len(scores) + 1, "whole": whole})
    if test is not None:
        (path / "incumbent").mkdir()
        write_json(path / "incumbent" / "test.json", {"test accuracy": test, "test standard error": 0.01})
    return path


def read_back(load: Load, tmp_path: Path, *folders: Path) -> Any:
    """Results with these searches, as the files that were written hold them."""
    table1, files = load("table1"), (tmp_path / "runs.csv", tmp_path / "over_time.csv")
    table1.Results.read(*files).with_searches(list(table1.finished(folders))).write(*files)
    return table1.Results.read(*files)


def test_searches_become_rows_and_means_with_intervals(load: Load, tmp_path: Path) -> None:
    tests = {0: 0.5, 1: 0.6, 2: 0.8}
    for seed, test in tests.items():
        write_search(tmp_path / "s" / f"q{seed}", "quick_pretrained", 1, seed, test=test)
    write_search(tmp_path / "s" / "r0", "random", 1, 0, (0.25,), 0.3)
    results = read_back(load, tmp_path, tmp_path / "s")
    assert results.runs.iloc[0].tolist() == ["flowers", "quick_pretrained", 1, 0, 3600.0, 0.75, 0.5, 2, 2]
    values = 100 * np.array(list(tests.values()))
    half = student.ppf(0.975, 2) * values.std(ddof=1) / math.sqrt(3)
    text = load("table1").table(load("table1").PAPER, results)
    (line,) = [line for line in text.splitlines() if line.startswith("| Oxford")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    expected = f"{values.mean():.1f} [{values.mean() - half:.1f}, {values.mean() + half:.1f}] (3 of 10 seeds)"
    assert cells[1:4] == ["1 h", expected, "not run"]
    assert cells[4:7] == ["30.0 (1 of 10 seeds)", "not run", "+20.0"]
    assert cells[7:] == ["89.1 [84.0, 94.2]", "74.7"]
    assert text.count("not run") == 2 + 3 * 5


def test_incumbents_over_time(load: Load, tmp_path: Path) -> None:
    write_search(tmp_path / "s" / "a", "quick_pretrained", 2, 0, (0.5, 0.25, 0.75))
    write_search(tmp_path / "s" / "b", "quick_pretrained", 2, 1, (0.1,))
    results, row = read_back(load, tmp_path, tmp_path / "s"), load("table1").PAPER[1]
    curves = results.over_time(row, "quick", 2, np.array([0.0, 99.0, 100.0, 250.0, 300.0, 3600.0]))
    assert curves.tolist() == [[0, 0, 0.5, 0.5, 0.75, 0.75], [0, 0, 0.1, 0.1, 0.1, 0.1]]
    figure = load("table1").draw(results)
    assert [axes.get_title() for axes in figure.axes] == ["Oxford Flowers-102, 1 h"]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["quick, Δt = 2 (n = 2)"]


def test_a_search_without_a_network_counts_as_nothing_found(load: Load, tmp_path: Path) -> None:
    write_search(tmp_path / "s" / "a", "random", 1, 0, (), None)
    results = read_back(load, tmp_path, tmp_path / "s")
    assert results.runs["test"].isna().all()
    assert "| 0.0 (1 of 10 seeds) |" in load("table1").table(load("table1").PAPER, results)


def test_unfinished_searches_are_left_out_and_told(
    load: Load, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_search(tmp_path / "s" / "short", "random", 1, 0, whole=False)
    write_search(tmp_path / "s" / "untested", "random", 1, 1, test=None)
    assert list(load("table1").finished([tmp_path / "s"])) == []
    told = capsys.readouterr().out
    assert f"Not finished, left out: {tmp_path / 's' / 'short'}" in told
    assert f"Not tested, left out: {tmp_path / 's' / 'untested'}" in told


def test_a_search_that_is_read_again_is_replaced(load: Load, tmp_path: Path) -> None:
    path = write_search(tmp_path / "s" / "a", "random", 1, 0, test=0.3)
    other = write_search(tmp_path / "o" / "b", "random", 1, 1, test=0.9)
    read_back(load, tmp_path, path, other)
    write_json(path / "incumbent" / "test.json", {"test accuracy": 0.4})
    results = read_back(load, tmp_path, path)
    assert results.runs["test"].tolist() == [0.4, 0.9]
    assert len(results.times) == 4
    assert pd.read_csv(tmp_path / "runs.csv").shape == (2, 9)


def test_other_budgets_are_in_no_cell(load: Load, tmp_path: Path) -> None:
    write_search(tmp_path / "s" / "a", "random", 1, 0, budget=60.0, scores=())
    assert load("table1").drawn(read_back(load, tmp_path, tmp_path / "s")) == []


def test_without_results_the_page_says_so(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table1 = load("table1")
    empty = table1.Results.read(tmp_path / "no.csv", tmp_path / "none.csv")
    monkeypatch.setattr(table1.Results, "read", lambda: empty)
    page = table1.page()
    (text,) = page.texts.values()
    assert "Not run yet: no figure." in text
    assert text.count(" not run |") == 6 * 5
    assert not page.figures


def test_the_readme_shows_what_the_results_say(load: Load) -> None:
    page = load("table1").page()
    assert page.out_of_date() == [], "run experiments/table1/table1.py"
    for path in page.figures:
        assert path.with_suffix(".png").exists()


def test_a_sweep_of_real_searches_resumes_and_becomes_a_table(load: Load, tmp_path: Path) -> None:
    """The experiment itself, with a function in place of the training."""
    from images import write_image_folder

    write_image_folder(tmp_path / "flowers")
    command = [
        *(sys.executable, "-m", "qtt.run", "+experiment=table1_flowers", "dataset.path=flowers"),
        *("objective.function=objectives.good", "model_hub=tiny", "executor=inline", "budget.evaluations=3"),
        *("num_candidates=4", "optimizer.epochs_per_step=1", "seed=0"),
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    said = [
        subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LIMIT)
        for _ in range(2)
    ]
    assert [done.returncode for done in said] == [0, 0], said[0].stderr
    folders = sorted(path.parent for path in (tmp_path / "runs" / "table1_flowers").rglob("journal.jsonl"))
    assert len(folders) == 2
    assert {len((folder / "journal.jsonl").read_text().splitlines()) for folder in folders} == {3}
    for folder in folders:
        (folder / "incumbent").mkdir(exist_ok=True)
        write_json(folder / "incumbent" / "test.json", {"test accuracy": 0.5})
    results = read_back(load, tmp_path, tmp_path / "runs")
    assert results.runs["optimizer"].tolist() == ["quick_pretrained", "random"]
    assert results.runs["epochs"].tolist() == [3, 3]
    assert results.runs["budget"].tolist() == [3600.0, 3600.0]
