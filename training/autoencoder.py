"""The autoencoder: 128x128 images to 12x16x16 latents and back.

Once trained, the latents' basis is changed, within the two 1x1 convolutions around them, so that a
difference between latents is as large as the difference between their images, the mean is 0 and
the standard deviation 1 over all channels: the denoiser's errors count as they will be seen.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.nn import functional as F

from training.dataset import read_drawings
from training.loop import Loss
from training.workspace import Workspace

CROP, LATENT_CHANNELS = 64, 12
# The latents that the denoiser sees are SCALING times these: at 1, the layout would outweigh the
# noise even at the noisiest step of SD's schedule, while generating starts from noise alone.
SCALING = 0.5
NOISE = 0.03  # of the latents' deviation, so that the decoder tolerates the denoiser's errors
WHOLE = 0.85  # of the budget: from there on whole images instead of crops


def build() -> AutoencoderKL:
    """SD1.x's autoencoder in miniature: four levels, so latents 8x smaller each way."""
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=4,
        sample_size=128,
        scaling_factor=SCALING,
    )
    with torch.no_grad():  # the log variance is not trained: a small constant
        vae.quant_conv.weight[LATENT_CHANNELS:] = 0
        vae.quant_conv.bias[LATENT_CHANNELS:] = -8
    return vae


def reconstruction_loss(made: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """L1 at four scales, L2, and the L1 of the gradients (edges); (N, 3, H, W) in [-1, 1]."""
    error = made - true
    edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    coarse = sum(F.avg_pool2d(error, scale).abs().mean() for scale in (2, 4, 8))
    return error.abs().mean() + 2 * error.square().mean() + 0.5 * edges + coarse


def to_tensor(images: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 (N, H, W, 3) to float (N, 3, H, W) in [-1, 1]."""
    tensor = torch.from_numpy(np.array(images, order="C")).to(device)
    return (tensor.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous()


def to_images(tensor: torch.Tensor) -> np.ndarray:
    """Float (N, 3, H, W) in [-1, 1] to uint8 (N, H, W, 3)."""
    return (tensor.clamp(-1, 1).add(1).mul(127.5).round().byte().permute(0, 2, 3, 1)).cpu().numpy()


def random_crops(drawings: np.ndarray, rng: np.random.Generator, n: int, whole: bool) -> np.ndarray:
    """Random crops of random drawings, or whole drawings, half of them mirrored."""
    size = drawings.shape[1] if whole else CROP
    crops = []
    for number in rng.integers(0, len(drawings), n):
        top, left = rng.integers(0, drawings.shape[1] - size + 1, 2)
        crop = drawings[number, top : top + size, left : left + size]
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return np.stack(crops)


def stage(work: Workspace) -> tuple[nn.ModuleDict, Loss]:
    """The whole autoencoder. The first three channels are taught to be each 8x8 block's mean
    colour: left alone, the network finds shapes at once and whole axes of colour never. Nothing is
    sampled: a posterior's noise, as wide as the latents at first, drowns them."""
    vae, drawings = build().to(work.device), read_drawings(work)[work.held_out :]

    def loss_of(rng: np.random.Generator, n: int, fraction: float) -> torch.Tensor:
        whole = fraction > WHOLE
        n = max(1, n // 2) if whole else n
        true = to_tensor(random_crops(drawings, rng, n, whole), work.device)
        latents = vae.encode(true).latent_dist.mean
        noise = torch.from_numpy(rng.standard_normal(latents.shape, np.float32)).to(work.device)
        made = vae.decode(latents + NOISE * latents.detach().std() * noise).sample
        colour = (latents[:, :3] - 2 * F.avg_pool2d(true, 8)).square().mean()
        return reconstruction_loss(made, true) + 0.5 * colour + 1e-4 * latents.square().mean()

    return nn.ModuleDict({"vae": vae}), loss_of


@torch.no_grad()
def decoder_metric(vae: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """How much the decoder changes an image for a step in the latents, (12, 12): a step `d` at one
    position changes it by the square root of `d @ metric @ d`. Steps 4 positions apart do not
    overlap."""
    positions = torch.zeros(latents.shape[-2:], device=latents.device)
    positions[2::4, 2::4] = 1
    size = 0.05 * latents.std()
    before, changes = vae.decode(latents).sample, []
    for channel in range(LATENT_CHANNELS):
        step = torch.zeros_like(latents)
        step[:, channel] = size * positions
        changes.append((vae.decode(latents + step).sample - before).flatten() / size)
    changed = torch.stack(changes)
    return changed @ changed.T / (len(latents) * positions.sum())


@torch.no_grad()
def whiten_latents(vae: AutoencoderKL, drawings: np.ndarray, device: torch.device) -> None:
    """Change the latents' basis so that distances between them are distances between images."""
    z = torch.cat([vae.encode(to_tensor(drawings[i : i + 16], device)).latent_dist.mean
                   for i in range(0, len(drawings), 16)])  # fmt: skip
    values, vectors = torch.linalg.eigh(decoder_metric(vae, z[:24]))
    # What the decoder nearly ignores is kept small and not lost, so that the way back is defined.
    root = values.clamp(min=values.max() / 400).sqrt()
    change = vectors @ root.diag() @ vectors.T
    mean = z.mean((0, 2, 3))
    change /= torch.einsum("ij,njhw->nihw", change, z - mean[:, None, None]).std()
    out, back, c = vae.quant_conv, vae.post_quant_conv, LATENT_CHANNELS
    out.weight[:c] = torch.einsum("ij,jkhw->ikhw", change, out.weight[:c])
    out.bias[:c] = change @ (out.bias[:c] - mean)
    back.bias += back.weight[:, :, 0, 0] @ mean
    back.weight.copy_(torch.einsum("ijhw,jk->ikhw", back.weight, change.inverse()))
