"""All faults: name, what is injected and checked, how many of them make a full run."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from faults import places, signals
from faults.budgets import Budgets
from faults.damage import Damage
from faults.misdeeds import Misdeeds
from faults.objectives import APART, DEEDS
from faults.real import Real
from faults.signals import Signals


class Injection(Protocol):
    """How to inject a fault, and what must hold after it."""

    def inject(self, folder: Path, draw: random.Random) -> int:
        """Inject into a search of its own in `folder`; how many faults that were.

        Raises:
            Broken: what must hold does not.
        """
        ...


@dataclass(frozen=True)
class Fault:
    """A kind of fault; count: injections of a full run; quick: one of them takes a second or two."""

    name: str
    injection: Injection
    count: int
    quick: bool = False

    def missing(self) -> str:
        """What this machine lacks for it; empty: nothing."""
        return str(getattr(self.injection, "missing", lambda: "")())


CATALOGUE = (
    Fault("kill -9", Signals(signals.kill), 180, quick=True),
    Fault("SIGTERM", Signals(signals.terminate), 100, quick=True),
    Fault("Ctrl-C", Signals(signals.interrupt), 120, quick=True),
    Fault("Ctrl-C twice", Signals(signals.interrupt_twice), 100, quick=True),
    Fault("STOP and CONT", Signals(signals.stop_and_continue), 60, quick=True),
    Fault("kill -9, training process", Signals(signals.kill, "process"), 30),
    Fault("Ctrl-C twice, training process", Signals(signals.interrupt_twice, "process"), 30),
    Fault("STOP and CONT of a training process", Signals(signals.stop_and_continue, "process"), 15),
    Fault("kill -9 of a training process", Signals(signals.kill_training, "process", same=False), 45),
    Fault("kill -9 of a keeper", Signals(signals.kill_keeper, "process", same=False), 15),
    Fault("disk full", places.Full(), 60, quick=True),
    Fault("read-only folder", places.ReadOnly(), 15, quick=True),
    Fault("torn journal", places.TornJournal(), 60, quick=True),
    Fault("clock jumps", places.Jumps(), 15, quick=True),
    Fault("misdeeds of an objective", Misdeeds(tuple(deed for deed in DEEDS if deed not in APART)), 150),
    *(Fault(f"an objective {deed}", Misdeeds((deed,)), 4 if deed == "hangs" else 12) for deed in APART),
    Fault("budgets, inline", Budgets("inline"), 25),
    Fault("budgets, process", Budgets("process"), 25),
    Fault("images, kill -9", Real(signals.kill), 2),
    Fault("images, SIGTERM", Real(signals.terminate), 1),
    Fault("images, Ctrl-C twice", Real(signals.interrupt_twice), 2),
    Fault("images, STOP and CONT", Real(signals.stop_and_continue), 1),
    Fault("images, kill -9 of the training process", Real(signals.kill_training, same=False), 2),
    Fault("files torn", Damage("torn"), 100),
    Fault("files flipped", Damage("flipped"), 150),
)
