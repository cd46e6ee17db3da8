"""Checks of the exercises on fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from helpers.lessons.exercises import checks, require

NEAR = 20  # the distance in RGB within which a color counts as one of the palette's


@checks(int, "a number of parameters")
def lora_parameters(answer: int, layer: torch.nn.Linear, rank: int) -> str:
    """Is this the number of parameters that a LoRA of this rank adds to a linear layer?"""
    matrix, count = layer.weight.numel(), rank * (layer.in_features + layer.out_features)
    size = f"{layer.in_features} x {layer.out_features}"
    require(answer != matrix, f"that is the layer's own matrix, {size}. Count A and B.")
    hint = f"{answer} is not the size of A and B together, for a layer of {size}."
    require(answer == count, hint)
    return f"{count} parameters, {count / matrix:.0%} of the layer's own {matrix}."


@checks(Image.Image, "an image")
def in_palette(
    answer: Image.Image, image: Image.Image, palette: Sequence[tuple[int, int, int]]
) -> str:
    """Is this the image in the colors of a palette, with bright and dark where they were?"""
    require(answer.size == image.size, f"the image must be {image.width} x {image.height} pixels.")
    stops = np.linspace(0, 1, len(palette))
    ramp = np.stack([np.interp(np.linspace(0, 1, 64), stops, c) for c in np.transpose(palette)], -1)
    pixels = np.asarray(answer.convert("RGB"), float)[..., None, :]
    share = (np.linalg.norm(pixels - ramp, axis=-1).min(-1) < NEAR).mean()
    found = f"{share:.0%} of the pixels have a color of the palette."
    require(share >= 0.95, found)
    light, before = (np.asarray(item.convert("L"), float).ravel() for item in (answer, image))
    follows = light.std() >= 1 and np.corrcoef(light, before)[0, 1] >= 0.8
    require(follows, "the colors are right, but bright and dark are not where they were.")
    return found


@checks(torch.Tensor, "a matrix")
def merged_weight(answer: torch.Tensor, layer: Any) -> str:
    """Is this the weight that `fuse_lora` gives to a layer of PEFT?"""
    weight = layer.get_base_layer().weight
    change = layer.get_delta_weight(layer.active_adapters[0])
    hint = f"the matrix must be {tuple(weight.shape)}, not {tuple(answer.shape)}."
    require(answer.shape == weight.shape, hint)
    hint = "that is what the LoRA adds; add it to the layer's own weight."
    require((answer - change).norm() >= 0.01 * change.norm(), hint)
    error = (answer - weight - change).norm() / change.norm()
    hint = f"it is {error:.1f} times as far from the merged weight as the layer's own is."
    require(error < 0.01, hint)
    return f"the LoRA changes this matrix by {change.norm() / weight.norm():.0%}."
