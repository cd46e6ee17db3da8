"""Muon: momentum, made orthogonal, for every weight that is a matrix or a convolution's kernel.

Keller Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/. `torch.optim.Muon` refuses
kernels, which have four axes, and iterates in bfloat16, which most CPUs emulate.
"""

from __future__ import annotations

import torch
from torch import nn

from training import parallel

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
    """About the nearest (semi-)orthogonal matrix, by a quintic Newton-Schulz iteration.

    >>> made = orthogonal(torch.randn(20, 50, generator=torch.Generator().manual_seed(0)))
    >>> bool(torch.linalg.svdvals(made).min() > 0.5)
    True
    """
    x = matrix / (matrix.norm() + 1e-7)
    tall = len(x) > x.shape[1]
    x = x.T if tall else x
    for _ in range(iterations):
        gram = x @ x.T
        polynomial = torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        x = torch.addmm(x, polynomial, x, beta=3.4445)
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """The optimizer of the matrices that `split` finds; processes share the orthogonalization."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__(parameters, {"lr": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update the parameters from their gradients, which every process has."""
        parameters, lr = self.param_groups[0]["params"], self.param_groups[0]["lr"]
        updates = [torch.zeros_like(p) for p in parameters]
        for number, (p, update) in enumerate(zip(parameters, updates, strict=True)):
            if p not in self.state:
                self.state[p]["momentum"] = torch.zeros_like(p)
            momentum = self.state[p]["momentum"].mul_(MOMENTUM).add_(p.grad)
            if number % parallel.world_size() == parallel.rank():
                matrix = (p.grad + MOMENTUM * momentum).flatten(1)
                scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                update.copy_(orthogonal(matrix).reshape(p.shape) * scale)
        parallel.add_up(updates)
        torch._foreach_mul_(parameters, 1 - lr * DECAY)
        torch._foreach_add_(parameters, updates, alpha=-lr)
