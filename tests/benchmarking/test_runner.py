"""Jobs over processes, and the file that keeps what was replayed."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qtt.benchmarking.policies import Policy
from qtt.benchmarking.runner import Job, Problem, ReplayStore, run_jobs
from qtt.errors import ConfigError
from qtt.testing import METAFEATURES
from qtt.types import Candidates
from recorded import recorded

RANDOM = Policy("random", "qtt.optimizers.random.RandomOptimizer")
ASHA = Policy("asha", "qtt.optimizers.asha.ASHAOptimizer")


def _problem(**changes):
    curves = recorded(**changes)
    return Problem(curves, METAFEATURES, Candidates(curves.configs))


def _jobs():
    return [Job(policy, _problem(), seed, 400.0) for policy in (RANDOM, ASHA) for seed in range(2)]


def _same(first, second):
    return all(
        np.array_equal(getattr(first, n), getattr(second, n)) for n in ("seconds", "scores", "observed")
    )


def test_processes_give_what_this_process_gives_in_whatever_order():
    here = {job.name: result for job, result in run_jobs(_jobs(), processes=1)}
    there = {job.name: result for job, result in run_jobs(_jobs(), processes=2)}
    assert set(here) == set(there) == {(p, "A", s) for p in ("random", "asha") for s in (0, 1)}
    assert all(_same(here[name], there[name]) for name in here)


def test_an_error_of_a_policy_comes_out_of_its_process():
    broken = Job(Policy("mine", "qtt.optimizers.asha.Missing"), _problem(), 0, 400.0)
    with pytest.raises(ConfigError, match="mine"):
        list(run_jobs([broken, *_jobs()], processes=2))


def test_a_job_is_known_by_all_that_changes_its_result():
    job = _jobs()[0]
    assert job.key == _jobs()[0].key
    others = [
        replace(job, seed=1),
        replace(job, limit=401.0),
        replace(job, policy=ASHA),
        replace(job, policy=replace(RANDOM, settings={"epochs_per_step": 2})),
        replace(job, problem=_problem(seed=1)),
        replace(job, problem=_problem(epochs=11)),
        replace(job, problem=replace(job.problem, metafeatures=replace(METAFEATURES, num_classes=11))),
    ]
    assert len({other.key for other in [job, *others]}) == 1 + len(others)


def test_what_was_replayed_is_kept_and_a_torn_line_is_dropped(tmp_path):
    store = ReplayStore(tmp_path / "replays.jsonl")
    assert store.read() == {}
    first, second = _jobs()[:2]
    store.append(first, first.run())
    with store.path.open("a") as file:
        file.write('{"key": "torn')
    assert _same(store.read()[first.key], first.run())
    store.append(second, second.run())
    assert set(store.read()) == {first.key, second.key}
    store.path.write_text("nonsense\n" + store.path.read_text())
    with pytest.raises(ConfigError, match="Line 1"):
        store.read()


SCRIPT = """
import sys
print("the script runs")
sys.path[:] = {path!r}
from test_runner import _jobs
from qtt.benchmarking.runner import run_jobs
print(len(list(run_jobs(_jobs(), processes=2))), "jobs")
"""


def test_a_script_that_protects_nothing_runs_once(tmp_path):
    path = [str(Path(__file__).parent), *sys.path]
    (tmp_path / "script.py").write_text(SCRIPT.format(path=path))
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["the script runs", "4 jobs"], done.stderr
