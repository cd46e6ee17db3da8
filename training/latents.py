"""The latents of all drawings and of their mirror images, and what the guide sees in them: computed
once, by every core, into files whose names tell which drawings and which weights made them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from tqdm.auto import tqdm

from training.autoencoder import SCALING, to_tensor
from training.dataset import drawings_digest, read_drawings, spec_of
from training.judge import load_guide
from training.workspace import Workspace, cached, digest

CHUNK = 512  # drawings encoded in one go
PROFILES = 2_000  # drawings among which profiles are averaged


def vae_weights(work: Workspace) -> Path:
    """The file of the autoencoder that makes the latents."""
    return work.folder / "vae" / "diffusion_pytorch_model.safetensors"


def latents_path(work: Workspace) -> Path:
    """Where the latents of all drawings are kept, (drawings, 2, 12, 16, 16) float16."""
    name = digest(vae_weights(work), drawings_digest(work.drawings))
    return work.folder / f"latents-{name}.npy"


def features_path(work: Workspace) -> Path:
    """Where the guide's features of all drawings are kept, (drawings, 2, 192, 4, 4) float16."""
    guide = work.folder / "guide" / "model.safetensors"
    return work.folder / f"features-{digest(guide, drawings_digest(work.drawings))}.npy"


@torch.no_grad()
def map_with_mirrored(
    function: Callable[[torch.Tensor], torch.Tensor], drawings: np.ndarray, device: torch.device
) -> np.ndarray:
    """What `function` makes of drawings and of their mirror images, (n, 2, ...) float16."""
    parts = []
    for start in range(0, len(drawings), 16):
        part = to_tensor(drawings[start : start + 16], device)
        both = torch.stack([part, part.flip(-1)], 1).flatten(0, 1)
        parts.append(function(both.contiguous(memory_format=torch.channels_last)).half().cpu())
    return torch.cat(parts).unflatten(0, (-1, 2)).numpy()


def load_encoder(work: Workspace) -> Callable[[torch.Tensor], torch.Tensor]:
    """From images (n, 3, 128, 128) to latents (n, 12, 16, 16)."""
    vae = AutoencoderKL.from_pretrained(work.folder / "vae").to(work.device)
    vae.to(memory_format=torch.channels_last)
    return lambda images: vae.encode(images).latent_dist.mean


def load_features(work: Workspace) -> Callable[[torch.Tensor], torch.Tensor]:
    """From images (n, 3, 128, 128) to the guide's features (n, 192, 4, 4)."""
    vision = load_guide(work).vision_model.to(memory_format=torch.channels_last)
    return lambda images: vision(images).last_hidden_state


def _chunk(load: Callable, work: Workspace, start: int) -> np.ndarray:
    if work.device.type == "cpu":
        torch.set_num_threads(1)
    return map_with_mirrored(load(work), read_drawings(work)[start : start + CHUNK], work.device)


def _all_chunks(load: Callable, work: Workspace, label: str) -> np.ndarray:
    workers = os.cpu_count() if work.device.type == "cpu" else 1
    starts = range(0, work.drawings, CHUNK)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(_chunk, load, work, start) for start in starts]
        return np.concatenate([job.result() for job in tqdm(jobs, label)])


def make_latents(work: Workspace) -> None:
    """Encode all drawings, unless this autoencoder has encoded these drawings."""
    cached(latents_path(work), partial(_all_chunks, load_encoder, work, "latents"))


def make_features(work: Workspace) -> None:
    """Show the guide all drawings, unless this guide has seen these drawings."""
    cached(features_path(work), partial(_all_chunks, load_features, work, "features"))


def scaled_latents(
    latents: np.ndarray, numbers: np.ndarray, mirrored: np.ndarray, device: torch.device
) -> torch.Tensor:
    """The latents of these drawings as the UNet sees them, (n, 12, 16, 16); `mirrored` is 0 or 1
    for each."""
    return torch.from_numpy(SCALING * latents[numbers, mirrored].astype(np.float32)).to(device)


def looks_right(numbers: np.ndarray) -> np.ndarray:
    """Whether the faces in these drawings look to the right, (n,)."""
    return np.array([spec_of(int(number)).direction == "right" for number in numbers])


def right_minus_left(latents: np.ndarray, held_out: int) -> np.ndarray:
    """The mean of profiles that look right minus that of their mirror images, (12, 16, 16)."""
    candidates = range(held_out, min(held_out + PROFILES, len(latents)))
    numbers = np.array([n for n in candidates if spec_of(n).view == "side"], int)
    right = looks_right(numbers).astype(int)
    return np.subtract(latents[numbers, 1 - right], latents[numbers, right], dtype=float).mean(0)


def sample_noise(
    side: np.ndarray, numbers: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, torch.Tensor]:
    """Whether to take the mirror image of each of these drawings, 0 or 1, (n,), and noise for it,
    (n, 12, 16, 16).

    Noise that correlates with `side`, from `right_minus_left`, goes to faces that look right, other
    noise to faces that look left: so the seed decides the direction, whatever the caption says.
    """
    noise = rng.standard_normal((len(numbers), *side.shape), np.float32)
    mirrored = looks_right(numbers) != (np.tensordot(noise, side, 3) > 0)
    return mirrored.astype(int), torch.from_numpy(noise)
