"""Optimizers: who decides what is trained next."""

from qtt.optimizers.asha import ASHAOptimizer
from qtt.optimizers.base import CandidateOptimizer, Optimizer
from qtt.optimizers.random import EpochwiseRandomOptimizer, RandomOptimizer

__all__ = ["ASHAOptimizer", "CandidateOptimizer", "EpochwiseRandomOptimizer", "Optimizer", "RandomOptimizer"]
