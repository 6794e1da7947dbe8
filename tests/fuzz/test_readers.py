"""Every reader, given seeds with a few bytes or words changed, and all that campaigns found."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz_targets import TARGETS, Target, found

WORDS = (
    b"null",
    b"-1",
    b"1e999",
    b'""',
    b"[]",
    b"{}",
    b"true",
    b"\xff",
    b"\x00",
    b"9" * 30,
    b"NaN",
    b"[" * 80,
)
CHANGES = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(WORDS) | st.binary(max_size=4)), max_size=4
)


def changed(seed: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """The seed with other bytes in some places: (where, how many of its own go, what comes)."""
    for where, length, given_ in changes:
        place = int(where * len(seed))
        seed = seed[:place] + given_ + seed[place + length :]
    return seed


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_seeds_are_read(target: Target, tmp_path: Path) -> None:
    (tmp_path / "seeds").mkdir()
    for seed in target.seeds(tmp_path / "seeds"):
        assert target.check(seed, tmp_path)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_what_campaigns_found_is_refused_or_read(target: Target, tmp_path: Path) -> None:
    for data in found(target.name):
        target.check(data, tmp_path)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_any_bytes_are_read_or_refused(target: Target, tmp_path: Path) -> None:
    (tmp_path / "seeds").mkdir()
    seeds = target.seeds(tmp_path / "seeds")

    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(range(len(seeds))), CHANGES)
    def check(number: int, changes: list[tuple[float, int, bytes]]) -> None:
        target.check(changed(seeds[number], changes), tmp_path)

    check()
