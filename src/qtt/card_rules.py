"""What a model card may say: cards come from hub files, sidecars and run folders that strangers wrote.

What timm is given decides what it loads. Some of its arguments and names lead to files, pickles and downloads
(`checkpoint_path`, `pretrained_cfg`, `hf-hub:…`, `local-dir:…`), so that the rules name what is allowed, and
not what is refused.
"""

import math
import re
from collections.abc import Iterable
from typing import Any

from qtt.errors import ConfigError, unknown

ARCHITECTURE = frozenset(
    """
    img_size in_chans patch_size window_size global_pool output_stride depth depths dim dims
    embed_dim embed_dims num_heads head_dim mlp_ratio mlp_ratios width widths channels layers
    num_features kernel_size kernel_sizes cardinality base_width groups expand_ratio stem_type
    stem_size stem_width stem_kernel_size avg_down head_hidden_size head_norm_first head_init_scale
    conv_bias conv_mlp use_grn init_values ls_init_value layer_scale_init_value qkv_bias qk_norm
    attn_type swiglu_mlp scale_mlp class_token reg_tokens num_reg_tokens pos_embed no_embed_class
    use_pos_embed use_abs_pos_emb use_rot_pos_emb rope_temperature dynamic_img_size dynamic_img_pad
    strict_img_size always_partition pre_norm final_norm fc_norm use_fc_norm act_layer norm_layer
    norm_eps bn_eps bn_momentum pad_type se_layer fix_stem weight_init zero_init_last drop_rate
    drop_path_rate proj_drop_rate pos_drop_rate attn_drop_rate patch_drop_rate
    """.split()  # noqa: SIM905 - a list would take eighty lines
)
"""Arguments of `timm.create_model` that shape a network and lead to nothing outside of it."""

TIMM_NAME = re.compile(r"(\w[\w.-]*)?", re.ASCII)
"""An architecture and its tag; no scheme (`hf-hub:`) and no path."""

PART = re.compile(r"[^./\\:\x00-\x1f][^/\\:\x00-\x1f]*")
"""A file or folder by its plain name: neither hidden nor on another drive, and not `..`."""

WEIGHTS = ".safetensors"
LARGEST_SIDE, MOST_CLASSES = 4096, 1_000_000


def check_card(card: Any) -> None:
    """See whether a `qtt.types.ModelCard` says only what it may.

    Raises:
        ConfigError: a name or path that leads elsewhere, an argument that timm must not be given, a figure
            that is none.
    """
    whose = f"Model card {str(card.name)[:80]!r}"
    if not isinstance(card.timm_name, str) or not TIMM_NAME.fullmatch(card.timm_name):
        raise ConfigError(
            f"{whose} has timm_name={str(card.timm_name)[:80]!r}, which is no plain name of a timm model "
            "such as 'resnet18.a1_in1k'. Names that lead to other places are not followed."
        )
    if card.weights is not None and not _is_plain_path(card.weights):
        raise ConfigError(
            f"{whose} has weights={str(card.weights)[:80]!r}. Expected the name of a {WEIGHTS} file within "
            "the weights folder, without '..' and not absolute."
        )
    _check_arguments(card.create_kwargs, whose)
    _check_figures(card, whose)


def _is_plain_path(path: object) -> bool:
    """Whether a card's `weights` names a safetensors file within a folder, and nothing outside of it."""
    if not isinstance(path, str) or not path.endswith(WEIGHTS):
        return False
    return all(PART.fullmatch(part) for part in path.split("/"))


def _check_arguments(arguments: Iterable[tuple[str, Any]], whose: str) -> None:
    """See whether arguments of `timm.create_model` are among `ARCHITECTURE`, with plain values.

    Raises:
        ConfigError: one is not; close matches are named.
    """
    for name, value in arguments:
        if name not in ARCHITECTURE:
            raise ConfigError(
                f"{whose}: {unknown('argument of create_kwargs', str(name)[:80], ARCHITECTURE)} What shapes "
                "a network is allowed; what would have timm load files is not."
            )
        if not _is_plain(value):
            raise ConfigError(
                f"{whose} has create_kwargs.{name}={str(value)[:80]!r}. Expected a number, a word, true or "
                "false, or a list of these."
            )


def _is_plain(value: object, depth: int = 0) -> bool:
    if isinstance(value, list | tuple):
        return depth < 3 and len(value) < 100 and all(_is_plain(part, depth + 1) for part in value)
    if isinstance(value, str):
        return bool(TIMM_NAME.fullmatch(value)) and len(value) < 100
    return value is None or isinstance(value, bool) or _is_number(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def _check_figures(card: Any, whose: str) -> None:
    limits = {
        "params": (0.0, 1e9),
        "macs": (0.0, 1e9),
        "input_size": (0, LARGEST_SIDE),
        "top1": (0.0, 100.0),
        "num_classes": (0, MOST_CLASSES),
    }
    for name, (least, most) in limits.items():
        value = getattr(card, name)
        if value is None and name in ("macs", "top1"):
            continue
        whole = isinstance(least, float) or isinstance(value, int)
        if not (_is_number(value) and least <= value <= most and whole):
            kind = "a number" if isinstance(least, float) else "a whole number"
            raise ConfigError(
                f"{whose} has {name}={str(value)[:40]}. Expected {kind} from {least:g} to {most:g}."
            )
    for name, positive in (("mean", False), ("std", True)):
        values = getattr(card, name)
        if not all(_is_number(v) and math.isfinite(v) and (v > 0 or not positive) for v in values):
            raise ConfigError(
                f"{whose} has {name}={str(values)[:80]}. Expected {'positive ' if positive else ''}numbers."
            )
