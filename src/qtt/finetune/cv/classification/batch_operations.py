"""Operations of automatic augmentation on many images at once, on any device, as Pillow does them on one.

Notation: n images of side s, (n, 3, s, s) uint8, best in channels_last; values (n, p) float64, a row for each
image, of which an operation reads the columns it needs. Nothing here waits for a GPU.

Pillow's arithmetic is followed to its roundings, so that results are the same bytes: 16.16 fixed point of
nearest neighbours, truncation of blends and interpolations, tables of integers. Only interpolation, whose
products Pillow sums in 64 bits and we in 32, may be a grey level off, rarely.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

Operation = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Images, values, and the colour (3,) uint8 of what a shift or a rotation uncovers, to images."""

ROUNDING = 2**-10
"""Added before interpolated values are truncated, so that sums in 32 bits do not fall below whole numbers."""


def nearest(images: Tensor, values: Tensor, fill: Tensor) -> Tensor:
    """Affine map to the nearest pixel.

    values: (n, 6) the matrix (a, b, c, d, e, f) that maps an output position (x, y), in pixels whose centres
        are half-integers, to the input position (a x + b y + c, d x + e y + f).
    """
    a, b, c, d, e, f = values[:, :6].unbind(1)
    matrix = torch.stack([a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5], 1)
    steps = (
        (matrix * 2**16 + 0.5).floor().to(torch.int32)[:, :, None, None]
    )  # 16.16 fixed point, as in Pillow
    ahead = torch.arange(images.shape[-1], dtype=torch.int32, device=images.device)
    columns, rows = (
        (steps[:, at + 2] + steps[:, at + 1] * ahead[:, None] + steps[:, at] * ahead) >> 16 for at in (0, 3)
    )
    inside = _within(columns, images) & _within(rows, images)
    return _channels_first(torch.where(inside[..., None], _pixels(images, columns, rows), fill))


def interpolated(images: Tensor, values: Tensor, fill: Tensor) -> Tensor:
    """Affine map, bilinear or bicubic (Keys 1981 with a = −1, which is Pillow's).

    values: (n, 7) the matrix as in `nearest`, and 0 for bilinear or 1 for bicubic.
    """
    side = images.shape[-1]
    a, b, c, d, e, f, cubic = (value[:, None, None] for value in values.unbind(1))
    centre = torch.arange(side, dtype=torch.float64, device=images.device) + 0.5
    x, y = a * centre + b * centre[:, None] + c, d * centre + e * centre[:, None] + f
    inside = (x >= 0) & (x < side) & (y >= 0) & (y < side)
    left, above = (x - 0.5).floor(), (y - 0.5).floor()
    across, down = (_weights((at - 0.5 - whole).float(), cubic > 0) for at, whole in ((x, left), (y, above)))
    columns, rows = (
        whole.to(torch.int32)[..., None] + torch.arange(-1, 3, dtype=torch.int32, device=images.device)
        for whole in (left, above)
    )
    total = torch.zeros((*x.shape, 3), device=images.device)
    for row, weight in zip(rows.split_with_sizes([1] * 4, -1), down.unbind(-1), strict=True):
        line = (across[..., None] * _pixels(images, columns, row)).sum(-2)
        total.addcmul_(weight[..., None], line)
    mapped = total.add_(ROUNDING).clamp_(0, 255).to(torch.uint8)
    return _channels_first(torch.where(inside[..., None], mapped, fill))


def brightness(images: Tensor, values: Tensor, fill: Tensor) -> Tensor:
    """Towards black (factor 0), away from it (above 1); values: (n, 1) factors."""
    return _blend(torch.zeros((), device=images.device), images.float(), values)


def color(images: Tensor, values: Tensor, fill: Tensor) -> Tensor:
    """Towards grey of each pixel; values: (n, 1) factors."""
    return _blend(_grey(images), images.float(), values)


def contrast(images: Tensor, values: Tensor, fill: Tensor) -> Tensor:
    """Towards the image's mean grey; values: (n, 1) factors."""
    count = images.shape[-1] * images.shape[-2]
    total = _grey(images).to(torch.int32).sum((1, 2, 3), keepdim=True)
    mean = (2 * total + count) // (2 * count)
    return _blend(mean.float(), images.float(), values)


def sharpness(images: Tensor, values: Tensor, fill: Tensor) -> Tensor:
    """Towards a smoothed image, whose border stays as it is; values: (n, 1) factors."""
    pixels = images.float()
    middle = pixels[:, :, 1:-1, 1:-1]
    sums = torch.nn.functional.avg_pool2d(pixels, 3, stride=1, divisor_override=1) + 4 * middle
    smooth = pixels.clone()
    smooth[:, :, 1:-1, 1:-1] = ((sums + 6.5) / 13).floor()  # weights 1, and 5 in the middle, out of 13
    return _blend(smooth, pixels, values)


def posterize(images: Tensor, values: Tensor, fill: Tensor) -> Tensor:
    """Keep some bits of every value; values: (n, 1) masks, 256 − 2^(8 − bits)."""
    return images & _column(values).to(torch.uint8)


def solarize(images: Tensor, values: Tensor, fill: Tensor) -> Tensor:
    """Invert what is at least as light as a threshold; values: (n, 1) thresholds."""
    return torch.where(images < _column(values).ceil().to(torch.int16), images, 255 - images)


def solarize_add(images: Tensor, values: Tensor, fill: Tensor) -> Tensor:
    """Lighten what is darker than 128; values: (n, 1) grey levels to add."""
    lighter = (images + _column(values).to(torch.int16)).clamp(max=255).to(torch.uint8)
    return torch.where(images < 128, lighter, images)


def invert(images: Tensor, values: Tensor, fill: Tensor) -> Tensor:
    """255 − each value."""
    return 255 - images


def autocontrast(images: Tensor, values: Tensor, fill: Tensor) -> Tensor:
    """Stretch every channel to 0 to 255."""
    low, high = (end.double()[..., None] for end in (images.amin((2, 3)), images.amax((2, 3))))
    levels = torch.arange(256, dtype=torch.float64, device=images.device)
    scale = torch.full_like(low, 255) / (high - low).clamp(min=1)  # 255 / x would round twice
    stretched = (levels * scale + -low * scale).trunc().clamp(0, 255)
    return _looked_up(torch.where(high > low, stretched, levels), _bins(images))


def equalize(images: Tensor, values: Tensor, fill: Tensor) -> Tensor:
    """Make every channel's histogram as even as a table of its values can."""
    bins = _bins(images)
    ones = torch.ones((), dtype=torch.int32, device=images.device).expand(bins.numel())
    counts = torch.zeros(len(images) * 3 * 256, dtype=torch.int32, device=images.device)
    counts = counts.scatter_add_(0, bins.flatten(), ones).view(len(images), 3, 256)
    total = images.shape[-1] * images.shape[-2]
    lightest = counts.gather(2, images.amax((2, 3)).long()[..., None])
    step = (total - lightest) // 255
    before = counts.cumsum(2, dtype=torch.int32) - counts
    spread = ((step // 2 + before) // step.clamp(min=1)).clamp(max=255)
    levels = torch.arange(256, dtype=torch.int32, device=images.device)
    return _looked_up(torch.where(step > 0, spread, levels), bins)


OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        operation.__name__: operation
        for operation in (
            *(nearest, interpolated, brightness, color, contrast, sharpness),
            *(posterize, solarize, solarize_add, invert, autocontrast, equalize),
        )
    }
)
NAMES = tuple(OPERATIONS)


def crop(images: Tensor, boxes: Tensor) -> Tensor:
    """Crops, enlarged bilinearly to whole images and mirrored where that was drawn, in one pass.

    boxes: (n, 2, 4) float32, for columns and rows: position of the first output pixel, step to the next one,
        and the positions of the crop's first and last pixel, beyond which nothing is read.
    """
    side = images.shape[-1]
    start, step, first, last = boxes[..., None].unbind(2)
    at = torch.arange(side, dtype=torch.float32, device=images.device)
    positions = torch.minimum(torch.maximum(start + step * at, first), last)
    columns, rows = ((2 * positions + 1) / side - 1).unbind(1)
    grid = torch.stack([columns[:, None].expand(-1, side, -1), rows[..., None].expand(-1, -1, side)], -1)
    crops = torch.nn.functional.grid_sample(
        images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return crops.round_().to(torch.uint8)


def _weights(d: Tensor, cubic: Tensor) -> Tensor:
    """Of the four pixels around a position that is d (0 to 1) after the second of them; (…, 4)."""
    square, cube, none = d**2, d**3, torch.zeros_like(d)
    bicubic = torch.stack(
        [2 * square - d - cube, 1 - 2 * square + cube, d + square - cube, cube - square], -1
    )
    return torch.where(cubic[..., None], bicubic, torch.stack([none, 1 - d, d, none], -1))


def _within(positions: Tensor, images: Tensor) -> Tensor:
    return (positions >= 0) & (positions < images.shape[-1])


def _pixels(images: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """The pixels at positions (n, …), or the nearest inside of the image; (n, …, 3)."""
    count, _, side, _ = images.shape
    first = torch.arange(0, count * side**2, side**2, dtype=torch.int32, device=images.device)
    index = columns.clamp(0, side - 1) + rows.clamp(0, side - 1) * side
    index = (index.flatten(1) + first[:, None]).view(index.shape)
    flat = images.permute(0, 2, 3, 1).reshape(-1, 3)
    return flat.index_select(0, index.flatten()).view(*index.shape, 3)


def _channels_first(pixels: Tensor) -> Tensor:
    return pixels.permute(0, 3, 1, 2)


def _grey(images: Tensor) -> Tensor:
    """ITU-R 601 luma as Pillow rounds it, (n, 1, s, s) float32; all sums are below 2^24, so exact."""
    red, green, blue = images.float().tensor_split(3, 1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 2**15) / 2**16).floor_()


def _blend(start: Tensor, end: Tensor, values: Tensor) -> Tensor:
    """From start to end: start + factor · (end − start), cut to 0 to 255 and truncated."""
    return (start + _column(values).float() * (end - start)).clamp_(0, 255).to(torch.uint8)


def _column(values: Tensor) -> Tensor:
    return values[:, :1, None, None]


def _bins(images: Tensor) -> Tensor:
    """Where each value is counted, in 256 bins of each channel of each image; (n, 3, s, s) int64."""
    first = torch.arange(len(images) * 3, device=images.device).view(-1, 3, 1, 1) * 256
    return first + images


def _looked_up(table: Tensor, bins: Tensor) -> Tensor:
    """Each value's entry in the table (n, 3, 256) of its channel."""
    return torch.take(table.to(torch.uint8), bins)
