"""Show latents as a small image, without the decoder."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from PIL import Image

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


@torch.no_grad()
def fit_preview(vae: AutoencoderKL) -> torch.Tensor:
    """Fit the linear map from latents to colors that is nearest to the decoder.

    A few smooth images of random colors are encoded, and least squares find the mean color of the
    pixels for each position of the latents, at a hundredth of the decoder's cost or less.

    Returns:
        A matrix of (C + 1) x 3 for C latent channels, the last row for a constant 1; colors from
        0 to 1.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    corners = torch.rand(4, 3, 5, 5, generator=generator)
    images = torch.nn.functional.interpolate(corners, (128, 128), mode="bilinear")
    if vae.dtype == torch.float16:  # it overflows in some encoders
        vae = torch.nn.Module.to(copy.deepcopy(vae), torch.float32)
    latents = vae.encode((2 * images - 1).to(vae.device, vae.dtype)).latent_dist.mode()
    latents = (latents.float().cpu() - (vae.config.shift_factor or 0)) * vae.config.scaling_factor
    colors = torch.nn.functional.adaptive_avg_pool2d(images, latents.shape[-2:])
    rows = colors.movedim(1, -1).flatten(0, 2)
    return torch.linalg.lstsq(_with_constant(latents), rows).solution


def preview(latents: torch.Tensor, fitted: torch.Tensor) -> Image.Image:
    """Show latents of 1 x C x H x W as an image of W x H pixels, by what `fit_preview` returned."""
    colors = _with_constant(latents.float().cpu()) @ fitted
    pixels = (255 * colors.clamp(0, 1)).round().to(torch.uint8)
    height, width = latents.shape[-2:]
    return Image.fromarray(pixels.reshape(height, width, 3).numpy())


def _with_constant(latents: torch.Tensor) -> torch.Tensor:
    """Turn latents of N x C x H x W into rows of C + 1, of which the last is 1."""
    rows = latents.movedim(1, -1).flatten(0, 2)
    return torch.nn.functional.pad(rows, (0, 1), value=1.0)
