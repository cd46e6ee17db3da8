"""The autoencoder: 128x128 pictures to 12x16x16 latents and back, and the decoder trained on.

Once trained, the latents' basis is changed, within the two 1x1 convolutions around them, so that a
difference between latents is as large as the difference between their pictures, the mean is 0 and
the deviation 1 over all channels: the denoiser's errors count as they will be seen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from training import loop
from training.dataset import HELD_OUT

CROP, LATENT_CHANNELS = 64, 12
# The latents that the denoiser sees are SCALING times these: at 1, what the layout is made of would
# outshine the noise even at the noisiest step of SD's schedule, and drawing starts without it.
SCALING = 0.5
NOISE = 0.03  # of the latents' deviation, so that the decoder forgives the denoiser's errors
WHOLE = 0.85  # of the budget: from there on whole pictures
# What the further-trained decoder is told: how a picture looks to the judge's eye and whether it
# can be told from a drawing, beside L1 and L2.
SEEN, ADVERSARIAL = 0.3, 0.05


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


def to_tensor(pictures: np.ndarray, device: torch.device) -> torch.Tensor:
    """uint8 (N, H, W, 3) to float (N, 3, H, W) in [-1, 1]."""
    tensor = torch.from_numpy(np.array(pictures, order="C")).to(device)
    return (tensor.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous()


def to_pictures(tensor: torch.Tensor) -> np.ndarray:
    """Float (N, 3, H, W) in [-1, 1] to uint8 (N, H, W, 3)."""
    return (tensor.clamp(-1, 1).add(1).mul(127.5).round().byte().permute(0, 2, 3, 1)).cpu().numpy()


def _batch(pictures: np.ndarray, rng: np.random.Generator, n: int, whole: bool) -> np.ndarray:
    """Random crops, or whole pictures, half of them mirrored."""
    size = pictures.shape[1] if whole else CROP
    crops = []
    for number in rng.integers(HELD_OUT, len(pictures), n):
        top, left = rng.integers(0, pictures.shape[1] - size + 1, 2)
        crop = pictures[number, top : top + size, left : left + size]
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    return np.stack(crops)


def read_pictures(folder: Path) -> np.ndarray:
    """The drawings that `dataset.pictures` left in `folder`."""
    return np.load(next(folder.glob("pictures-*[0-9].npy")), mmap_mode="r")


def _preview(vae: AutoencoderKL, pictures: np.ndarray, device: torch.device) -> Image.Image:
    """Eight held-out drawings above their reconstructions."""
    true = pictures[:8]
    made = to_pictures(vae(to_tensor(true, device)).sample)
    return Image.fromarray(np.concatenate([np.hstack(true), np.hstack(made)]))


def stage(folder: Path, device: torch.device) -> loop.Made:
    """The whole autoencoder. The first three channels are taught to be each 8x8 block's mean
    colour: left alone, the network finds shapes at once and whole axes of colour never. Nothing is
    sampled: a posterior's noise, as wide as the latents at first, drowns them."""
    vae = build().to(device)
    pictures = read_pictures(folder)

    def loss_of(rng: np.random.Generator, n: int, fraction: float) -> torch.Tensor:
        whole = fraction > WHOLE
        true = to_tensor(_batch(pictures, rng, n // 2 if whole else n, whole), device)
        latents = vae.encode(true).latent_dist.mean
        noise = torch.from_numpy(rng.standard_normal(latents.shape, np.float32)).to(device)
        made = vae.decode(latents + NOISE * latents.detach().std() * noise).sample
        colour = (latents[:, :3] - 2 * F.avg_pool2d(true, 8)).square().mean()
        return reconstruction_loss(made, true) + 0.5 * colour + 1e-4 * latents.square().mean()

    return nn.ModuleDict({"vae": vae}), loss_of, lambda: _preview(vae, pictures, device)


@torch.no_grad()
def _metric(vae: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """How far the decoder moves a picture for a step in the latents, (12, 12): a step `d` at one
    place changes it by the square root of `d @ metric @ d`. Steps 4 places apart do not meet."""
    places = torch.zeros(latents.shape[-2:], device=latents.device)
    places[2::4, 2::4] = 1
    size = 0.05 * latents.std()
    still, moved = vae.decode(latents).sample, []
    for channel in range(LATENT_CHANNELS):
        step = torch.zeros_like(latents)
        step[:, channel] = size * places
        moved.append((vae.decode(latents + step).sample - still).flatten() / size)
    moved = torch.stack(moved)
    return moved @ moved.T / (len(latents) * places.sum())


@torch.no_grad()
def level(vae: AutoencoderKL, pictures: np.ndarray, device: torch.device) -> None:
    """Change the latents' basis so that distances between them are distances between pictures."""
    z = torch.cat([vae.encode(to_tensor(pictures[i : i + 16], device)).latent_dist.mean
                   for i in range(0, len(pictures), 16)])  # fmt: skip
    values, vectors = torch.linalg.eigh(_metric(vae, z[:24]))
    # What the decoder does not heed is kept small, not lost: its way back stays defined.
    root = values.clamp(min=values.max() / 400).sqrt()
    change = vectors @ root.diag() @ vectors.T
    mean = z.mean((0, 2, 3))
    change /= torch.einsum("ij,njhw->nihw", change, z - mean[:, None, None]).std()
    out, back, c = vae.quant_conv, vae.post_quant_conv, LATENT_CHANNELS
    out.weight[:c] = torch.einsum("ij,jkhw->ikhw", change, out.weight[:c])
    out.bias[:c] = change @ (out.bias[:c] - mean)
    back.bias += back.weight[:, :, 0, 0] @ mean
    back.weight.copy_(torch.einsum("ijhw,jk->ikhw", back.weight, change.inverse()))


def build_discriminator() -> nn.Sequential:
    """Tells drawings from what the decoder makes of them, patch by patch; hinge loss.

    >>> build_discriminator()(torch.zeros(1, 3, 128, 128)).shape
    torch.Size([1, 1, 30, 30])
    """
    layers, widths = [], (3, 32, 64, 128)
    for before, after, stride in zip(widths, widths[1:], (2, 2, 1), strict=False):
        layers += [spectral_norm(nn.Conv2d(before, after, 4, stride, 1)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, spectral_norm(nn.Conv2d(widths[-1], 1, 4, 1, 1)))


def decoder_stage(folder: Path, device: torch.device) -> loop.Made:
    """The decoder alone, trained on until its pictures are as crisp as drawings. The encoder is
    frozen, so it decodes the same latents. It sees whole pictures: what it would learn from crops,
    whose norms differ, makes whole pictures worse.

    A squared error alone is smallest where the decoder blurs what it cannot know. So, as for the
    autoencoders of Stable Diffusion (Esser et al. 2021, arXiv:2012.09841), a second network learns
    to tell its pictures from drawings, and the judge's eye says what matters in them. Half of the
    latents are as the denoiser leaves them (`denoiser.draw_again`), so that it learns to mend what
    melts there.
    """
    from training.denoiser import read_judge

    start = folder / "start" / "tiny-portraits-vae-ft"
    vae = AutoencoderKL.from_pretrained(start if start.exists() else folder / "vae").to(device)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    critic = build_discriminator().to(device)
    eye = read_judge(folder, device).vision_model
    pictures, again = read_pictures(folder), np.load(folder / "again.npy", mmap_mode="r")

    def look(images: torch.Tensor) -> list[torch.Tensor]:
        stages = eye(pixel_values=images, output_hidden_states=True).hidden_states[1:4]
        return [F.normalize(stage, dim=1) for stage in stages]

    def loss_of(rng: np.random.Generator, n: int, fraction: float) -> torch.Tensor:
        redrawn = rng.integers(0, len(again), n // 2)
        others = _batch(pictures, rng, n - n // 2, whole=True)
        true = to_tensor(np.concatenate([pictures[HELD_OUT + redrawn], others]), device)
        with torch.no_grad():
            left = torch.from_numpy(again[redrawn].astype(np.float32)).to(device)
            latents = torch.cat([left, vae.encode(true[n // 2 :]).latent_dist.mean])
            noise = torch.from_numpy(rng.standard_normal(latents.shape, np.float32)).to(device)
            wanted = look(true)
        made = vae.decode(latents + NOISE * latents.std() * noise).sample
        error = made - true
        seen = sum(
            (one - other).square().sum(1).mean()
            for one, other in zip(look(made), wanted, strict=True)
        )
        # The critic learns from what was made, the decoder from what the critic says, and neither
        # changes the other: so each is held still while the other's gradients are taken.
        still = {name: value.detach() for name, value in critic.named_parameters()}
        fooled = -torch.func.functional_call(critic, still, made).mean()
        told_apart = F.relu(1 - critic(true)).mean() + F.relu(1 + critic(made.detach())).mean()
        error = error.abs().mean() + error.square().mean()
        return error + SEEN * seen + ADVERSARIAL * fooled + told_apart

    modules = nn.ModuleDict({"vae": vae, "critic": critic})
    return modules, loss_of, lambda: _preview(vae, pictures, device)
