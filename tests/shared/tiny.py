"""A training stage that takes no time: the processes of a training import this module alone."""

import numpy as np
import torch
from torch import nn

TARGET = torch.randn(16, 16, generator=torch.Generator().manual_seed(0)) / 4


def tiny_stage(work):
    """Fit a 16x16 linear map: enough to see that a loss falls."""
    model = nn.Linear(16, 16)

    def loss_of(rng, n, fraction):
        x = torch.from_numpy(rng.standard_normal((n, 16), np.float32))
        return (model(x) - x @ TARGET.T).square().mean()

    return nn.ModuleDict({"model": model}), loss_of
