"""Muon for convolutions too: momentum, made orthogonal, for every weight that is a matrix.

Keller Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/. PyTorch's own `Muon` takes
matrices only and iterates in bfloat16, which most CPUs emulate.
"""

from __future__ import annotations

import torch
from torch import nn

MOMENTUM, DECAY = 0.95, 0.01


def split(modules: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """What Muon trains (weights of at least 16x16, flattened) and what is left to AdamW.

    Embeddings and grouped convolutions are left: their rows have nothing to do with one another.

    >>> layers = nn.Sequential(nn.Embedding(99, 32), nn.Conv2d(32, 64, 3))
    >>> [len(part) for part in split(layers)]
    [1, 2]
    """
    tables = {
        m.weight
        for m in modules.modules()
        if isinstance(m, nn.Embedding) or getattr(m, "groups", 1) > 1
    }
    matrices, others = [], []
    for p in modules.parameters():
        if p.requires_grad:
            large = p.ndim >= 2 and min(len(p), p[0].numel()) >= 16
            (matrices if large and p not in tables else others).append(p)
    return sorted(matrices, key=nn.Parameter.numel), others


def orthogonal(matrix: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """The nearest (semi-)orthogonal matrix, about, by a quintic Newton-Schulz iteration.

    >>> made = orthogonal(torch.randn(20, 50, generator=torch.Generator().manual_seed(0)))
    >>> bool(torch.linalg.svdvals(made).min() > 0.5)
    True
    """
    x = matrix / (matrix.norm() + 1e-7)
    tall = len(x) > x.shape[1]
    x = x.T if tall else x
    for _ in range(iterations):
        gram = x @ x.T
        x = torch.addmm(
            x, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445
        )
    return x.T if tall else x


@torch.no_grad()
def directions(parameters: list[nn.Parameter], momenta: list[torch.Tensor],
               mine: slice) -> list[torch.Tensor]:  # fmt: skip
    """Every parameter's update; zero for those outside `mine`, which another process computes."""
    for parameter, momentum in zip(parameters, momenta, strict=True):
        momentum.mul_(MOMENTUM).add_(parameter.grad)
    updates = [torch.zeros_like(p) for p in parameters]
    for parameter, momentum, update in list(zip(parameters, momenta, updates, strict=True))[mine]:
        matrix = (parameter.grad + MOMENTUM * momentum).reshape(len(parameter), -1)
        scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
        update.copy_(orthogonal(matrix).reshape(update.shape) * scale)
    return updates
