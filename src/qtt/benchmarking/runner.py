"""All replays of a benchmark: over processes, one line of `replays.jsonl` each, none run twice."""

import hashlib
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

import qtt
from qtt.benchmarking.policies import Policy
from qtt.benchmarking.replay import Replay, replay
from qtt.benchmarking.searches import Name
from qtt.errors import ConfigError, QTTError
from qtt.support.files import parse_json
from qtt.types import Candidates, MetaFeatures

if TYPE_CHECKING:
    from qtt.curves.table import DatasetCurves


@dataclass(frozen=True)
class Problem:
    """One dataset to search: its recorded curves, and what optimizers are set up with."""

    curves: "DatasetCurves"
    metafeatures: MetaFeatures
    candidates: Candidates

    @property
    def extremes(self) -> tuple[float, float]:
        """Best and worst score over all epochs of all candidates."""
        return float(np.nanmax(self.curves.scores)), float(np.nanmin(self.curves.scores))

    @cached_property
    def digest(self) -> str:
        """Changes with anything that a search could see."""
        curves = self.curves
        digest = hashlib.sha256(curves.scores.tobytes() + curves.seconds.tobytes())
        cards = [card.to_dict() for card in self.candidates.models]
        configs = [dict(config) for config in self.candidates.configs]
        digest.update(json.dumps([asdict(self.metafeatures), cards, configs], default=str).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Job:
    """One replay to run: a policy on a dataset with a seed, until `limit` simulated seconds.

    workers: pipelines that are trained at once.
    """

    policy: Policy
    problem: Problem
    seed: int
    limit: float
    workers: int = 1

    @property
    def label(self) -> str:
        """What tables call it: the policy, and how many workers it has where it has several."""
        return labelled(self.policy.name, self.workers)

    @property
    def name(self) -> Name:
        """Label, dataset, seed."""
        return self.label, self.problem.curves.dataset, self.seed

    @property
    def key(self) -> str:
        """Equal for jobs that must have equal results, as long as the optimizer's code is the same."""
        policy = [asdict(self.policy), self.policy.artifacts]
        identity = [qtt.__version__, policy, self.problem.digest, self.seed, self.limit]
        identity += [self.workers] if self.workers > 1 else []
        return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:20]

    def run(self) -> Replay:
        """Replay, in whatever process this is.

        Raises:
            ConfigError: the policy cannot be built, or breaks the optimizer's contract.
        """
        optimizer = self.policy.make(self.seed, self.problem.curves.scores.shape[1])
        optimizer.setup(self.problem.candidates, self.problem.metafeatures)
        return replay(optimizer, self.problem.curves, self.limit, self.workers)


def labelled(policy: str, workers: int) -> str:
    """A policy with so many workers."""
    return policy if workers == 1 else f"{policy} × {workers}"


class ReplayStore:
    """Finished replays in an append-only file.

    A torn last line, left by a crash, is dropped; of two lines for one job the later counts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Replay]:
        """All replays by the key of their job.

        Raises:
            ConfigError: a line before the last cannot be read.
        """
        if not self.path.exists():
            return {}
        data = self.path.read_bytes()
        whole, _, torn = data.rpartition(b"\n")
        if torn:
            os.truncate(self.path, len(data) - len(torn))
        found = {}
        for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
            try:
                entry = parse_json(line, nan=True)
                found[entry["key"]] = Replay.from_dict(entry)
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(
                    f"Line {number} of {self.path} is damaged ({error}). Remove that line, or the file, "
                    "to replay again what it held."
                ) from error
        return found

    def append(self, job: Job, result: Replay) -> None:
        """Write one replay."""
        line = json.dumps({"key": job.key, "job": job.name, **result.to_dict()})
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def run_jobs(jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, Replay]]:
    """Run all jobs and yield each as it finishes; with one process in this one and in order.

    Raises:
        QTTError: a process died.
        Exception: whatever a policy raised. Either way, and when the caller stops, the others are ended.
    """
    if processes <= 1 or len(jobs) <= 1:
        yield from ((job, job.run()) for job in jobs)
        return
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(
        min(processes, len(jobs)), multiprocessing.get_context("spawn"), _ignore_interrupts
    )
    try:
        with _single_threaded(), _without_main():
            futures = {executor.submit(Job.run, job): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BaseException as error:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            message = "A process of the benchmark died, perhaps for lack of memory. Try processes=1."
            raise QTTError(message) from error
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the parent, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _without_main() -> Iterator[None]:
    """Processes started meanwhile do not import the script that started this one.

    They need nothing of it, for policies are named; and a script that does not protect its lines by
    `if __name__ == "__main__"` would run once more in each.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Processes started meanwhile use one thread each for linear algebra."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
