"""What every method is asked, and what it answers: points of accuracy over wall-clock seconds.

A method is a script that is called as

    python METHOD.py --images DIR --hub DIR --seconds S --seed N --work DIR --started T

and writes WORK/points.jsonl, a line a point, while it goes on. Its clock began at T (seconds since 1970),
when its process was started: imports count. Testing does not: the clock stands still meanwhile.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

POINTS = "points.jsonl"
IMAGE_SIZE = 128
"""Side of all methods' images in pixels."""


@dataclass(frozen=True)
class Point:
    """The network that a method would hand out at a moment.

    seconds: of the method's clock. val, test: accuracy, 0 to 1; `val` chose it. what: it is, in words.
    """

    seconds: float
    val: float
    test: float
    what: str


class Clock:
    """Wall-clock seconds since the start of a method, without those of its tests."""

    def __init__(self, started: float) -> None:
        self._started = started

    @property
    def seconds(self) -> float:
        """How many there are by now."""
        return time.time() - self._started

    @contextmanager
    def standing(self) -> Iterator[None]:
        """What happens meanwhile takes no time."""
        begun = time.time()
        yield
        self._started += time.time() - begun


@dataclass(frozen=True)
class Job:
    """One call of a method.

    images: dataset, `{train,val,test}/<class>`. hub: folder of weights. seconds: budget. work: an own folder.
    """

    images: Path
    hub: Path
    seconds: float
    seed: int
    work: Path
    clock: Clock


Method = Callable[[Job], Iterable[Point]]


def parser(description: str | None) -> argparse.ArgumentParser:
    """The arguments of every method; a script may add its own."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("--images", "--hub", "--work"):
        made.add_argument(name, type=Path, required=True)
    made.add_argument("--seconds", type=float, required=True)
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--started", type=float, default=time.time(), help="seconds since 1970")
    return made


def job_of(options: argparse.Namespace) -> Job:
    """The job that a command line describes; its folder is made."""
    options.work.mkdir(parents=True, exist_ok=True)
    clock = Clock(options.started)
    return Job(options.images, options.hub, options.seconds, options.seed, options.work, clock)


def answer(method: Method, job: Job) -> None:
    """Run a method, and write its points as they come."""
    with (job.work / POINTS).open("w", encoding="utf-8") as file:
        for point in method(job):
            file.write(json.dumps(asdict(point)) + "\n")
            file.flush()


def read_points(work: Path) -> list[Point]:
    """The points of a finished or ended call; a last line that was cut off is none."""
    path = work / POINTS
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [Point(**json.loads(line)) for line in lines]


def last_within(points: Iterable[Point], seconds: float) -> Point | None:
    """What a method had when so many seconds were over; None: nothing yet."""
    return max((point for point in points if point.seconds <= seconds), key=_moment, default=None)


def _moment(point: Point) -> float:
    return point.seconds
