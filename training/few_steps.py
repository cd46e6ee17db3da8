"""The few-step model: low-rank changes to the UNet, with which one to four steps are enough.

Consistency distillation (Song et al. 2023, arXiv:2303.01469; for latents and with guidance, Luo et
al. 2023, arXiv:2310.04378): a student learns to predict the same clean latents from two points of
one path that its teacher takes, so from any point it predicts where the path ends. Guidance, which
is then in the weights, no longer calls the UNet twice. Only changes of low rank are learnt, as in
LCM-LoRA (arXiv:2311.05556).
"""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import LCMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils import parametrize
from transformers import CLIPTokenizer

from training import denoiser, latents, strength
from training.loop import Loss
from training.workspace import Workspace

RANK = 48
# LCM-LoRA compares points 20 of 1,000 steps apart, so what is known at the end of the path passes
# through 50 points, which takes long. Here they are farther apart, and the teacher takes two steps.
TIMESTEP_GAP, TEACHER_STEPS = 240, 2
SCHEDULER = LCMScheduler(**denoiser.BETAS)
STEPS = (1, 2, 4, 8)  # inference steps to train for


def trained_timesteps() -> list[int]:
    """The timesteps that LCMScheduler uses for any of STEPS, and those that the path from there
    meets: a third of all that it knows, and nothing has to be learnt between them.

    >>> 999 in trained_timesteps(), len(trained_timesteps())
    (True, 14)
    """
    found = set()
    for steps in STEPS:
        SCHEDULER.set_timesteps(steps)
        for time in SCHEDULER.timesteps.tolist():
            found |= set(range(time, 0, -TIMESTEP_GAP))
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
    """A copy of the teacher in which only low-rank changes to matrices and kernels are trained.

    >>> student = build_student(nn.Sequential(nn.Linear(3, 4), nn.GroupNorm(2, 4)))
    >>> [name for name, p in student.named_parameters() if p.requires_grad]
    ['0.parametrizations.weight.0.up', '0.parametrizations.weight.0.down']
    """
    student = copy.deepcopy(teacher).requires_grad_(False)
    for layer in list(student.modules()):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            parametrize.register_parametrization(layer, "weight", LowRank(layer.weight))
    return student


def changes(student: nn.Module) -> dict[str, tuple[nn.Module, LowRank]]:
    """The layers of a student that have a low-rank change, by name, and the change."""
    return {name: (layer, layer.parametrizations.weight[0])
            for name, layer in student.named_modules()
            if parametrize.is_parametrized(layer)}  # fmt: skip


def save_changes(student: nn.Module, folder: Path) -> None:
    """Write the low-rank changes as diffusers and PEFT name and shape them."""
    layers = {}
    for name, (layer, change) in changes(student).items():
        kernel = layer.weight.shape[2:]
        down = change.down.reshape(len(change.down), -1, *kernel)
        up = change.up.reshape(*change.up.shape, *(1 for _ in kernel))
        layers |= {f"{name}.lora_A.weight": down.half(), f"{name}.lora_B.weight": up.half()}
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers)


def load_changes(student: nn.Module, folder: Path) -> None:
    """Give a student the changes in `folder`; layers that they do not know stay unchanged."""
    saved = load_file(folder / "pytorch_lora_weights.safetensors")
    for name, (_, change) in changes(student).items():
        for part, kind in ((change.down, "A"), (change.up, "B")):
            if (weight := saved.get(f"unet.{name}.lora_{kind}.weight")) is not None:
                part.data.copy_(weight.reshape(part.shape))


def stage(work: Workspace) -> tuple[nn.ModuleDict, Loss]:
    """The student, which starts as the shipped denoiser: a pseudo-Huber distance between two of its
    predictions of the clean latents."""
    tokenizer = CLIPTokenizer.from_pretrained(work.folder / "tokenizer")
    final, (_, teach) = strength.load_final(work), strength.load_teacher(work)
    student = build_student(final["unet"])
    if (start := work.start / "tiny-portraits-lcm").exists():
        load_changes(student, start)
    encoded = np.load(latents.latents_path(work), mmap_mode="r")
    side = latents.right_minus_left(encoded, work.held_out)
    timesteps = torch.tensor(trained_timesteps(), device=work.device)
    read = partial(denoiser.encode_captions, tokenizer, final["text_encoder"])

    def end_of(noisy: torch.Tensor, times: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """The clean latents that the student predicts, as LCMScheduler reads its output."""
        scalings = SCHEDULER.get_scalings_for_boundary_condition_discrete(times)
        skip, out = (scaling[:, None, None, None] for scaling in scalings)
        clean, _ = strength.ddim_step(noisy, student(noisy, times, context).sample, times, times)
        return skip * noisy + out * clean

    def follow(noisy: torch.Tensor, times: torch.Tensor, captions: list[str]) -> torch.Tensor:
        """The teacher's path for TIMESTEP_GAP, or to its end."""
        for _ in range(TEACHER_STEPS):
            earlier = (times - TIMESTEP_GAP // TEACHER_STEPS).clamp(min=0)
            _, guided = teach(noisy, times, captions)
            _, noisy = strength.ddim_step(noisy, guided, times, earlier)
            times = earlier
        return noisy

    def loss_of(rng: np.random.Generator, n: int, fraction: float) -> torch.Tensor:
        numbers = rng.integers(work.held_out, len(encoded), n)
        mirrored, noise = latents.sample_noise(side, numbers, rng)
        clean = latents.scaled_latents(encoded, numbers, mirrored, work.device)
        strata = (np.arange(n) + rng.random(n)) * len(timesteps) / n
        times = timesteps[strata.astype(np.int64)]
        captions = denoiser.sample_captions(numbers, rng)
        with torch.no_grad():
            context = read(captions)
            noisy = SCHEDULER.add_noise(clean, noise.to(work.device), times)
            nearer = (times - TIMESTEP_GAP).clamp(min=0)
            wanted = end_of(follow(noisy, times, captions), nearer, context)
        error = end_of(noisy, times, context) - wanted
        return ((error.square() + 1e-4).sqrt() - 1e-2).mean()

    return nn.ModuleDict({"unet": student}), loss_of
