"""The denoiser: UNet and text encoder, trained together to predict the noise in the latents."""

from __future__ import annotations

import copy
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    VisionTextDualEncoderModel,
)

from training import loop
from training.autoencoder import LATENT_CHANNELS, SCALING, read_pictures, to_tensor
from training.captions import caption
from training.dataset import HELD_OUT, spec_of

CHUNK = 512  # drawings encoded in one go
USUAL = 2_000  # drawings that say what looking right has over looking left
EMPTY = 0.1  # captions left out altogether, for classifier-free guidance
# Captions from the web say little of their picture, so that Stable Diffusion wants a guidance scale
# of 7.5; ours say all, and 3 would do. So a last training leaves this share of what a caption
# changes. Guidance enlarges whatever that gets wrong, so the guided guess counts too, by GUIDED.
CAPTION_STRENGTH, GUIDED = 0.4, 0.25
# A step's weight makes its error count as in v-prediction (Salimans and Ho 2022, arXiv:2202.00512),
# within limits at both ends: min-SNR weighting (Hang et al. 2023, arXiv:2303.09556), and a ceiling.
MIN_SNR, MAX_WEIGHT = 5.0, 200.0
# The middle of the UNet is to see in the noise what the judge sees in the picture: representation
# alignment (Yu et al. 2024, arXiv:2410.06940), with the judge as the one who can see. It helps to
# begin with; later it would cost fine detail.
ALIGN, ALIGN_UNTIL = 0.5, 0.2  # of the budget
# The decoder also learns from latents as the denoiser leaves them.
AGAIN, AGAIN_FROM, GUIDANCE = 1_000, 200, 7.5  # drawings, step of 1,000
TEXT_WIDTH = 128
CONSTANT = 5.0  # times the noise, see `start_from_identity`

# Stable Diffusion 1.5's own scheduler_config.json, to the letter: what it leaves out (the steps'
# spacing) and what it adds (clip_sample) decides how other schedulers are made from it.
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}
BETAS = {key: SCHEDULER[key] for key in ("beta_start", "beta_end", "beta_schedule")}
SCHEDULE = DDPMScheduler(**BETAS)
SNR = SCALING**2 * SCHEDULE.alphas_cumprod / (1 - SCHEDULE.alphas_cumprod)
LOG_NOISE = (-0.5 * SNR.log()).numpy()  # of each step, in the latents' deviations
LOG_NORMAL_SIGMA = 1.2
WEIGHTS = ((SNR.clamp(max=MIN_SNR) + 1) / SNR).clamp(max=MAX_WEIGHT)


def build_unet() -> UNet2DConditionModel:
    """SD1.x's UNet in miniature: three levels, cross-attention to the text, one layer each."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(48, 96, 144),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,  # as in SD1.5's config, this is the number of heads
        norm_num_groups=16,
    )


@torch.no_grad()
def load_unet(weights: dict[str, torch.Tensor]) -> UNet2DConditionModel:
    """`build_unet` with these weights. Where they come from a UNet without attention in its last up
    block, that attention starts as the identity, so the UNet computes what it did before."""
    unet = build_unet()
    missing, unexpected = unet.load_state_dict(weights, strict=False)
    last = f"up_blocks.{len(unet.up_blocks) - 1}.attentions."
    if unexpected or not all(name.startswith(last) for name in missing):
        raise ValueError(f"These are not weights of this UNet: {[*unexpected, *missing][:3]}, ...")
    if missing:
        for attention in unet.up_blocks[-1].attentions:
            nn.init.zeros_(attention.proj_out.weight)
            nn.init.zeros_(attention.proj_out.bias)
    return unet


@torch.no_grad()
def start_from_identity(unet: UNet2DConditionModel) -> None:
    """Make an untrained UNet answer with its input, which at high noise nearly is the noise.

    Learnt from nothing, this takes a small UNet thousands of steps, and until then its guess at the
    noisiest steps, where the layout is decided, is worse than none. The input and its negative are
    carried past every block, through the outermost skip connection; and silu(x) - silu(-x) is x.

    The norm before the last layer divides a group of channels by its deviation, and that of noise
    on 16x16 places differs by 2.5% from one picture to the next: what the answer then leaves of the
    noise is more, twenty steps later, than the picture. So each pair shares its group with a
    constant, loud enough that the deviation is nearly always the same.
    """
    first, last = unet.conv_in, unet.up_blocks[-1].resnets[-1]
    norm, out, shortcut = unet.conv_norm_out, unet.conv_out, last.conv_shortcut
    width = norm.num_channels // norm.num_groups  # 3 in a group
    attention = unet.up_blocks[-1].attentions[-1].proj_out
    for layer in (last.conv2, out, attention):
        layer.weight[:] = 0
        layer.bias[:] = 0
    shortcut.weight[: width * LATENT_CHANNELS] = 0
    shortcut.bias[: width * LATENT_CHANNELS] = 0
    deviation = (2 / 3 + 2 / 9 * CONSTANT**2) ** 0.5  # of a group: noise, its negative, CONSTANT
    for channel in range(LATENT_CHANNELS):
        for place, sign in ((width * channel, 1), (width * channel + 1, -1)):
            first.weight[place] = 0
            first.bias[place] = 0
            first.weight[place, channel, 1, 1] = sign
            shortcut.weight[place, last.out_channels + place] = 1
            norm.weight[place] = deviation
            norm.bias[place] = CONSTANT / 3
            out.weight[channel, place, 1, 1] = sign
        shortcut.bias[width * channel + 2] = CONSTANT


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """CLIP's text encoder in miniature: two layers, 77 tokens."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=TEXT_WIDTH, intermediate_size=256,
            num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=77,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def _both(folder: Path, start: int, device: torch.device) -> Iterator[torch.Tensor]:
    """One chunk of drawings and their mirror images, (2 n, 3, 128, 128), in parts."""
    if device.type == "cpu":
        torch.set_num_threads(1)
    pixels = read_pictures(folder)[start : start + CHUNK]
    for i in range(0, len(pixels), 16):
        part = to_tensor(pixels[i : i + 16], device)
        both = torch.stack([part, part.flip(-1)], 1).flatten(0, 1)
        yield both.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _encode(folder: Path, start: int, device: torch.device) -> np.ndarray:
    """The latents of one chunk of drawings and of their mirror images, (n, 2, 12, 16, 16)."""
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    vae.to(device, memory_format=torch.channels_last)
    latents = [vae.encode(p).latent_dist.mean.half().cpu() for p in _both(folder, start, device)]
    return torch.cat(latents).unflatten(0, (-1, 2)).numpy()


@torch.no_grad()
def _look(folder: Path, start: int, device: torch.device) -> np.ndarray:
    """What the judge sees in one chunk of drawings and their mirror images, (n, 2, 192, 4, 4)."""
    eye = read_judge(folder, device).vision_model.to(memory_format=torch.channels_last)
    seen = [eye(p).last_hidden_state.half().cpu() for p in _both(folder, start, device)]
    return torch.cat(seen).unflatten(0, (-1, 2)).numpy()


def cache(folder: Path, device: torch.device, align: bool = True) -> None:
    """Write the latents of all drawings and of their mirror images to `folder`/latents.npy, encoded
    by every core, and, for `ALIGN`, what the judge sees in them to seen.npy."""
    starts = range(0, len(read_pictures(folder)), CHUNK)
    workers = os.cpu_count() if device.type == "cpu" else 1
    for name, work in (("latents", _encode), ("seen", _look))[: 1 + align]:
        if (path := folder / f"{name}.npy").exists():
            continue
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            jobs = [pool.submit(work, folder, start, device) for start in starts]
            np.save(path, np.concatenate([job.result() for job in tqdm(jobs, name)]))


def assemble(folder: Path, modules: nn.ModuleDict, device: torch.device) -> StableDiffusionPipeline:
    """The pipeline of these modules with the autoencoder and the tokenizer in `folder`."""
    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(folder / "vae").to(device),
        text_encoder=modules["text_encoder"],
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        unet=modules["unet"],
        scheduler=PNDMScheduler.from_config(SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _preview(pipeline: StableDiffusionPipeline) -> Image.Image:
    """The four ages of the walkthrough's prompt, and four other prompts, one seed."""
    tail = ", tribal panther make up, blue on red, side profile, looking away, serious eyes"
    ages = ("the oldest", "a old", "a", "a young")
    prompts = [f"portrait photo of {age} warrior chief{tail}" for age in ages] + [
        "oil painting of a young queen, green on pink, front view, smiling",
        "comic book drawing of the oldest wizard, purple on yellow, looking at the camera",
        "pencil sketch of a old knight, star make up, teal on orange, side profile",
        "watercolour of a pirate, red on white, smiling, wide angle photography",
    ]
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(1) for _ in prompts]
    images = pipeline(prompts, generator=generators, num_inference_steps=20).images
    return Image.fromarray(np.hstack([np.asarray(i) for i in images]))


def read_judge(folder: Path, device: torch.device) -> VisionTextDualEncoderModel:
    """The judge that an earlier stage left in `folder`, in float32, not to be trained."""
    model = VisionTextDualEncoderModel.from_pretrained(folder / "judge", dtype=torch.float32)
    return model.to(device).eval().requires_grad_(False)


def read_captions(
    tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, words: list[str]
) -> torch.Tensor:
    """What the UNet is told of these captions, (n, 77, TEXT_WIDTH)."""
    tokens = tokenizer(words, padding="max_length", truncation=True, return_tensors="pt")
    return text_encoder(tokens.input_ids.to(text_encoder.device)).last_hidden_state


def scaled_latents(
    latents: np.ndarray, numbers: np.ndarray, mirrored: np.ndarray, device: torch.device
) -> torch.Tensor:
    """The latents of these drawings as the UNet knows them, (n, 12, 16, 16); `mirrored` is 0 or 1
    for each."""
    return torch.from_numpy(SCALING * latents[numbers, mirrored].astype(np.float32)).to(device)


def looks_right(numbers: np.ndarray) -> np.ndarray:
    """Whether the faces in these drawings look to the right, (n,)."""
    return np.array([spec_of(int(n)).direction == "right" for n in numbers])


def right_over_left(latents: np.ndarray) -> np.ndarray:
    """What latents of profiles that look right have over their mirror images', (12, 16, 16)."""
    usual = range(HELD_OUT, min(HELD_OUT + USUAL, len(latents)))
    numbers = np.array([n for n in usual if spec_of(n).view == "side"], int)
    if not numbers.size:
        raise ValueError(
            f"No profile to train on is among {len(latents):,} drawings, of which {HELD_OUT:,} are "
            f"kept for the examination: draw {HELD_OUT + USUAL:,} or more (--pictures)."
        )
    right = looks_right(numbers).astype(int)
    return np.subtract(latents[numbers, 1 - right], latents[numbers, right], dtype=float).mean(0)


def draw_noise(
    side: np.ndarray, numbers: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, torch.Tensor]:
    """Whether to take the mirror image of each of these drawings, 0 or 1, (n,), and noise for it,
    (n, 12, 16, 16).

    Noise with something of `side`, from `right_over_left`, goes to faces that look right, its
    opposite to the others: so a seed decides the direction by itself, whatever the caption says.
    """
    noise = rng.standard_normal((len(numbers), *side.shape), np.float32)
    mirrored = looks_right(numbers) != (np.tensordot(noise, side, 3) > 0)
    return mirrored.astype(int), torch.from_numpy(noise)


def describe(numbers: np.ndarray, rng: np.random.Generator, empty: float = 0.0) -> list[str]:
    """A caption for each of these drawings, a share of `empty` of them left out."""
    return [caption(spec_of(int(n)), rng) if rng.random() >= empty else "" for n in numbers]


def sample_timesteps(n: int, rng: np.random.Generator, device: torch.device) -> torch.Tensor:
    """Steps to noise latents to, (n,), in random order.

    One half is log-normal around noise as strong as the latents (Karras et al. 2022,
    arXiv:2206.00364, section 5), where faces are decided; the other is uniform. Both have one step
    in every stratum.
    """
    half = n // 2
    shares = (np.arange(half) + rng.random(half)) / half if half else np.empty(0)
    quantiles = torch.special.ndtri(torch.from_numpy(shares.clip(1e-3, 1 - 1e-3))).numpy()
    near = np.interp(LOG_NORMAL_SIGMA * quantiles, LOG_NOISE, np.arange(1000))
    uniform = (np.arange(n - half) + rng.random(n - half)) * 1000 / (n - half)
    times = np.concatenate([near, uniform]).clip(0, 999).astype(np.int64)
    return torch.from_numpy(rng.permutation(times)).to(device)


def weighted_error(guess: torch.Tensor, wanted: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """The mean squared error of the noise guessed at these steps, as WEIGHTS make it count."""
    error = F.mse_loss(guess.float(), wanted.float(), reduction="none").mean((1, 2, 3))
    return (WEIGHTS.to(error.device)[times] * error).mean()


@torch.no_grad()
def draw_again(folder: Path, device: torch.device) -> None:
    """Write to `folder`/again.npy the latents of AGAIN drawings as the denoiser leaves them, noised
    to step AGAIN_FROM and drawn from there, (AGAIN, 12, 16, 16)."""
    if (path := folder / "again.npy").exists():
        return
    modules = loop.load(strength_stage, name="strength", folder=folder, device=device)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    read = partial(read_captions, tokenizer, modules["text_encoder"])
    latents = np.load(folder / "latents.npy", mmap_mode="r")
    rng, parts = np.random.default_rng(0), []
    for start in tqdm(range(HELD_OUT, HELD_OUT + AGAIN, 16), "drawing again"):
        numbers = np.arange(start, min(start + 16, HELD_OUT + AGAIN))
        clean = scaled_latents(latents, numbers, np.zeros_like(numbers), device)
        words = [caption(spec_of(int(n)), rng, keep=1.0) for n in numbers]
        context = torch.cat([read([""]).expand(len(words), -1, -1), read(words)])
        noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32)).to(device)
        times = torch.arange(AGAIN_FROM, 0, -50)
        noisy = SCHEDULE.add_noise(clean, noise, times[:1])
        for time in times:
            guess = modules["unet"](noisy.repeat(2, 1, 1, 1), time, context).sample
            guess = torch.lerp(*guess.chunk(2), GUIDANCE)
            alpha, before = SCHEDULE.alphas_cumprod[time], SCHEDULE.alphas_cumprod[time - 50]
            clean = (noisy - (1 - alpha).sqrt() * guess) / alpha.sqrt()
            noisy = before.sqrt() * clean + (1 - before).sqrt() * guess
        parts.append((clean / SCALING).half().cpu())
    np.save(path, torch.cat(parts).numpy())


def stage(folder: Path, device: torch.device) -> loop.Made:
    """UNet and text encoder: a weighted squared error of the noise, as SD1.x predicts it."""
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    unet = build_unet().to(device)
    start_from_identity(unet)
    if device.type == "cpu":  # PyTorch's attention costs a third of a step there, on its way back
        unet.set_attn_processor(AttnProcessor())
    text_encoder = build_text_encoder(tokenizer).to(device)
    words = read_judge(folder, device).text_model
    text_encoder.load_state_dict(words.state_dict())  # as Stable Diffusion takes CLIP's
    if learnt := (start := folder / "start" / "tiny-portraits").exists():
        for name, module in (("unet", unet), ("text_encoder", text_encoder)):
            (saved,) = (start / name).glob("*.safetensors")
            weights = (
                load_unet(load_file(saved)).state_dict() if module is unet else load_file(saved)
            )
            module.load_state_dict(weights)
    latents = np.load(folder / "latents.npy", mmap_mode="r")
    side = right_over_left(latents)
    if not learnt:
        seen = np.load(folder / "seen.npy", mmap_mode="r")
        usual = seen[:1000].mean((0, 1, 3, 4), dtype=np.float32)[:, None, None]
        head = nn.Conv2d(unet.config.block_out_channels[-1], len(usual), 1).to(device)
        middle = {}
        unet.mid_block.register_forward_hook(lambda *call: middle.update(features=call[-1]))
    read = partial(read_captions, tokenizer, text_encoder)

    def loss_of(rng: np.random.Generator, n: int, fraction: float) -> torch.Tensor:
        numbers = rng.integers(HELD_OUT, len(latents), n)
        context, times = read(describe(numbers, rng, EMPTY)), sample_timesteps(n, rng, device)
        mirrored, noise = draw_noise(side, numbers, rng)
        clean, noise = scaled_latents(latents, numbers, mirrored, device), noise.to(device)
        guess = unet(SCHEDULE.add_noise(clean, noise, times), times, context).sample
        loss = weighted_error(guess, noise, times)
        if learnt or fraction >= ALIGN_UNTIL:
            return loss
        target = torch.from_numpy(seen[numbers, mirrored] - usual).to(device)
        return loss + ALIGN * (1 - F.cosine_similarity(head(middle["features"]), target).mean())

    modules = nn.ModuleDict({"unet": unet, "text_encoder": text_encoder})
    if not learnt:
        modules["head"] = head
    return modules, loss_of, lambda: _preview(assemble(folder, modules, device))


@torch.no_grad()
def narrow(text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> None:
    """Draw what the text encoder makes of any caption towards what it makes of none, in its last
    norm: by itself that weakens what captions change, nearly as wanted."""
    norm = text_encoder.final_layer_norm
    usual = read_captions(tokenizer, text_encoder, [""])[0].mean(0)
    norm.weight.mul_(CAPTION_STRENGTH)
    norm.bias.mul_(CAPTION_STRENGTH).add_((1 - CAPTION_STRENGTH) * usual)


def strength_stage(folder: Path, device: torch.device) -> loop.Made:
    """The denoiser again, taught to heed a caption at CAPTION_STRENGTH of what it changes.

    A copy of the trained denoiser is to guess what the original guesses without a caption, and
    under GUIDANCE what the original guesses under so much less of it. There is no chance in that,
    so a short training is enough.
    """
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    teacher = loop.load(stage, name="denoiser", folder=folder, device=device)
    parts = {name: copy.deepcopy(teacher[name]) for name in ("unet", "text_encoder")}
    student = nn.ModuleDict(parts).train().requires_grad_(True)
    narrow(student["text_encoder"], tokenizer)
    latents = np.load(folder / "latents.npy", mmap_mode="r")
    side = right_over_left(latents)

    def answer(
        modules: nn.ModuleDict, noisy: torch.Tensor, times: torch.Tensor, words: list[str]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The guess without a caption, and what a caption adds to it."""
        context = read_captions(tokenizer, modules["text_encoder"], [""] * len(words) + words)
        both = noisy.repeat(2, 1, 1, 1), times.repeat(2), context
        without, told = modules["unet"](*both).sample.float().chunk(2)
        return without, told - without

    def loss_of(rng: np.random.Generator, n: int, fraction: float) -> torch.Tensor:
        n //= 2  # each is asked about twice
        numbers = rng.integers(HELD_OUT, len(latents), n)
        words, times = describe(numbers, rng), sample_timesteps(n, rng, device)
        mirrored, noise = draw_noise(side, numbers, rng)
        clean = scaled_latents(latents, numbers, mirrored, device)
        noisy = SCHEDULE.add_noise(clean, noise.to(device), times)
        with torch.no_grad():
            wanted, change = answer(teacher, noisy, times, words)
        without, added = answer(student, noisy, times, words)
        guided = without + GUIDANCE * added
        guided_wanted = wanted + GUIDANCE * CAPTION_STRENGTH * change
        loss = weighted_error(without, wanted, times)
        return loss + GUIDED * weighted_error(guided, guided_wanted, times)

    return student, loss_of, lambda: _preview(assemble(folder, student, device))
