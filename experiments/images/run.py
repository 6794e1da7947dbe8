"""Does the search win on real images, with real weights, in minutes? One method after another on one core.

    python experiments/images/run.py --shared ../shared/data --out DIR
    python experiments/images/run.py … --only set=dtd,trashnet method=qtt,probe budget=60 seed=0
    python experiments/images/run.py … --core 1        # a second process on the same results
    python experiments/images/summary.py DIR/results.csv --plot DIR/results.png

Every run is a row of DIR/results.csv once it is finished, and is not repeated. README.md has the protocol.
"""

import argparse
import logging
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from environments import NotInstalledError
from filelock import FileLock, Timeout
from methods import CHECKOUT, HERE, METHODS, Call, Places
from points import read_points
from results import NO_BUDGET, NO_SEED, SETS, Key, Run, append_run, finished

from hub import make_hub

LOG = logging.getLogger("images")
AXES = ("set", "method", "budget", "seed")
LONG_SETS = ("dtd", "gtsrb43")
BUDGETS, LONG_BUDGET = (60.0, 300.0), 900.0
SEEDS = (0, 1)
LATEST = 1800.0
"""Seconds beyond its budget after which a run counts as hung."""
PATIENCE = 20.0
"""Seconds that an interrupted run has to end by itself."""
LINES = 3
"""Of a log, that say why a run has failed."""


@dataclass(frozen=True)
class Bench:
    """Where everything is."""

    images: Path
    out: Path
    places: Places

    @property
    def results(self) -> Path:
        """The rows."""
        return self.out / "results.csv"

    def run(self, key: Key) -> Run:
        """One run, failed ones included; its files are removed unless it has failed."""
        work = self.out / "work" / str(key)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        log = self.out / "logs" / f"{key}.log"
        begun = time.monotonic()
        note = self._call(key, work, log)
        points = tuple(read_points(work))
        if not note:
            shutil.rmtree(work)
        classes = sum(path.is_dir() for path in (self.images / key.set / "train").iterdir())
        return Run(key, classes, time.monotonic() - begun, note, points)

    def _call(self, key: Key, work: Path, log: Path) -> str:
        """Why the method has failed; empty: it has not."""
        try:
            call = self.call_of(key)
        except (NotInstalledError, ValueError) as error:
            return f"not run: {error}"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w", encoding="utf-8") as file:
            status = watched(self._command(call, key, work), _environment(call), file.fileno(), key.budget)
        return "" if status == 0 else f"status {status}: {_last_words(log)}"

    def call_of(self, key: Key) -> Call:
        """How the method of a run is started.

        Raises:
            NotInstalledError: its environment cannot be made.
            ValueError: a place that it needs was not named.
        """
        return METHODS[key.method].call(self.places)

    def _command(self, call: Call, key: Key, work: Path) -> list[str]:
        return [
            *(str(call.python), str(call.script), "--images", str(self.images / key.set)),
            *("--hub", str(self.places.hub), "--work", str(work), "--seed", str(key.seed)),
            *("--seconds", f"{key.budget:g}", "--started", f"{time.time():.3f}"),
            *call.arguments,
        ]


def watched(command: Sequence[str], environment: Mapping[str, str], log: int, budget: float) -> int:
    """Exit status of a command in a group of processes of its own, which ends with us.

    Raises:
        KeyboardInterrupt: as it came; all processes of the group have ended.
    """
    process = subprocess.Popen(
        command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        return process.wait(timeout=budget + LATEST)
    except subprocess.TimeoutExpired:
        return 124
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it has started: kindly, then at once."""
    for number, patience in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, 1.0)):
        try:
            os.killpg(process.pid, number)
            for _ in range(round(10 * patience)):
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.1)
        except ProcessLookupError:
            return


def _environment(call: Call) -> dict[str, str]:
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    offline = {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    paths = [str(HERE), *([] if call.source is None else [str(call.source / "src")])]
    return {**os.environ, **dict.fromkeys(threads, "1"), **offline, "PYTHONPATH": os.pathsep.join(paths)}


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return " / ".join(line.strip() for line in lines[-LINES:])


def grid(axes: Mapping[str, Sequence[str]]) -> Iterator[Key]:
    """The runs of these values, short ones first, all sets and methods of a seed before the next seed."""
    values = product(map(float, axes["budget"]), map(int, axes["seed"]), axes["set"], axes["method"])
    seen = set()
    for budget, seed, name, method in values:
        timeless = METHODS[method].timeless
        key = Key(name, method, NO_BUDGET, NO_SEED) if timeless else Key(name, method, budget, seed)
        if key not in seen:
            seen.add(key)
            yield key


def axes_of(options: argparse.Namespace) -> dict[str, Sequence[str]]:
    """The values of every axis: those of the command line, else the defaults."""
    methods = [name for name, method in METHODS.items() if method.long or not options.long]
    if options.old_source is None and "old" in methods:
        methods.remove("old")
    defaults: dict[str, Sequence[str]] = {
        "set": LONG_SETS if options.long else SETS,
        "method": methods,
        "budget": [str(LONG_BUDGET)] if options.long else [str(budget) for budget in BUDGETS],
        "seed": [str(seed) for seed in SEEDS],
    }
    return defaults | dict(options.only)


def run_missing(bench: Bench, keys: Sequence[Key], *, retry: bool) -> None:
    """Run what the results lack, unless another process is at it."""
    claims = bench.out / "claims"
    claims.mkdir(parents=True, exist_ok=True)
    for number, key in enumerate(keys, start=1):
        with suppress(Timeout), FileLock(claims / f"{key}.lock", blocking=False):
            if key in finished(bench.results, failed=not retry):
                continue
            LOG.info("%d of %d: %s …", number, len(keys), key)
            run = bench.run(key)
            append_run(bench.results, run)
            LOG.info("  %s", said(run))


def said(run: Run) -> str:
    """A run in a line."""
    if run.note:
        return run.note
    if not run.points:
        return f"{run.seconds:.0f} s, no network"
    last = run.points[-1]
    return f"{run.seconds:.0f} s, test accuracy {last.test:.3f} after {last.seconds:.0f} s: {last.what}"


def _axis(text: str) -> tuple[str, list[str]]:
    """`set=dtd,trashnet` as an axis and its values."""
    name, _, listed = text.partition("=")
    values = listed.split(",")
    strangers = name == "method" and not METHODS.keys() >= set(values)
    numbers = name in ("budget", "seed") and not all(map(str.isdecimal, values))
    if name not in AXES or not listed or strangers or numbers:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no AXIS=VALUE[,VALUE…]: set, method ({', '.join(METHODS)}), budget or seed"
        )
    return name, values


def _arguments() -> argparse.Namespace:
    shared = Path(os.environ.get("QTT_SHARED_DATA", "../shared/data"))
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--shared", type=Path, default=shared, help="folder with images/ and weights/")
    made.add_argument("--out", type=Path, default=Path("runs/images"), help="folder of results and logs")
    made.add_argument("--source", type=Path, default=CHECKOUT, help="checkout of the qtt to be measured")
    made.add_argument("--old-source", type=Path, help="checkout of another one, the method 'old'")
    made.add_argument("--only", nargs="+", type=_axis, default=[], metavar="AXIS=VALUE[,VALUE…]")
    made.add_argument("--long", action="store_true", help="900 s of a few methods on two sets instead")
    made.add_argument("--core", type=int, default=0, help="the one core that everything runs on")
    made.add_argument("--retry", action="store_true", help="run failed ones again")
    made.add_argument("--dry-run", action="store_true", help="only list what is missing")
    return made.parse_args()


def main() -> int:
    """Run what is missing; 130 after an interrupt."""
    options = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.core})
    out = options.out.resolve()
    old = None if options.old_source is None else options.old_source.resolve()
    places = Places(out / "hub", out / "environments", options.source.resolve(), old)
    bench = Bench((options.shared / "images").resolve(), out, places)
    return carry_out(bench, list(grid(axes_of(options))), options)


def carry_out(bench: Bench, keys: Sequence[Key], options: argparse.Namespace) -> int:
    """Run what is missing of `keys`, as the command line (`shared`, `retry`, `dry_run`) says; exit status."""
    absent = sorted({key.set for key in keys if not (bench.images / key.set / "train").is_dir()})
    if absent:
        LOG.error("%s has no %s; correct --shared or --only set=…", bench.images, ", ".join(absent))
        return 2
    missing = [key for key in keys if key not in finished(bench.results, failed=not options.retry)]
    seconds = sum(key.budget for key in missing)
    LOG.info("%d of %d runs are missing, budgets of %.1f hours", len(missing), len(keys), seconds / 3600)
    if options.dry_run:
        LOG.info("%s", "\n".join(map(str, missing)))
        return 0
    try:
        bench.out.mkdir(parents=True, exist_ok=True)
        with FileLock(bench.out / "hub.lock"):
            make_hub(options.shared / "weights", bench.places.hub)
        run_missing(bench, keys, retry=options.retry)
    except KeyboardInterrupt:
        LOG.info("Interrupted. The same command goes on.")
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
