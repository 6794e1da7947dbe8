"""Which images a version takes: counts, splits, nesting, and what happens to small classes."""

from collections import Counter

import pytest

from qtt.data.subsets import Choice, Names, Version, choose, make_version
from qtt.errors import DatasetError


def _pool(sizes: dict[str, int], split: str = "train") -> Names:
    return {split: {c: tuple(f"{split}/{c}/{i:03d}.png" for i in range(n)) for c, n in sizes.items()}}


def _split_pool(train: int, val: int, test: int, classes: int = 3) -> Names:
    sizes = {"train": train, "val": val, "test": test}
    return {split: _pool(dict.fromkeys("abcdefgh"[:classes], n), split)[split] for split, n in sizes.items()}


def _sizes(choice: Choice) -> Counter[tuple[int, ...]]:
    """How many classes have which number of images in train, val and test."""
    return Counter(
        tuple(len(choice.names[split][name]) for split in ("train", "val", "test")) for name in choice.classes
    )


def _files(choice: Choice) -> list[str]:
    return [file for classes in choice.names.values() for files in classes.values() for file in files]


def test_micro_takes_twenty_classes_and_mini_all_with_forty_images() -> None:
    pool = _pool({f"c{i:02d}": 60 for i in range(30)} | {"few": 39})
    micro, mini = choose(pool, make_version("micro")), choose(pool, make_version("mini"))
    assert _sizes(micro) == {(24, 8, 8): 20}
    assert _sizes(mini) == {(24, 8, 8): 30}
    assert micro.left_out == mini.left_out == {"few": 39}
    assert micro.counts == {"train": 480, "val": 160, "test": 160}
    assert len(set(_files(mini))) == len(_files(mini))
    for split, classes in micro.names.items():
        assert all(mini.names[split][name] == files for name, files in classes.items())


def test_extended_takes_everything_in_sixty_twenty_twenty() -> None:
    pool = _pool({"a": 100, "b": 7, "c": 3, "single": 2})
    choice = choose(pool, make_version("extended"))
    assert _sizes(choice) == {(60, 20, 20): 1, (5, 1, 1): 1, (1, 1, 1): 1}
    assert choice.left_out == {"single": 2}
    assert sorted(f for f in _files(choice)) == sorted(f for c in "abc" for f in pool["train"][c])


def test_the_seed_alone_decides() -> None:
    sizes = {f"c{i:02d}": 50 for i in range(25)}
    pool = _pool(sizes)
    backwards = {"train": {c: pool["train"][c][::-1] for c in reversed(list(sizes))}}
    micro = make_version("micro")
    assert choose(pool, micro, 1).names == choose(backwards, micro, 1).names
    assert choose(pool, micro, 1).classes != choose(pool, micro, 2).classes
    fewer = {"train": {c: files for c, files in pool["train"].items() if c != "c00"}}
    mini = make_version("mini")
    assert choose(fewer, mini).names["val"]["c01"] == choose(pool, mini).names["val"]["c01"]


def test_choice_is_not_the_order_of_the_names() -> None:
    choice = choose(_pool({"a": 400, "b": 400}), make_version("mini"))
    numbers = [int(file.split("/")[-1][:3]) for file in choice.names["train"]["a"]]
    assert max(numbers) > 200 > min(numbers)


def test_splits_of_the_source_are_kept_apart() -> None:
    available = _split_pool(30, 9, 10)
    choice = choose(available, make_version("mini"))
    assert _sizes(choice) == {(24, 8, 8): 3}
    for split, classes in choice.names.items():
        assert all(file.startswith(split) for files in classes.values() for file in files)
    assert choose(available, make_version("extended")).counts == {"train": 90, "val": 27, "test": 30}


@pytest.mark.parametrize(
    ("val", "test", "needs", "extended"),
    [(8, 0, 32, (24, 8, 8)), (0, 8, 32, (24, 8, 8)), (0, 0, 40, (24, 8, 8))],
)
def test_lacking_splits_come_out_of_train(val: int, test: int, needs: int, extended: tuple[int, ...]) -> None:
    mini = make_version("mini")
    for version in (mini, make_version("extended")):
        choice = choose(_split_pool(needs, val, test), version)
        assert _sizes(choice) == {extended: 3}
        assert len(set(_files(choice))) == 3 * 40
    with pytest.raises(DatasetError, match="has 3 classes, 0 of them"):
        choose(_split_pool(needs - 1, val, test), mini)


def test_small_classes_are_taken_where_that_is_allowed() -> None:
    pool = _pool({"a": 40, "b": 20, "c": 10, "d": 3, "e": 2})
    choice = choose(pool, make_version("micro", allow_small=True))
    assert _sizes(choice) == {(24, 8, 8): 1, (12, 4, 4): 1, (6, 2, 2): 1, (1, 1, 1): 1}
    assert choice.left_out == {"e": 2}
    assert choice.notes == (
        "1 of 5 classes have fewer images than 40 in shares of 60/20/20 %: left out.",
        "3 of 5 classes have fewer images than 40 in shares of 60/20/20 %: taken as they are.",
        "'micro' takes 20 classes; there are 4.",
    )
    large = dict.fromkeys(("x", "y"), 40)
    filled = choose(_pool({"a": 39} | large | {"z": 39}), Version("two", 2, 40, allow_small=True))
    assert filled.classes == ("x", "y"), "small ones only fill up"
    small = choose(_split_pool(30, 5, 2), make_version("micro", allow_small=True))
    assert _sizes(small) == {(24, 5, 2): 3}


def test_impossible_wishes_are_refused() -> None:
    with pytest.raises(DatasetError, match="Unknown version 'nano'"):
        make_version("nano")
    with pytest.raises(DatasetError, match="at least two classes; got 1"):
        Version("one", 1, 40)
    with pytest.raises(DatasetError, match="at least 3 images a class; got 2"):
        Version("two", None, 2)
    with pytest.raises(DatasetError, match="no training images"):
        choose({"train": {"a": ()}, "val": {"a": ("x",)}}, make_version("mini"))
    with pytest.raises(DatasetError, match=r"The dataset has 2 classes, 1 of them .* 'b', has 50"):
        choose(_pool({"a": 39, "b": 50}), make_version("mini"))
