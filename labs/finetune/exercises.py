"""Checks of the exercises on fine-tuning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from helpers.lessons.exercises import checks


@checks(int, "a number of parameters")
def lora_parameters(answer: int, layer: torch.nn.Linear, rank: int) -> str:
    """Is this the number of parameters that a LoRA of this rank adds to a linear layer?"""
    count = rank * (layer.in_features + layer.out_features)
    size = f"{layer.in_features} x {layer.out_features}"
    if answer == count:
        share = count / layer.weight.numel()
        return f"Right: {count} parameters, {share:.0%} of the layer's own {layer.weight.numel()}."
    if answer == layer.weight.numel():
        return f"Not yet: that is the layer's own matrix, {size}. Count A and B."
    return f"Not yet: {answer} is not the size of A and B together, for a layer of {size}."


@checks(float, "a scale between 0 and 1")
def smallest_scale(answer: float, share_at: Callable[[float], float], wanted: float) -> str:
    """Is this the smallest scale, in tenths, at which an image has the wanted share of gold?

    Args:
        share_at: computes the share, 0 to 1, at a scale.
    """
    if not 0 < answer <= 1:
        return "Not yet: try scales between 0.1 and 1."
    tenths = round(10 * answer)
    share = share_at(tenths / 10)
    if share < wanted:
        return f"Not yet: at a scale of {tenths / 10} the share is {share:.0%}."
    if tenths > 1 and share_at((tenths - 1) / 10) >= wanted:
        return f"Not yet: {tenths / 10} is enough, but {(tenths - 1) / 10} is too."
    return f"Right: {tenths / 10} is enough, with a share of {share:.0%}."


@checks(torch.Tensor, "a matrix")
def merged_weight(answer: torch.Tensor, layer: Any) -> str:
    """Is this the weight that `fuse_lora` gives to a layer of PEFT?"""
    own, change = layer.get_base_layer().weight, layer.get_delta_weight(layer.active_adapter)
    if answer.shape != own.shape:
        return f"Not yet: the matrix must be {tuple(own.shape)}, not {tuple(answer.shape)}."
    error = (answer - own - change).norm() / change.norm()
    if error < 0.01:
        return f"Right: the LoRA changes this matrix by {change.norm() / own.norm():.0%}."
    if (answer - change).norm() < 0.01 * change.norm():
        return "Not yet: that is what the LoRA adds; add it to the layer's own weight."
    return f"Not yet: it is {error:.1f} times as far from the merged weight as the layer's own is."
