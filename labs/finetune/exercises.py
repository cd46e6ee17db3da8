"""Checks of the exercises on fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from helpers.lessons.exercises import checks

NEAR = 20  # the distance in RGB within which a color counts as one of the palette's


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


@checks(Image.Image, "an image")
def in_palette(
    answer: Image.Image, image: Image.Image, palette: Sequence[tuple[int, int, int]]
) -> str:
    """Is this the image in the colors of a palette, with bright and dark where they were?"""
    stops = np.linspace(0, 1, len(palette))
    ramp = np.stack([np.interp(np.linspace(0, 1, 64), stops, c) for c in np.transpose(palette)], -1)
    if answer.size != image.size:
        return f"Not yet: the image must be {image.width} x {image.height} pixels."
    pixels = np.asarray(answer.convert("RGB"), float)[..., None, :]
    share = (np.linalg.norm(pixels - ramp, axis=-1).min(-1) < NEAR).mean()
    if share < 0.95:
        return f"Not yet: {share:.0%} of the pixels have a color of the palette."
    light, before = (np.asarray(item.convert("L"), float).ravel() for item in (answer, image))
    if light.std() < 1 or np.corrcoef(light, before)[0, 1] < 0.8:
        return "Not yet: the colors are right, but bright and dark are not where they were."
    return f"Right: {share:.0%} of the pixels have a color of the palette."


@checks(torch.Tensor, "a matrix")
def merged_weight(answer: torch.Tensor, layer: Any) -> str:
    """Is this the weight that `fuse_lora` gives to a layer of PEFT?"""
    own = layer.get_base_layer().weight
    change = layer.get_delta_weight(layer.active_adapters[0])
    if answer.shape != own.shape:
        return f"Not yet: the matrix must be {tuple(own.shape)}, not {tuple(answer.shape)}."
    error = (answer - own - change).norm() / change.norm()
    if error < 0.01:
        return f"Right: the LoRA changes this matrix by {change.norm() / own.norm():.0%}."
    if (answer - change).norm() < 0.01 * change.norm():
        return "Not yet: that is what the LoRA adds; add it to the layer's own weight."
    return f"Not yet: it is {error:.1f} times as far from the merged weight as the layer's own is."
