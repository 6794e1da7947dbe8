"""Every block of code of the documentation: understood in every run of the tests, and run, word for word."""

import re
import shutil
from pathlib import Path

import pytest

from guides import ROOT, Block, blocks, run, understand
from images import write_image_folder
from qtt.runs.record import RunRecord
from waiting import LIMIT

DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md")}
BLOCKS = [block for page, text in PAGES.items() for block in blocks(text, page)]
NEEDS = re.compile(r"^<!-- needs: (\S+) -->", re.MULTILINE)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages take for granted: some images, and the meta-dataset of a checkout."""
    folder = tmp_path_factory.mktemp("pages")
    write_image_folder(folder / "path" / "to" / "dataset", {"train": 12, "val": 6, "test": 6}, side=40)
    shutil.copytree(folder / "path" / "to" / "dataset" / "test", folder / "path" / "to" / "images")
    for number, name in enumerate(("beans", "leaves", "shells", "signs")):
        write_image_folder(folder / "path" / "to" / "datasets" / name, seed=number)
    (folder / "meta_dataset").symlink_to(ROOT / "meta_dataset")
    return folder


@pytest.fixture
def place(page: str, scratch: Path, kept_run: Path, tmp_path: Path) -> Path:
    """A folder of its own for a page, with the finished search that it needs."""
    shutil.copytree(scratch, tmp_path, symlinks=True, dirs_exist_ok=True)
    for path in NEEDS.findall(PAGES[page]):
        shutil.copytree(kept_run, tmp_path / path)
    return tmp_path


def parameters(slow: bool) -> list[object]:
    """Pages with the blocks that run in these tests; a page with slow ones runs whole with the slow tests."""
    found: list[object] = []
    for page in PAGES:
        mine = [block for block in BLOCKS if block.page == page and block.runs and (slow or not block.slow)]
        if slow and not any(block.slow for block in mine):
            continue
        if mine:
            found.append(pytest.param(page, mine, id=page))
    return found


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_blocks_are_understood(block: Block) -> None:
    understand(block)


@pytest.mark.parametrize(("page", "mine"), parameters(slow=False))
def test_blocks_run_as_printed(page: str, mine: list[Block], place: Path) -> None:
    for block in mine:
        run(block, place)


@pytest.mark.slow
@pytest.mark.timeout(4 * LIMIT)
@pytest.mark.parametrize(("page", "mine"), parameters(slow=True))
def test_slow_pages_run_as_printed(page: str, mine: list[Block], place: Path) -> None:
    for block in mine:
        run(block, place)


def test_most_blocks_run() -> None:
    code = [block for block in BLOCKS if block.language in ("sh", "python")]
    assert len(code) > 40
    assert sum(block.runs for block in code) / len(code) > 0.75
    assert any(not block.slow for block in code if block.runs)


def test_fences_are_all_found() -> None:
    for page, text in PAGES.items():
        fences = len(re.findall(r"^```", text, re.MULTILINE))
        assert fences == 2 * len(blocks(text, page)), page


def test_needed_searches_are_those_of_the_fixture(kept_run: Path) -> None:
    assert RunRecord.load(kept_run).kept()
    assert any(NEEDS.search(text) for text in PAGES.values())
