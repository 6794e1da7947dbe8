"""Pretrain the models of the hub `tiny` on scenes generated from formulas, and write weights and sidecars.

    python experiments/tiny_hub/pretrain.py --cache CACHE --out src/qtt/pretrained/tiny    # all models
    python experiments/tiny_hub/pretrain.py --cache CACHE --out OUT --models test_vit --samples 50000

The set is drawn into CACHE on first use. An interrupted run continues from its last checkpoint in CACHE.
"""

import argparse
import hashlib
import json
import logging
import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import imageset
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

LOG = logging.getLogger("pretrain")
INPUT_SIDE = 64
BATCH = 64
HELD_OUT = 2000
CHECKPOINT_EVERY = 1000
TASK_WEIGHTS = (1.0, 1.0, 0.5)
SMOOTHING = 0.05
TEACHER_WEIGHT = 3.0


@dataclass(frozen=True)
class Recipe:
    """How one architecture is pretrained.

    `samples` counts images seen; `half` means bfloat16 autocast, `widen` the start of `widen_start`; a model
    that is `taught` also estimates the features of the finished TEACHER, for a richer signal than labels.
    """

    learning_rate: float
    samples: int
    half: bool = False
    widen: bool = False
    taught: bool = False
    weight_decay: float = 0.05
    create_kwargs: dict[str, Any] = field(default_factory=dict)


TEACHER = "test_resnet"
RECIPES = {
    TEACHER: Recipe(4e-3, 130_000, half=True),
    "test_byobnet": Recipe(4e-3, 130_000, half=True),
    "mobilenetv4_conv_small_035": Recipe(3e-3, 200_000, taught=True),
    "test_vit": Recipe(1.5e-3, 300_000, widen=True, taught=True, create_kwargs={"img_size": INPUT_SIDE}),
    "test_convnext3": Recipe(2e-3, 200_000, half=True, widen=True, taught=True),
    "edgenext_xx_small": Recipe(2e-3, 80_000, half=True, widen=True, taught=True),
}


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """uint8 (B, S, S, 3) -> float (B, 3, 64, 64) in about -1...1, randomly turned, cropped and exposed."""
    batch = len(images)
    x = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    angle = 0.12 * torch.randn(batch, generator=generator)
    zoom = torch.empty(batch).uniform_(0.8, 1.0, generator=generator)
    shift = (1 - zoom)[:, None] * torch.empty(batch, 2).uniform_(-1, 1, generator=generator)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    theta = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], 1)
    theta = torch.cat([theta, shift[:, :, None]], -1)
    grid = functional.affine_grid(theta, [batch, 3, INPUT_SIDE, INPUT_SIDE], align_corners=False)
    x = functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    contrast = torch.empty(batch, 1, 1, 1).uniform_(0.7, 1.2, generator=generator)
    brightness = torch.empty(batch, 1, 1, 1).uniform_(-0.2, 0.2, generator=generator)
    return (x * contrast + brightness).contiguous(memory_format=torch.channels_last)


def centred(images: Tensor) -> Tensor:
    """uint8 (B, S, S, 3) -> float (B, 3, 64, 64) in -1...1, resized."""
    x = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    x = functional.interpolate(x, size=INPUT_SIDE, mode="bilinear", antialias=True)
    return x.contiguous(memory_format=torch.channels_last)


def task_losses(logits: Tensor, labels: Tensor, counts: tuple[int, ...]) -> Tensor:
    """Cross entropies (3,) of the tasks from logits (B, sum of counts) and labels (B, 3), -1 for none."""
    parts = torch.split(logits.float(), list(counts), dim=1)
    return torch.stack(
        [
            functional.cross_entropy(part, labels[:, k], ignore_index=-1, label_smoothing=SMOOTHING)
            for k, part in enumerate(parts)
        ]
    )


def one_cycle(step: int, total: int, peak: float) -> float:
    """Learning rate: linear warm-up over the first 10 % of the steps, then half a cosine to zero."""
    warm = max(1, total // 10)
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels only."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


@torch.no_grad()
def widen_start(model: nn.Module) -> None:
    """Start weights at standard deviation fan_in^(-1/2) and layer scales at 1, in place.

    The usual 0.02 and 1e-6 suit wide networks and long runs; at 64 channels they keep blocks all but shut.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=module.weight[0].numel() ** -0.5)
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            parameter.fill_(1.0)


@torch.no_grad()
def standardised_features(teacher: Any, images: Tensor) -> Tensor:
    """The teacher's pooled features (B, F) of images (B, 3, 64, 64), standardised over the batch."""
    with torch.autocast("cpu", torch.bfloat16):
        features = teacher.forward_head(teacher.forward_features(images), pre_logits=True).float()
    result: Tensor = (features - features.mean(0)) / (features.std(0) + 1e-3)
    return result


def train(
    name: str, recipe: Recipe, data: imageset.ImageSet, seed: int, checkpoint: Path, teacher: Any | None
) -> nn.Module:
    """The model after `recipe.samples` images.

    Its classifier has the logits of the three tasks side by side, then estimates of the teacher's features.
    """
    torch.manual_seed(seed)
    outputs = [*data.class_counts, teacher.head_hidden_size if teacher is not None else 0]
    model = timm.create_model(name, num_classes=sum(outputs), **recipe.create_kwargs)
    if recipe.widen:
        widen_start(model)
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe.weight_decay), lr=recipe.learning_rate)
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    count, total = len(images) - HELD_OUT, recipe.samples // BATCH
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    model.train()
    started, running = time.monotonic(), torch.zeros(3 if teacher is None else 4)
    for step in range(first, total):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = one_cycle(step, total, recipe.learning_rate)
        chosen = torch.randint(count, (BATCH,), generator=generator)
        x = augmented(images[chosen], generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.half):
            logits, estimate = torch.split(model(x), [sum(data.class_counts), outputs[-1]], dim=1)
        losses = task_losses(logits, labels[chosen], data.class_counts)
        loss = (losses * torch.tensor(TASK_WEIGHTS)).sum()
        if teacher is not None:
            distance = functional.mse_loss(estimate.float(), standardised_features(teacher, x))
            loss = loss + TEACHER_WEIGHT * distance
            losses = torch.cat([losses, distance[None]])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        running = 0.99 * running + 0.01 * losses.detach()
        if (step + 1) % CHECKPOINT_EVERY == 0:
            rate = (step + 1 - first) * BATCH / (time.monotonic() - started)
            LOG.info("%s step %d/%d losses %s, %.0f images/s", name, step + 1, total, running.tolist(), rate)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            torch.save(state, checkpoint)
    return model


@torch.no_grad()
def accuracies(model: nn.Module, data: imageset.ImageSet) -> list[float]:
    """Top-1 accuracy on the held-out scenes for shape, texture and palette."""
    model.eval()
    images, labels = torch.from_numpy(data.images[-HELD_OUT:]), torch.from_numpy(data.labels[-HELD_OUT:])
    outputs = torch.cat([model(centred(part)) for part in torch.split(images, 250)])
    hits = []
    for k, part in enumerate(
        torch.split(outputs[:, : sum(data.class_counts)], list(data.class_counts), dim=1)
    ):
        shown = labels[:, k] >= 0
        hits.append(round((part.argmax(1) == labels[:, k])[shown].float().mean().item(), 4))
    return hits


def shipped_state(model: Any, classes: int) -> dict[str, Tensor]:
    """The state dict in float16, its classifier narrowed to the first `classes` outputs: the shapes."""
    head = model.get_classifier()
    state = dict(model.state_dict())
    prefix = next(key for key, module in model.named_modules() if module is head)
    for kind in ("weight", "bias"):
        state[f"{prefix}.{kind}"] = state[f"{prefix}.{kind}"][:classes]
    return {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in state.items()
    }


def sidecar(
    name: str, recipe: Recipe, classes: int, path: Path, tops: list[float], seed: int
) -> dict[str, Any]:
    """What a user must know to load the file: preprocessing, arguments, size and origin."""
    backbone: Any = timm.create_model(name, num_classes=0, **recipe.create_kwargs).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone(torch.zeros(1, 3, INPUT_SIDE, INPUT_SIDE))
    return {
        "timm_name": name,
        "create_kwargs": recipe.create_kwargs,
        "family": type(backbone).__module__.rpartition(".")[2],
        "fixed_input_size": bool(backbone.pretrained_cfg.get("fixed_input_size")),
        "num_classes": classes,
        "params": sum(p.numel() for p in backbone.parameters()),
        "macs": counter.get_total_flops() // 2,
        "input_size": [3, INPUT_SIDE, INPUT_SIDE],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bilinear",
        "source": "formula-driven pretraining, experiments/tiny_hub",
        "licence": "Apache-2.0",
        "dtype": "float16",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "head": "shape classes: fractals, contours, glyphs",
        "pretraining": "formulas",
        "recipe": {
            "seed": seed,
            "samples": recipe.samples,
            "learning_rate": recipe.learning_rate,
            "teacher": TEACHER if recipe.taught else None,
            "held_out_top1": dict(zip(("shape", "texture", "palette"), tops, strict=True)),
        },
    }


def load_weights(name: str, recipe: Recipe, classes: int, folder: Path) -> nn.Module:
    """A shipped model in evaluation mode; FileNotFoundError where `folder` does not hold it yet."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: the other models learn from {name}, so pretrain it first."
        )
    model: nn.Module = timm.create_model(name, num_classes=classes, **recipe.create_kwargs)
    model.load_state_dict(
        {key: value.to(model.state_dict()[key].dtype) for key, value in load_file(path).items()}
    )
    return model.eval().to(memory_format=torch.channels_last)


def pretrain(name: str, recipe: Recipe, data: imageset.ImageSet, seed: int, cache: Path, out: Path) -> None:
    """Train one model and write `<name>.safetensors` and `<name>.json` into `out`."""
    started = time.monotonic()
    checkpoint = cache / f"{name}.{recipe.samples}.{seed}.pt"
    classes = data.class_counts[0]
    teacher = load_weights(TEACHER, RECIPES[TEACHER], classes, out) if recipe.taught else None
    model = train(name, recipe, data, seed, checkpoint, teacher)
    path = out / f"{name}.safetensors"
    save_file(shipped_state(model, classes), path)
    path.chmod(0o644)
    tops = accuracies(model, data)
    text = json.dumps(sidecar(name, recipe, classes, path, tops, seed), indent=1)
    path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    LOG.info("%s held-out top-1 %s after %.0f s", name, tops, time.monotonic() - started)
    checkpoint.unlink(missing_ok=True)


def main() -> None:
    """Parse the command line and pretrain the models it names, one after another."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cache", type=Path, required=True, help="folder for the drawn scenes and checkpoints"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and sidecars")
    parser.add_argument("--models", nargs="+", choices=sorted(RECIPES), default=list(RECIPES))
    parser.add_argument("--images", type=int, default=24_000, help="scenes to draw, held-out ones included")
    parser.add_argument("--samples", type=int, help="images seen per model, instead of the recipe's number")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    data = imageset.load_or_draw(arguments.cache, arguments.seed, arguments.images)
    LOG.info(
        "%d scenes; classes %s; labelled %s", len(data.images), data.class_counts, (data.labels >= 0).mean(0)
    )
    for name in arguments.models:
        recipe = RECIPES[name]
        if arguments.samples is not None:
            recipe = replace(recipe, samples=arguments.samples)
        pretrain(name, recipe, data, arguments.seed, arguments.cache, arguments.out)


if __name__ == "__main__":
    main()
