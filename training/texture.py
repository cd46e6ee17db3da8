"""How similar the texture of images is to that of drawings, measured without a network.

The sliced Wasserstein distance of small patches on the levels of a Laplacian pyramid (Karras et al.
2018, arXiv:1710.10196, section 5) says on which scale two sets of images differ; the strength of
the edges says whether one of them is soft.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

LEVELS = ("fine", "middle", "coarse")
SIDE, PATCHES, DIRECTIONS = 7, 64, 256  # pixels, of each image and level, of the slices


def laplacian_levels(images: torch.Tensor) -> list[torch.Tensor]:
    """Each level is the image less its 2x reduction enlarged again; the next starts from that.

    >>> [tuple(level.shape[-2:]) for level in laplacian_levels(torch.zeros(1, 3, 64, 64))]
    [(64, 64), (32, 32), (16, 16)]
    """
    levels = []
    for _ in LEVELS:
        half = F.avg_pool2d(images, 2)
        levels.append(images - F.interpolate(half, scale_factor=2, mode="bilinear"))
        images = half
    return levels


def _patches(level: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """PATCHES random patches of each image, (n * PATCHES, 3 * SIDE * SIDE)."""
    n, _, height, width = level.shape
    every = level.unfold(2, SIDE, 1).unfold(3, SIDE, 1)  # (n, 3, top, left, SIDE, SIDE)
    top = torch.randint(height - SIDE + 1, (n, PATCHES), generator=generator)
    left = torch.randint(width - SIDE + 1, (n, PATCHES), generator=generator)
    number = torch.arange(n)[:, None]
    return every[number, :, top, left].flatten(0, 1).flatten(1)


def sliced_wasserstein(
    images: torch.Tensor, others: torch.Tensor, seed: int = 0
) -> dict[str, float]:
    """The distance of two sets of images, each (n, 3, H, W) in [-1, 1], on every level.

    The mean absolute difference of the sorted projections of their patches, over the mean
    deviation of the second set's entries, times 1000. It falls with n: compare only figures of the
    same n.

    >>> noise = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    >>> same = sliced_wasserstein(noise, noise)
    >>> list(same), max(same.values()) < sliced_wasserstein(noise / 2, noise)["fine"]
    (['fine', 'middle', 'coarse'], True)
    """
    if images.shape != others.shape:
        raise ValueError(f"Sets of {tuple(images.shape)} and {tuple(others.shape)} do not compare.")
    generator = torch.Generator().manual_seed(seed)
    found = {}
    levels = zip(LEVELS, laplacian_levels(images), laplacian_levels(others), strict=True)
    for name, level, other_level in levels:
        patches, other_patches = _patches(level, generator), _patches(other_level, generator)
        slices = F.normalize(torch.randn(patches.shape[1], DIRECTIONS, generator=generator), dim=0)
        distances = (patches @ slices).sort(0).values - (other_patches @ slices).sort(0).values
        found[name] = 1000 * float(distances.abs().mean() / other_patches.std(0).mean())
    return found


def edge_strength(images: torch.Tensor) -> float:
    """The mean absolute difference of neighbours, down and across added; (n, 3, H, W) in [-1, 1].

    >>> edge_strength(torch.tensor([[[[0.0, 0.5], [0.0, 0.5]]]]))
    0.5
    """
    return float(images.diff(dim=-2).abs().mean() + images.diff(dim=-1).abs().mean())
