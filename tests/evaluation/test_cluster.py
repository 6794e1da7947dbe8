"""Workers on a Ray cluster keep the promises of every pool, and outlive the loss of any of them."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import objectives
from pool_contract import TASK, OnePoolContract, SeveralWorkersContract, results, until_free
from qtt.errors import ConfigError, EnvironmentFault
from qtt.evaluation.cluster import connection
from qtt.evaluation.cluster.actor import NodeWorker, plan_for
from qtt.evaluation.cluster.deaths import DEATHS
from qtt.evaluation.cluster.pool import ClusterWorkers, make_cluster_workers
from qtt.evaluation.cluster.settings import Cluster
from qtt.evaluation.pool import Event, Pool
from qtt.types import Objective, Trial

ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'qtt[ray]')")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a cluster of this machine alone, with room for two workers."""
    from ray.cluster_utils import Cluster as LocalCluster

    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_AUTH_MODE", "disabled")
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    patch.setattr(connection, "_knock", lambda address: None)  # tests call no other machine, by whatever name
    started = LocalCluster(True, head_node_args={"num_cpus": 2, "num_gpus": 0, "include_dashboard": False})
    yield started.address
    started.shutdown()
    patch.undo()


@pytest.fixture
def here(address: str) -> Cluster:
    return Cluster(address)


class TestOnACluster(OnePoolContract, SeveralWorkersContract):
    @pytest.fixture(autouse=True)
    def _on(self, here: Cluster) -> None:
        self.cluster = here

    def make(self, objective: Objective, log: Path, count: int) -> Pool:
        return make_cluster_workers(objective, log, self.cluster, count, "cpu")

    def threads(self, workers: Pool) -> list[threading.Thread]:
        assert isinstance(workers, ClusterWorkers)
        return [thread for thread in threading.enumerate() if thread.name.startswith("qtt-seat")]


def pid_in(path: Path) -> int:
    """The process id that an objective leaves there."""
    while not (path.exists() and path.read_text()):
        time.sleep(0.05)
    return int(path.read_text())


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not is_alive(pid)


def test_a_step_whose_worker_dies_is_lost_and_fails_at_the_third_time(
    tmp_path: Path, here: Cluster, capfd: pytest.CaptureFixture[str]
) -> None:
    """First the training process is killed, then the actor, then the training process again."""
    mark = tmp_path / "pid"
    task = replace(TASK, settings={"mark": str(mark)})
    workers = make_cluster_workers(objectives.marking, tmp_path / "search.log", here, 1, "cpu")
    try:
        workers.start()
        for attempt in range(1, DEATHS + 1):
            while not workers.there:
                assert workers.next() is None
            mark.unlink(missing_ok=True)
            workers.submit(0, Trial(0, {}, 1), task, None)
            training = pid_in(mark)
            os.kill(parent(parent(training)) if attempt == 2 else training, signal.SIGKILL)
            events = until_free(workers)
            assert gone_within(training, 10)
            if attempt < DEATHS:
                assert events == [Event(0, None, lost=events[-1].lost)]
                assert ("was lost" if attempt == 2 else "was killed by SIGKILL") in str(events[-1].lost)
        (failed,) = results(events)
        assert not failed.succeeded
        assert "It is the last of 3 in a row that this pipeline ended." in failed.info["reason"]
        assert failed.info["attempt"] == DEATHS
    finally:
        workers.close()
    assert capfd.readouterr() == ("", ""), "Ray talks on the console"


def test_checkpoints_travel_where_no_folder_is_shared(tmp_path: Path, here: Cluster) -> None:
    """The second worker goes on where the first one was, and the head has all that is left."""
    task = replace(TASK, work_dir=tmp_path / "pipelines")
    folder = task.pipeline_dir(0)
    assert folder is not None
    cluster = replace(here, shared=False)
    workers = make_cluster_workers(objectives.continuing, tmp_path / "away" / "log", cluster, 2, "cpu")
    try:
        workers.start()
        while len(workers.there) < 2:
            workers.next()
        found = []
        for worker, epoch in [(0, 1), (1, 2), (1, 3)]:
            workers.submit(worker, Trial(0, {}, epoch), task, None)
            found += results(until_free(workers))
            assert (folder / "last.json").read_text() == str(epoch)
            assert (folder / f"weights-{epoch:04d}.safetensors").read_text() == f"0 {epoch}"
        assert [result.fidelity for result in found] == [1, 1, 2, 1, 2, 3]
        assert workers.moved == (1, 3 * (1 + len("0 1")))
    finally:
        workers.close()
    assert not (tmp_path / "pipelines" / "epochs.log").exists(), "something else was written here"


@pytest.fixture
def connected(here: Cluster) -> Iterator[None]:
    made = connection.Connection(here)
    yield
    made.close()


@pytest.mark.usefixtures("connected")
def test_a_worker_that_hears_nothing_of_the_head_ends_itself(tmp_path: Path) -> None:
    plan = plan_for("objectives:marking", (), tmp_path / "search.log")
    mark = tmp_path / "pid"
    task = replace(TASK, settings={"mark": str(mark)})
    actor = ray.remote(NodeWorker).options(num_cpus=1, max_concurrency=4).remote(plan, 2.0)
    ray.get(actor.begin.remote())
    actor.evaluate.options(num_returns="streaming").remote(Trial(0, {}, 1).to_dict(), task.to_dict(), None)
    training = pid_in(mark)
    assert gone_within(training, 20)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(actor.beat.remote())


@pytest.mark.usefixtures("connected")
def test_what_cannot_be_is_refused_before_anything_begins(tmp_path: Path, here: Cluster) -> None:
    log = tmp_path / "away" / "search.log"
    with pytest.raises(EnvironmentFault, match="does not see the run folder"):
        make_cluster_workers(objectives.good, log, here, 1, "cpu").start()
    with pytest.raises(ConfigError, match=r"No machine .* has 64 CPUs for a worker; they have 2 CPUs"):
        make_cluster_workers(objectives.good, log, replace(here, cpu=64), 1, "cpu")
    with pytest.raises(ConfigError, match=r"has 1 CPU and 0.5 GPU for a worker"):
        make_cluster_workers(objectives.good, log, replace(here, gpu=0.5), 1, "auto")
    with pytest.raises(ConfigError, match="imported by name on other machines"):
        make_cluster_workers(lambda trial, task: [], log, here, 1, "cpu")
    assert len(make_cluster_workers(objectives.good, log, here, None, "auto").places) == 2
