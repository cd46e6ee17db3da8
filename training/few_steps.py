"""The few-step model: low-rank changes to the UNet, with which it foresees the end of its road.

Consistency distillation (Song et al. 2023, arXiv:2303.01469; for latents and with guidance, Luo et
al. 2023, arXiv:2310.04378): a student is to answer alike at two points of the guided road that its
teacher takes, so that it tells from any point where the road ends. One to four steps of
LCMScheduler are then enough, and guidance, which is now in the weights, no longer asks the UNet
twice. Only changes of low rank are learnt, as in LCM-LoRA (arXiv:2311.05556).
"""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import LCMScheduler
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import parametrize
from transformers import CLIPTokenizer

from training import denoiser, loop
from training.dataset import HELD_OUT

RANK = 48
# LCM-LoRA compares points 20 of 1,000 apart, so what is known at the end of the road has 50 points
# to pass, and that takes time. Here they are farther apart, and the teacher goes in strides.
APART, STRIDES = 240, 2
SCHEDULER = LCMScheduler(**denoiser.BETAS)
STEPS = (1, 2, 4, 8)  # that pictures are to be drawn in


def stations() -> list[int]:
    """The times that LCMScheduler asks at, for any of STEPS, and that the road from there meets: a
    third of all that it knows, and nothing is to be learnt between them.

    >>> 999 in stations(), len(stations())
    (True, 14)
    """
    found = set()
    for steps in STEPS:
        SCHEDULER.set_timesteps(steps)
        for time in SCHEDULER.timesteps.tolist():
            found |= set(range(time, 0, -APART))
    return sorted(found)


class LowRank(nn.Module):
    """A change to a weight: the product of a matrix of RANK columns, zero at first, and another."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        rows, columns = len(weight), weight[0].numel()
        self.up = nn.Parameter(weight.new_zeros(rows, RANK))
        self.down = nn.Parameter(weight.new_empty(RANK, columns).normal_(std=columns**-0.5))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The changed weight."""
        return weight + (self.up @ self.down).view_as(weight)


def build_student(teacher: nn.Module) -> nn.Module:
    """A copy of the teacher in which low-rank changes to every matrix and kernel are to be learnt.

    >>> student = build_student(nn.Sequential(nn.Linear(3, 4), nn.GroupNorm(2, 4)))
    >>> [name for name, p in student.named_parameters() if p.requires_grad]
    ['0.parametrizations.weight.0.up', '0.parametrizations.weight.0.down']
    """
    student = copy.deepcopy(teacher).requires_grad_(False)
    for layer in list(student.modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            parametrize.register_parametrization(layer, "weight", LowRank(layer.weight))
    return student


def change_of(layer: nn.Module) -> LowRank | None:
    """The low-rank change to a layer's weight, if it has one."""
    return layer.parametrizations.weight[0] if parametrize.is_parametrized(layer) else None


def load_changes(student: nn.Module, folder: Path) -> None:
    """Give the student the changes that `export.save_changes` wrote in `folder`."""
    saved = load_file(folder / "pytorch_lora_weights.safetensors")
    for name, layer in student.named_modules():
        if change := change_of(layer):
            for part, kind in ((change.down, "A"), (change.up, "B")):
                part.data.copy_(saved[f"unet.{name}.lora_{kind}.weight"].reshape(part.shape))


def stage(folder: Path, device: torch.device) -> loop.Made:
    """The student, which starts as its teacher: a pseudo-Huber distance between two answers."""
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    made = loop.load(denoiser.strength_stage, name="strength", folder=folder, device=device)
    teacher, text_encoder = made["unet"], made["text_encoder"]
    student = build_student(teacher)
    if (start := folder / "start" / "tiny-portraits-lcm").exists():
        load_changes(student, start)
    latents = np.load(folder / "latents.npy", mmap_mode="r")
    side = denoiser.right_over_left(latents)
    known = torch.tensor(stations(), device=device)
    alphas = SCHEDULER.alphas_cumprod.to(device)
    read = partial(denoiser.read_captions, tokenizer, text_encoder)

    def clean_of(noisy: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        alpha = alphas[times][:, None, None, None]
        return (noisy - (1 - alpha).sqrt() * noise) / alpha.sqrt()

    def end_of(noisy: torch.Tensor, times: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """Where the student says that the road ends, as LCMScheduler reads its answer."""
        scalings = SCHEDULER.get_scalings_for_boundary_condition_discrete(times)
        skip, out = (scaling[:, None, None, None] for scaling in scalings)
        guess = student(noisy, times, context).sample
        return skip * noisy + out * clean_of(noisy, guess, times)

    def walk(noisy: torch.Tensor, times: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """The teacher's guided road, a stride of DDIM at a time, for APART steps or to its end."""
        both = torch.cat([read([""]).expand_as(context), context])
        for _ in range(STRIDES):
            guess = teacher(noisy.repeat(2, 1, 1, 1), times.repeat(2), both).sample
            guess = torch.lerp(*guess.chunk(2), denoiser.GUIDANCE)
            clean, times = clean_of(noisy, guess, times), (times - APART // STRIDES).clamp(min=0)
            noisy = SCHEDULER.add_noise(clean, guess, times)
        return noisy

    def loss_of(rng: np.random.Generator, n: int, fraction: float) -> torch.Tensor:
        numbers = rng.integers(HELD_OUT, len(latents), n)
        mirrored, noise = denoiser.draw_noise(side, numbers, rng)
        clean = denoiser.scaled_latents(latents, numbers, mirrored, device)
        strata = (np.arange(n) + rng.random(n)) * len(known) / n
        times = known[strata.astype(np.int64)]
        nearer = (times - APART).clamp(min=0)
        with torch.no_grad():
            context = read(denoiser.describe(numbers, rng))
            noisy = SCHEDULER.add_noise(clean, noise.to(device), times)
            wanted = end_of(walk(noisy, times, context), nearer, context)
        error = end_of(noisy, times, context) - wanted
        return ((error.square() + 1e-4).sqrt() - 1e-2).mean()

    return nn.ModuleDict({"unet": student}), loss_of, None
