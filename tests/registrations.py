"""Registrations of other packages: an empty registry for a test, and a package that adds a term."""

import pytest

from qtt.finetune.cv.classification import loss_terms
from qtt.space import hyperparameters

SPICE = '''
import os

from qtt.finetune.cv.classification import NotApplicable, register_regularizer


class Spice:
    """λ times the mean square of the logits; notes every call in the file that SPICE_LOG names."""

    needs_features = False
    held = ()

    def __init__(self, weight, start):
        if start.recipe.model == "test_vit":
            raise NotApplicable("spice is not for transformers")
        self.weight = weight

    def __call__(self, step):
        penalty = self.weight * step.logits.square().mean()
        if "SPICE_LOG" in os.environ:
            with open(os.environ["SPICE_LOG"], "a") as log:
                log.write(f"{os.getpid()} {self.weight} {float(penalty.detach())}\\n")
        return penalty


SPICE = register_regularizer("spice_reg", (0.0, 0.5, 5.0), Spice)
'''


def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what was registered, and after the test what it registers."""
    monkeypatch.setattr(hyperparameters, "_registered", {})
    monkeypatch.setattr(hyperparameters, "_loaded", set())
    monkeypatch.setattr(loss_terms, "_terms", dict(loss_terms._terms))
