"""Running objectives: in a training process that can be killed and replaced, or inline."""

from qtt.evaluation.base import Evaluator, make_evaluator

__all__ = ["Evaluator", "make_evaluator"]
