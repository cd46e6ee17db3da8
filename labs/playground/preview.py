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
    """Fit the linear map from latents to colours that comes nearest to decoding them.

    A few smooth pictures of random colours are encoded; least squares then tell the mean colour of
    the pixels that one place of the latents stands for. That is a picture an eighth as wide, at a
    hundredth of the decoder's cost or less.

    Returns:
        A matrix of (C + 1) x 3 for C latent channels, the last row for a constant 1; colours from
        0 to 1.

    Example:
        >>> from helpers import load_pipeline
        >>> fit_preview(load_pipeline("tiny-portraits", device="cpu").vae).shape
        torch.Size([13, 3])
    """
    generator = torch.Generator("cpu").manual_seed(0)
    corners = torch.rand(4, 3, 5, 5, generator=generator)
    pictures = torch.nn.functional.interpolate(corners, (128, 128), mode="bilinear")
    if vae.dtype == torch.float16:  # it overflows in some encoders
        vae = torch.nn.Module.to(copy.deepcopy(vae), torch.float32)
    encoded = vae.encode((2 * pictures - 1).to(vae.device, vae.dtype))
    # AutoencoderTiny gives latents, which are neither shifted nor scaled; AutoencoderKL a spread.
    tiny = not hasattr(encoded, "latent_dist")
    latents = (encoded.latents if tiny else encoded.latent_dist.mode()).float().cpu()
    if not tiny:
        latents = (latents - (vae.config.shift_factor or 0)) * vae.config.scaling_factor
    colours = torch.nn.functional.adaptive_avg_pool2d(pictures, latents.shape[-2:])
    return torch.linalg.lstsq(
        _with_constant(latents), colours.movedim(1, -1).flatten(0, 2)
    ).solution


def preview(latents: torch.Tensor, fitted: torch.Tensor) -> Image.Image:
    """Show latents as a small picture, without the decoder.

    Args:
        latents: 1 x C x H x W.
        fitted: what `fit_preview` returned.

    Returns:
        A picture of W x H pixels.

    Example:
        >>> preview(torch.zeros(1, 4, 16, 24), torch.zeros(5, 3)).size
        (24, 16)
    """
    colours = _with_constant(latents.float().cpu()) @ fitted
    pixels = (255 * colours.clamp(0, 1)).round().to(torch.uint8)
    height, width = latents.shape[-2:]
    return Image.fromarray(pixels.reshape(height, width, 3).numpy())


def _with_constant(latents: torch.Tensor) -> torch.Tensor:
    """Lay latents of N x C x H x W out in rows of C + 1, the last of them 1."""
    rows = latents.movedim(1, -1).flatten(0, 2)
    return torch.nn.functional.pad(rows, (0, 1), value=1.0)
