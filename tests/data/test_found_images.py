from pathlib import Path

import pytest

from qtt.data.found_images import find_images, find_labelled
from qtt.errors import DatasetError

CLASSES = ("cat", "dog", "horse")


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_images_are_found_at_any_depth_in_order(tmp_path: Path) -> None:
    wanted = [tmp_path / "a.PNG", tmp_path / "b" / "c" / "d.jpeg", tmp_path / "z.webp"]
    _touch(*wanted, tmp_path / "notes.txt", tmp_path / ".hidden.png", tmp_path / "b" / ".git" / "x.png")
    _touch(tmp_path / "__MACOSX" / "y.jpg")
    assert find_images(tmp_path) == wanted


def test_links_are_followed_once_and_broken_ones_are_listed(tmp_path: Path) -> None:
    _touch(tmp_path / "in" / "a.png", tmp_path / "elsewhere" / "b.png")
    (tmp_path / "in" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "over").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = [path.relative_to(tmp_path / "in").as_posix() for path in find_images(tmp_path / "in")]
    assert found == ["a.png", "gone.png", "over/b.png"]


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no images \(\.jpg, "):
        find_images(tmp_path)


@pytest.mark.parametrize("below", ["", "test"])
def test_labels_are_positions_in_the_searchs_classes(tmp_path: Path, below: str) -> None:
    _touch(tmp_path / below / "horse" / "1.png", tmp_path / below / "cat" / "deep" / "2.png")
    found = find_labelled(tmp_path, CLASSES)
    assert [(path.name, label) for path, label in found.samples] == [("2.png", 0), ("1.png", 2)]
    assert found.missing == ("dog",)
    assert found.ignored == {}


def test_a_class_may_be_called_test(tmp_path: Path) -> None:
    _touch(tmp_path / "test" / "1.png", tmp_path / "train" / "2.png")
    assert len(find_labelled(tmp_path, ("test", "train")).samples) == 2


def test_unknown_classes_are_named_with_close_ones(tmp_path: Path) -> None:
    _touch(tmp_path / "cat" / "1.png", tmp_path / "hose" / "2.png", tmp_path / "zebu" / "3.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError) as caught:
        find_labelled(tmp_path, CLASSES)
    message = str(caught.value)
    assert "'hose' (1 images); did you mean 'horse'?" in message
    assert "\n  'zebu' (1 images)\n" in message
    assert "empty" not in message
    assert "--ignore-unknown" in message
    found = find_labelled(tmp_path, CLASSES, ignore_unknown=True)
    assert found.ignored == {"hose": 1, "zebu": 1}
    assert [label for _, label in found.samples] == [0]


def test_nothing_to_test_on(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="There is no folder"):
        find_labelled(tmp_path / "gone", CLASSES)
    _touch(tmp_path / "1.png")
    with pytest.raises(
        DatasetError, match=r"holds no images of the search's classes in folders of their own\.\nExpected"
    ):
        find_labelled(tmp_path, CLASSES)
    _touch(tmp_path / "zebu" / "1.png")
    with pytest.raises(DatasetError, match="holds no images of the search's classes"):
        find_labelled(tmp_path, CLASSES, ignore_unknown=True)
