"""The decoder alone, trained on until its images are as crisp as drawings.

The encoder is frozen, so the latents stay the same. Training is on whole images: what a decoder
learns from crops, whose group norms differ, makes whole images worse.

A squared error alone is smallest where the decoder blurs what it cannot know. So, as for Stable
Diffusion's autoencoders (Esser et al. 2021, arXiv:2012.09841), a second network learns to tell its
images from drawings, and the guide's features count beside L1 and L2. Half of the latents are as
the denoiser leaves them (`strength.partially_redraw`), so that the decoder learns to mend those.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from training import strength
from training.autoencoder import NOISE, random_crops, to_tensor
from training.dataset import read_drawings
from training.judge import load_guide
from training.loop import Loss
from training.workspace import Workspace

PERCEPTUAL, ADVERSARIAL = 0.3, 0.05  # weights of the guide's features and of the discriminator


def build_discriminator() -> nn.Sequential:
    """Tells drawings from decoded images, patch by patch; hinge loss.

    >>> build_discriminator()(torch.zeros(1, 3, 128, 128)).shape
    torch.Size([1, 1, 30, 30])
    """
    layers, widths = [], (3, 32, 64, 128)
    for before, after, stride in zip(widths, widths[1:], (2, 2, 1), strict=False):
        layers += [spectral_norm(nn.Conv2d(before, after, 4, stride, 1)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 4, 1, 1)))


def stage(work: Workspace) -> tuple[nn.ModuleDict, Loss]:
    """Decoder and discriminator, which learn from each other and do not change each other."""
    further = work.start / "tiny-portraits-vae-ft"
    vae = AutoencoderKL.from_pretrained(further if further.exists() else work.folder / "vae")
    vae.to(work.device)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    discriminator, guide = build_discriminator().to(work.device), load_guide(work).vision_model
    drawings = read_drawings(work)[work.held_out :]
    redrawn = np.load(strength.redrawn_path(work), mmap_mode="r")

    def features(images: torch.Tensor) -> list[torch.Tensor]:
        hidden = guide(pixel_values=images, output_hidden_states=True).hidden_states[1:4]
        return [F.normalize(level, dim=1) for level in hidden]

    def loss_of(rng: np.random.Generator, n: int, fraction: float) -> torch.Tensor:
        numbers = rng.integers(0, len(redrawn), n // 2)
        others = random_crops(drawings, rng, n - n // 2, whole=True)
        true = to_tensor(np.concatenate([drawings[numbers], others]), work.device)
        with torch.no_grad():
            redrawn_latents = torch.from_numpy(redrawn[numbers].astype(np.float32)).to(work.device)
            latents = torch.cat([redrawn_latents, vae.encode(true[n // 2 :]).latent_dist.mean])
            noise = torch.from_numpy(rng.standard_normal(latents.shape, np.float32)).to(work.device)
            wanted = features(true)
        made = vae.decode(latents + NOISE * latents.std() * noise).sample
        perceptual = sum(
            (level - target).square().sum(1).mean()
            for level, target in zip(features(made), wanted, strict=True)
        )
        frozen = {name: value.detach() for name, value in discriminator.named_parameters()}
        generator_loss = -torch.func.functional_call(discriminator, frozen, made).mean()
        discriminator_loss = (
            F.relu(1 - discriminator(true)).mean() + F.relu(1 + discriminator(made.detach())).mean()
        )
        error = (made - true).abs().mean() + (made - true).square().mean()
        return error + PERCEPTUAL * perceptual + ADVERSARIAL * generator_loss + discriminator_loss

    return nn.ModuleDict({"vae": vae, "discriminator": discriminator}), loss_of
