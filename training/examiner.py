"""The examiner: a second reader of attributes, which no training has ever asked.

The judge's eye took part in making the model (what it sees guided the denoiser and the decoder, and
its words started the text encoder), so a picture might please it and nobody else. The examiner
shares with it nothing but the drawings: a small residual network instead of a ConvNeXt, another
seed, a class for each value instead of phrases. It stays in the training's state; `make evaluate`
alone trains it and asks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from training import loop
from training.autoencoder import read_pictures, to_tensor
from training.dataset import HELD_OUT, spec_of
from training.judge import READ, targets, worn

WIDTHS, GROUPS = (32, 64, 128), 8
SAMPLES, BATCH, RATES, SEED = 60_000, 32, loop.Rates(0.02), 1
AT_ONCE = 64  # pictures


class Residual(nn.Sequential):
    """What two convolutions add to what they are given."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.GroupNorm(GROUPS, width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(GROUPS, width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip
        nn.init.zeros_(self[-1].weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, width, h, w) to the same."""
        return x + super().forward(x)


def build() -> nn.Sequential:
    """Pictures (N, 3, 128, 128) in [-1, 1] to the scores of every value of every attribute.

    >>> build()(torch.zeros(2, 3, 128, 128)).shape[1] == sum(len(v) for v in READ.values())
    True
    """
    layers: list[nn.Module] = [nn.Conv2d(3, WIDTHS[0], 8, stride=4, padding=2)]
    for width, wider in zip(WIDTHS, WIDTHS[1:], strict=False):
        layers += [Residual(width), nn.Conv2d(width, wider, 3, stride=2, padding=1)]
    last = WIDTHS[-1]
    layers += [Residual(last), Residual(last), nn.GroupNorm(GROUPS, last), nn.ReLU()]
    heads = nn.Linear(last, sum(len(values) for values in READ.values()))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), heads)


def by_attribute(scores: torch.Tensor) -> dict[str, torch.Tensor]:
    """The scores of `build`'s network, split into an (N, values) tensor for each attribute."""
    parts = scores.split([len(values) for values in READ.values()], 1)
    return dict(zip(READ, parts, strict=True))


def stage(folder: Path, device: torch.device) -> loop.Made:
    """The examiner, shown drawings as worn as the judge's; cross-entropy by attribute."""
    model, pictures = build().to(device), read_pictures(folder)

    def loss_of(rng: np.random.Generator, n: int, fraction: float) -> torch.Tensor:
        numbers = rng.integers(HELD_OUT, len(pictures), n).tolist()
        pairs = [worn(Image.fromarray(pictures[number]), rng) for number in numbers]
        arrays, mirrored = zip(*pairs, strict=True)
        specs = [spec_of(number) for number in numbers]
        scores = by_attribute(model(to_tensor(np.stack(arrays), device)))
        loss = torch.zeros((), device=device)
        for attribute, part in scores.items():
            target = torch.tensor(targets(specs, mirrored, attribute), device=device)
            # Over n, and not over those that have a value: a batch may be without a profile.
            loss = loss + F.cross_entropy(part, target, reduction="sum") / n
        return loss

    return nn.ModuleDict({"examiner": model}), loss_of, None


def fit(folder: Path, device: torch.device) -> nn.Module:
    """The examiner, trained on the drawings in `folder` and kept there; at once if it is done."""
    return loop.fit(
        stage, name="examiner", folder=folder, samples=SAMPLES, batch=BATCH, rates=RATES,
        device=device, processes=1, seed=SEED,
    )["examiner"]  # fmt: skip


@torch.no_grad()
def read(images: Sequence[Image.Image], examiner: nn.Module) -> pd.DataFrame:
    """Read each picture's attributes, as `helpers.read_attributes` does with a judge.

    Returns:
        A row for each image, a column for each attribute; the direction is NA where the face is
        seen from the front.

    Example:
        >>> read([Image.new("RGB", (128, 128), "red")], build()).shape
        (1, 12)
    """
    device = next(examiner.parameters()).device
    rows = []
    for start in range(0, len(images), AT_ONCE):
        array = np.stack([np.asarray(i.convert("RGB")) for i in images[start : start + AT_ONCE]])
        scores = by_attribute(examiner(to_tensor(array, device)))
        best = torch.stack([part.argmax(1) for part in scores.values()], 1).tolist()
        rows += [[READ[name][i] for name, i in zip(READ, row, strict=True)] for row in best]
    table = pd.DataFrame(rows, columns=list(READ))
    table["direction"] = table["direction"].where(table["view"] == "side", None)
    return table
