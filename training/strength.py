"""The denoiser as it is shipped: captions at CAPTION_STRENGTH, and guidance by a worse denoiser.

Autoguidance (Karras et al. 2024, arXiv:2406.02507) moves away from what a worse version of the same
denoiser, here the early checkpoint, predicts. It would cost two more UNet calls at every step, so
it is taught to the weights: classifier-free guidance at GUIDANCE_SCALE then gives both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm
from transformers import CLIPTokenizer

from training import denoiser, loop
from training.autoencoder import SCALING
from training.captions import caption
from training.dataset import spec_of
from training.denoiser import CAPTION_STRENGTH, SCHEDULE, encode_captions
from training.latents import latents_path, right_minus_left, sample_noise, scaled_latents
from training.workspace import Workspace, cached, digest

GUIDANCE_SCALE = 7.5  # that images are generated with
# Of the teacher, whose captions have their full strength. Stronger guidance spoils faces, but the
# noisiest steps decide the subject, where the student would follow a weaker one badly.
GUIDANCE, NOISIEST_GUIDANCE, AUTOGUIDANCE = 1.5, 2.5, 0.25
RISE = (350, 800)  # the steps, of 1,000, between which guidance rises
# A third of the steps are among the noisiest: the subject is decided there, and errors count most.
NOISIEST, NOISIEST_SHARE = 700, 1 / 3
# The decoder also learns from latents as the denoiser leaves them.
REDRAWN, REDRAWN_FROM, STRIDE = 1_000, 200, 50  # drawings; steps of 1,000

# noisy latents, steps, captions -> the noise predicted without captions and the guided noise
Teacher = Callable[[torch.Tensor, torch.Tensor, list[str]], tuple[torch.Tensor, torch.Tensor]]


def load_early(work: Workspace) -> nn.ModuleDict:
    """The early checkpoint with captions at their full strength."""
    if not work.start.exists():
        return loop.load(denoiser.early_stage, "early", work)
    folder = work.start / "tiny-portraits-early"
    modules = denoiser.load_folder(work, folder, 1 / CAPTION_STRENGTH)
    return modules.eval().requires_grad_(False)


def load_teacher(work: Workspace) -> tuple[nn.ModuleDict, Teacher]:
    """The trained denoiser, and its prediction guided by captions and by the early checkpoint."""
    tokenizer = CLIPTokenizer.from_pretrained(work.folder / "tokenizer")
    good, bad = loop.load(denoiser.stage, "denoiser", work), load_early(work)

    @torch.no_grad()
    def teach(
        noisy: torch.Tensor, times: torch.Tensor, captions: list[str]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        without, change = predict(tokenizer, good, noisy, times, captions)
        context = encode_captions(tokenizer, bad["text_encoder"], captions)
        worse = bad["unet"](noisy, times, context).sample.float()
        away = without + change - worse
        return without, without + guidance_at(times) * change + AUTOGUIDANCE * away

    return good, teach


def guidance_at(times: torch.Tensor) -> torch.Tensor:
    """The teacher's guidance at these steps, (n, 1, 1, 1).

    >>> guidance_at(torch.tensor([0, 575, 999])).flatten().tolist()
    [1.5, 2.0, 2.5]
    """
    low, high = RISE
    rise = ((times - low) / (high - low)).clamp(0, 1).reshape(-1, 1, 1, 1)
    return GUIDANCE + (NOISIEST_GUIDANCE - GUIDANCE) * rise


def predict(
    tokenizer: CLIPTokenizer, modules: nn.ModuleDict, noisy: torch.Tensor, times: torch.Tensor,
    captions: list[str],
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """The noise predicted without captions, and what captions add to it; (n, 12, 16, 16) each."""
    context = encode_captions(tokenizer, modules["text_encoder"], [""] * len(captions) + captions)
    both = modules["unet"](noisy.repeat(2, 1, 1, 1), times.repeat(2), context).sample.float()
    without, with_captions = both.chunk(2)
    return without, with_captions - without


def stage(work: Workspace) -> tuple[nn.ModuleDict, loop.Loss]:
    """The denoiser that was shipped before, or else a copy of the trained one, learns to predict
    what the teacher predicts without captions, and under guidance at GUIDANCE_SCALE what the
    teacher predicts under guidance. Nothing in that is random but the sample, so a short training
    is enough."""
    tokenizer = CLIPTokenizer.from_pretrained(work.folder / "tokenizer")
    good, teach = load_teacher(work)
    if work.start.exists():
        student = denoiser.load_folder(work, work.start / "tiny-portraits")
    else:
        parts = {name: copy.deepcopy(good[name]) for name in ("unet", "text_encoder")}
        student = nn.ModuleDict(parts)
        denoiser.scale_text_conditioning(student["text_encoder"], tokenizer, CAPTION_STRENGTH)
    student.train().requires_grad_(True)
    latents = np.load(latents_path(work), mmap_mode="r")
    side = right_minus_left(latents, work.held_out)

    def loss_of(rng: np.random.Generator, n: int, fraction: float) -> torch.Tensor:
        n = max(1, n // 2)  # the UNet is called twice for each
        numbers = rng.integers(work.held_out, len(latents), n)
        captions = denoiser.sample_captions(numbers, rng)
        times = denoiser.sample_timesteps(n, rng, work.device)
        early = round(n * NOISIEST_SHARE)
        times[:early] = torch.from_numpy(rng.integers(NOISIEST, 1000, early))
        mirrored, noise = sample_noise(side, numbers, rng)
        clean = scaled_latents(latents, numbers, mirrored, work.device)
        noisy = SCHEDULE.add_noise(clean, noise.to(work.device), times)
        wanted, wanted_guided = teach(noisy, times, captions)
        without, change = predict(tokenizer, student, noisy, times, captions)
        guided = without + GUIDANCE_SCALE * change
        loss = denoiser.weighted_error(without, wanted, times)
        return loss + denoiser.weighted_error(guided, wanted_guided, times)

    return student, loss_of


def final_weights(work: Workspace) -> Path:
    """The file with the denoiser that is shipped: this training's, or the one it started with."""
    if (path := loop.checkpoint(work, "strength")).exists():
        return path
    return next((work.start / "tiny-portraits" / "unet").glob("*.safetensors"))


def load_final(work: Workspace) -> nn.ModuleDict:
    """The denoiser that is shipped, see `final_weights`."""
    if loop.checkpoint(work, "strength").exists():
        return loop.load(stage, "strength", work)
    modules = denoiser.load_folder(work, work.start / "tiny-portraits")
    return modules.eval().requires_grad_(False)


def redrawn_path(work: Workspace) -> Path:
    """Where `partially_redraw` keeps its latents, (REDRAWN, 12, 16, 16) float16."""
    return work.folder / f"redrawn-{digest(final_weights(work), latents_path(work).name)}.npy"


def partially_redraw(work: Workspace) -> None:
    """Keep the latents of REDRAWN drawings noised to step REDRAWN_FROM and denoised again, unless
    this denoiser has done so with these latents."""
    cached(redrawn_path(work), partial(_redraw, work))


@torch.no_grad()
def _redraw(work: Workspace) -> np.ndarray:
    tokenizer, modules = CLIPTokenizer.from_pretrained(work.folder / "tokenizer"), load_final(work)
    latents = np.load(latents_path(work), mmap_mode="r")
    rng, parts = np.random.default_rng(0), []
    last = min(work.held_out + REDRAWN, len(latents))
    for start in tqdm(range(work.held_out, last, 16), "redrawing"):
        numbers = np.arange(start, min(start + 16, last))
        clean = scaled_latents(latents, numbers, np.zeros_like(numbers), work.device)
        captions = [caption(spec_of(int(n)), rng, keep=1.0) for n in numbers]
        noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32)).to(work.device)
        times = torch.arange(REDRAWN_FROM, 0, -STRIDE, device=work.device)
        noisy = SCHEDULE.add_noise(clean, noise, times[:1])
        for time in times:
            without, change = predict(
                tokenizer, modules, noisy, time.expand(len(numbers)), captions
            )
            clean, noisy = ddim_step(noisy, without + GUIDANCE_SCALE * change, time, time - STRIDE)
        parts.append((clean / SCALING).half().cpu())
    return torch.cat(parts).numpy()


def ddim_step(
    noisy: torch.Tensor, noise: torch.Tensor, time: torch.Tensor, earlier: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The predicted clean latents, and noisy ones at an `earlier` step (Song et al. 2020,
    arXiv:2010.02502); steps are () or (n,)."""
    alphas = SCHEDULE.alphas_cumprod.to(noisy.device)
    now, then = (alphas[step].reshape(-1, 1, 1, 1) for step in (time, earlier))
    clean = (noisy - (1 - now).sqrt() * noise) / now.sqrt()
    return clean, then.sqrt() * clean + (1 - then).sqrt() * noise
