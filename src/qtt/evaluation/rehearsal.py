"""Rehearsals of tasks as messages, which travel from the training process to the search."""

import logging
import pkgutil
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from qtt.errors import ConfigError, EnvironmentFault, QTTError
from qtt.evaluation.faults import is_of_the_world
from qtt.evaluation.step import describe
from qtt.tasks.preflight import Rehearsal, Said
from qtt.types import Candidates, TaskInfo

logger = logging.getLogger("qtt")

Message = Mapping[str, Any]
"""JSON-able; one with `broken` or `done` is the last."""


def rehearse(name: str, candidates: Candidates, task: TaskInfo) -> Iterator[Message]:
    """What a rehearsal, given as `package.module.name`, says and how it ends; nothing is raised."""
    try:
        rehearsal: Rehearsal = pkgutil.resolve_name(name)
        for said in rehearsal(candidates, task):
            yield {"said": said.text, "fact": said.fact}
    except Exception as error:
        mistake = isinstance(error, QTTError) and not is_of_the_world(error)
        yield {"broken": describe(error), "mistake": mistake, "details": traceback.format_exc()}
    else:
        yield {"done": True}


def heard(message: Message) -> Said | None:
    """What a message says; None: the rehearsal went well and is over.

    Raises:
        ConfigError: it stumbled over a mistake of the user.
        EnvironmentFault: over anything else.
    """
    if "broken" in message:
        logger.info("The rehearsal broke:\n%s", message["details"])
        raise (ConfigError if message["mistake"] else EnvironmentFault)(message["broken"])
    return Said(message["said"], message["fact"]) if "said" in message else None
