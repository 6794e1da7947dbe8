"""A small finished search that really trained, with several kept networks."""

from dataclasses import replace
from pathlib import Path

from images import CLASSES
from models import make_card
from qtt.finetune.cv.classification import finetune_script
from qtt.optimizers.random import EpochwiseRandomOptimizer
from qtt.search.tuner import QuickTuner
from qtt.types import Candidates, TaskInfo

SIDE = 48
"""Not that of the cards."""

PLAIN = {"opt": "adamw", "lr": 3e-3, "batch_size": 8}
PIPELINES = (
    PLAIN | {"model": "test_resnet", "stoch_norm": True, "drop": 0.2},
    PLAIN | {"model": "test_vit"},
    PLAIN | {"model": "test_convnext", "pct_to_freeze": 0.4},
)


def search(path: Path, dataset: Path) -> Path:
    """Search three pipelines of three models for four epochs, and finetune each to its sixth."""
    vit = replace(make_card("test_vit"), input_size=160, fixed_input_size=True, create_kwargs=())
    cards = (make_card("test_resnet"), vit, replace(make_card("test_convnext"), interpolation="bilinear"))
    optimizer = EpochwiseRandomOptimizer(seed=0, max_fidelity=6)
    optimizer.setup(Candidates(PIPELINES, cards))
    settings = {
        "pretrained": False,
        "device": "cpu",
        "image_size": SIDE,
        "max_image_size": SIDE,
        "cache_gb": 0,
    }
    task = TaskInfo(path=dataset, class_names=CLASSES, settings=settings, image_size=64, seed=3)
    tuner = QuickTuner(optimizer, finetune_script, path, trackers=(), isolation="inline")
    tuner.run(task, evaluations=4)
    tuner.finetune(pipelines=[0, 1, 2])
    return path
