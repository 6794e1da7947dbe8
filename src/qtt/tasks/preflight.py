"""What a task says before a search begins: how much room it takes, and whether all is there that it needs.

A task names a *rehearsal*, a function that the training process runs before its first pipeline, so that what
it loads is there for all of them:

```python
def rehearse(candidates: Candidates, task: TaskInfo) -> Iterator[Said]:
    yield Said("opening tables")
    tables = read_tables(task.path)  # DatasetError: the search does not begin
    yield Said(f"{len(tables.train):,} rows", fact=True)
```

What it raises is told to people, and nothing is written into the journal: a `ConfigError` as a mistake of
theirs, everything else as a fault of the world, which may mend.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from qtt.types import Candidates, TaskInfo


@dataclass(frozen=True)
class Needs:
    """What a search takes of a machine at least, in bytes; rough lower bounds.

    disk: below the run folder, for the files of one pipeline. memory: of the training process.
    """

    disk: int = 0
    memory: int = 0


@dataclass(frozen=True)
class Said:
    """A line of a rehearsal: what it is doing, or, as a `fact`, what is in order ("device cpu")."""

    text: str
    fact: bool = False


Rehearsal = Callable[[Candidates, TaskInfo], Iterable[Said]]
"""Tries what the candidates need.

Raises:
    ConfigError: a setting that cannot be.
    EnvironmentFault, DatasetError, ModelHubError, OSError: something is not there; the message says what
        mends it.
"""
