"""Files of a pipeline arrive whole, once, and nowhere else."""

from pathlib import Path

import pytest

from qtt.errors import ObjectiveError
from qtt.evaluation.cluster.luggage import Parcel, Traffic, pack, replace_all, state, unpack


@pytest.fixture
def worker(tmp_path: Path) -> Path:
    """A pipeline's folder on a worker, after its first epoch."""
    folder = tmp_path / "worker" / "0007"
    (folder / "parts").mkdir(parents=True)
    (folder / "last.ckpt").write_bytes(b"one")
    (folder / "parts" / "a").write_bytes(b"a")
    (folder / "weights-0001.safetensors").write_bytes(b"weights")
    (folder / ".last.ckpt.tmp").write_bytes(b"unfinished")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_changed_arrives_and_what_went_goes(worker: Path, tmp_path: Path) -> None:
    head = tmp_path / "head" / "0007"
    first, known = pack(worker, {}, weights=True)
    unpack(first, head, {})
    whole = {"last.ckpt": b"one", "parts/a": b"a"}
    assert contents(head) == whole | {"weights-0001.safetensors": b"weights"}
    assert not list(worker.glob("weights-*")), "those are the head's"
    assert first.size == len(b"one" + b"a" + b"weights")

    (head / "weights-0001.safetensors").unlink()  # the incumbent's
    before = state(head)
    (worker / "last.ckpt").write_bytes(b"the second")
    (worker / "parts" / "a").unlink()
    second, _ = pack(worker, known, weights=True)
    assert second.contents == {"last.ckpt": b"the second"}
    unpack(second, head, before)
    assert contents(head) == {"last.ckpt": b"the second"}


def test_a_worker_has_the_files_of_one_pipeline(worker: Path, tmp_path: Path) -> None:
    head = tmp_path / "head" / "0008"
    head.mkdir(parents=True)
    (head / "last.ckpt").write_bytes(b"eight")
    (head / "weights-0003.safetensors").write_bytes(b"not taken yet")
    parcel, _ = pack(head, {}, weights=False)
    there = worker.with_name("0008")
    known = replace_all(parcel, there)
    assert contents(worker.parent) == {"0008/last.ckpt": b"eight"}
    assert pack(there, known, weights=True)[0].contents == {}
    assert (head / "weights-0003.safetensors").exists()


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert state(None) == state(tmp_path / "none") == {}
    assert pack(tmp_path / "none", {}, weights=False)[0] == Parcel({}, ())


@pytest.mark.parametrize("name", ["../other/last.ckpt", "a/../../x", "/x"])
def test_no_file_leads_out_of_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ObjectiveError, match="not in the pipeline's folder"):
        unpack(Parcel({name: b"x"}, (name,)), tmp_path / "0001", {})
    assert not list(tmp_path.rglob("x"))


def test_bytes_are_counted() -> None:
    traffic = Traffic()
    traffic.count(there=3)
    traffic.count(back=4)
    traffic.count(there=1)
    assert (traffic.there, traffic.back) == (4, 4)
