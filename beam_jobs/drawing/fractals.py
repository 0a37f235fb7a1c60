"""FractalDB: classes of iterated function systems, and pictures of their attractors.

Kataoka et al., "Pre-training without Natural Images", ACCV 2020. Numbers as in its code. One thing
differs: the points come from many short chains side by side instead of one long one, which is what
makes it quick; each chain runs in before its points count, so that both draw the same attractor.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

FILLING_RATE = 0.2
"""A system becomes a class if its points fill at least this share of the picture."""
_SEARCH_SIZE = 512
_SEARCH_POINTS = 100_000
_PAD = 6
"""Empty border, in pixels of a picture of 362 or 512."""
_PAPER_SIZE = 362
_PAPER_POINTS = 200_000
_CHAINS = 500
_RUN_IN = 12
"""Steps of each chain before its points count."""
_GRAY = 127
_SCALES = (0.2, 0.6, 1.4, 1.8)
WEIGHTS = np.array(
    [np.ones(6)]
    + [np.where(np.arange(6) == place, scale, 1.0) for place in range(6) for scale in _SCALES]
)
"""[25, 6]: what the parameters (a, b, c, d, e, f) of all maps are multiplied with."""
FLIPS = 4

Params = np.ndarray
"""Maps of a system, [2 to 7, 6]: x' = ax + by + e, y' = cx + dy + f."""


def search(rng: np.random.Generator) -> Params:
    """Draw systems until one fills enough of the picture."""
    while True:
        params = rng.uniform(-1, 1, (int(rng.integers(2, 8)), 6))
        places = _places(params, rng, _SEARCH_POINTS, _SEARCH_SIZE, _PAD)
        filled = np.zeros(_SEARCH_SIZE * _SEARCH_SIZE, bool)
        filled[places[0] * _SEARCH_SIZE + places[1]] = True
        if filled.mean() >= FILLING_RATE:
            return params


def render(params: Params, instance: int, rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw one picture of a class.

    Args:
        params: of the class.
        instance: 0 to 999: weights change fastest, then flips, then patches.
        rng: for the points and for the 3×3 pattern that is drawn at each of them.
        size: height and width in pixels.

    Returns:
        Gray on black, uint8 `[size, size]`.
    """
    weighted = params * WEIGHTS[instance % len(WEIGHTS)]
    count = max(1000, round(_PAPER_POINTS * (size / _PAPER_SIZE) ** 2))
    pad = max(1, round(_PAD * size / _PAPER_SIZE))
    row, column = _places(weighted, rng, count, size, pad, probabilities=_probabilities(params))
    # a 9-bit mask for each point, never empty; pad keeps all nine pixels inside
    masks = rng.integers(1, 512, len(row))
    picture = np.zeros(size * size, np.uint8)
    centers = row * size + column
    for bit in range(9):
        offset = (bit // 3 - 1) * size + bit % 3 - 1
        picture[centers[(masks >> bit) & 1 == 1] + offset] = _GRAY
    square = picture.reshape(size, size)
    flip = instance // len(WEIGHTS) % FLIPS
    if flip & 1:
        square = square[:, ::-1]
    return square[::-1] if flip & 2 else square


def encode(picture: np.ndarray) -> bytes:
    """PNG, the same bytes each time."""
    encoded = io.BytesIO()
    Image.fromarray(picture).save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def _probabilities(params: Params) -> np.ndarray:
    """Of the maps: in the proportion of the areas that they make of a unit square."""
    with np.errstate(all="ignore"):  # of a system that diverges they are no numbers
        area = np.abs(params[:, 0] * params[:, 3] - params[:, 1] * params[:, 2])
        share: np.ndarray = area / area.sum()
    return share


def _places(
    params: Params,
    rng: np.random.Generator,
    count: int,
    size: int,
    pad: int,
    probabilities: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of about `count` points of the attractor in a square picture."""
    share = _probabilities(params) if probabilities is None else probabilities
    steps = -(-count // _CHAINS)
    limits = np.cumsum(share)[:-1]
    maps = np.searchsorted(limits, rng.random((_RUN_IN + steps, _CHAINS)))
    a, b, c, d, e, f = params.T
    x = np.zeros(_CHAINS)
    y = np.zeros(_CHAINS)
    xs = np.empty((steps, _CHAINS))
    ys = np.empty((steps, _CHAINS))
    with np.errstate(all="ignore"):  # a system need not contract; what overflows is dropped
        for step, chosen in enumerate(maps):
            x, y = (
                a[chosen] * x + b[chosen] * y + e[chosen],
                c[chosen] * x + d[chosen] * y + f[chosen],
            )
            if step >= _RUN_IN:
                xs[step - _RUN_IN] = x
                ys[step - _RUN_IN] = y
        finite = np.isfinite(xs) & np.isfinite(ys)
        return _scale(ys[finite], size, pad), _scale(xs[finite], size, pad)


def _scale(values: np.ndarray, size: int, pad: int) -> np.ndarray:
    """Stretch coordinates to the picture without its border, int64."""
    if not len(values):
        return np.zeros(0, np.int64)
    low = values.min()
    extent = values.max() - low
    if not 0 < extent < np.inf:
        return np.full(len(values), size // 2)
    scaled: np.ndarray = ((values - low) / extent * (size - 1 - 2 * pad) + pad).astype(np.int64)
    return scaled
