"""The denoiser: UNet and text encoder, trained together to predict the noise in the latents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.models.attention_processor import AttnProcessor
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training.autoencoder import LATENT_CHANNELS, SCALING
from training.captions import caption
from training.dataset import spec_of
from training.judge import load_guide
from training.latents import (
    features_path,
    latents_path,
    right_minus_left,
    sample_noise,
    scaled_latents,
)
from training.loop import Loss
from training.workspace import Workspace

EMPTY = 0.1  # captions left out altogether, for classifier-free guidance
# Captions from the web say little of their image, so that Stable Diffusion wants a guidance scale
# of 7.5; ours say all, and 3 would do. So what is shipped has this share of what captions change.
CAPTION_STRENGTH = 0.4
# A step's weight makes its error count as in v-prediction (Salimans and Ho 2022, arXiv:2202.00512),
# within limits at both ends: min-SNR weighting (Hang et al. 2023, arXiv:2303.09556), and a ceiling.
MIN_SNR, MAX_WEIGHT = 5.0, 200.0
# The middle of the UNet learns to see in the noise what the guide sees in the image: representation
# alignment (Yu et al. 2024, arXiv:2410.06940). It helps to begin with; later it costs fine detail.
ALIGN, ALIGN_UNTIL = 0.5, 0.2  # its weight; the share of the budget
LOG_NORMAL_SIGMA = 1.2  # of the noise levels, see `sample_timesteps`
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
    """Make an untrained UNet return its input, which at high noise nearly is the noise.

    A small UNet needs thousands of steps to learn this, and until then its prediction at the
    noisiest steps, where the layout is decided, is worse than none. The input and its negative are
    carried past every block, through the outermost skip connection; and silu(x) - silu(-x) is x.

    The norm before the last layer divides a group of channels by its deviation, and that of noise
    on 16x16 positions differs by 2.5% from one image to the next: the noise that this leaves is
    stronger, twenty steps later, than the image. So each pair shares its group with a constant
    so large that the deviation is nearly always the same.
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
        for position, sign in ((width * channel, 1), (width * channel + 1, -1)):
            first.weight[position] = 0
            first.bias[position] = 0
            first.weight[position, channel, 1, 1] = sign
            shortcut.weight[position, last.out_channels + position] = 1
            norm.weight[position] = deviation
            norm.bias[position] = CONSTANT / 3
            out.weight[channel, position, 1, 1] = sign
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


@torch.no_grad()
def scale_text_conditioning(
    text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer, factor: float
) -> None:
    """Multiply by `factor` what a caption changes in the text encoder's output, compared with the
    empty caption, within its last norm; `1 / factor` undoes it."""
    norm = text_encoder.final_layer_norm
    usual = encode_captions(tokenizer, text_encoder, [""])[0].mean(0)
    norm.weight.mul_(factor)
    norm.bias.mul_(factor).add_((1 - factor) * usual)


def encode_captions(
    tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel, captions: list[str]
) -> torch.Tensor:
    """The context that the UNet gets, (n, 77, TEXT_WIDTH)."""
    tokens = tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
    return text_encoder(tokens.input_ids.to(text_encoder.device)).last_hidden_state


def assemble(work: Workspace, modules: nn.ModuleDict) -> StableDiffusionPipeline:
    """The pipeline of these modules with the autoencoder and the tokenizer of a workspace."""
    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(work.folder / "vae").to(work.device),
        text_encoder=modules["text_encoder"],
        tokenizer=CLIPTokenizer.from_pretrained(work.folder / "tokenizer"),
        unet=modules["unet"],
        scheduler=PNDMScheduler.from_config(SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sample_captions(numbers: np.ndarray, rng: np.random.Generator, empty: float = 0.0) -> list[str]:
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


def weighted_error(guess: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """The mean squared error of the noise predicted at these steps, weighted by WEIGHTS."""
    error = F.mse_loss(guess.float(), noise.float(), reduction="none").mean((1, 2, 3))
    return (WEIGHTS.to(error.device)[times] * error).mean()


def build(work: Workspace) -> nn.ModuleDict:
    """An untrained UNet and text encoder."""
    tokenizer = CLIPTokenizer.from_pretrained(work.folder / "tokenizer")
    parts = {"unet": build_unet(), "text_encoder": build_text_encoder(tokenizer)}
    modules = nn.ModuleDict(parts).to(work.device)
    if work.device.type == "cpu":  # PyTorch's own attention is slow in its backward pass there
        modules["unet"].set_attn_processor(AttnProcessor())
    return modules


def load_folder(work: Workspace, folder: Path, strength: float = 1.0) -> nn.ModuleDict:
    """The UNet and text encoder in a pipeline's folder, what captions change times `strength`."""
    modules = build(work)
    files = {name: next((folder / name).glob("*.safetensors")) for name in modules}
    modules["unet"].load_state_dict(load_unet(load_file(files["unet"])).state_dict())
    modules["text_encoder"].load_state_dict(load_file(files["text_encoder"]))
    tokenizer = CLIPTokenizer.from_pretrained(work.folder / "tokenizer")
    scale_text_conditioning(modules["text_encoder"], tokenizer, strength)
    return modules


def load_start(work: Workspace) -> nn.ModuleDict:
    """The denoiser that a training goes on from, with captions at their full strength."""
    weights = work.start / "denoiser.safetensors"
    if not weights.exists():
        return load_folder(work, work.start / "tiny-portraits", 1 / CAPTION_STRENGTH)
    modules = build(work)
    modules.load_state_dict(load_file(weights))
    return modules


def denoising_loss(
    work: Workspace,
    modules: nn.ModuleDict,
    align: Callable[[np.ndarray, np.ndarray], torch.Tensor] | None = None,
) -> Loss:
    """The weighted squared error of the predicted noise, and early on the loss `align` of the
    drawings' numbers and whether they are mirrored."""
    tokenizer = CLIPTokenizer.from_pretrained(work.folder / "tokenizer")
    latents = np.load(latents_path(work), mmap_mode="r")
    side = right_minus_left(latents, work.held_out)

    def loss_of(rng: np.random.Generator, n: int, fraction: float) -> torch.Tensor:
        numbers = rng.integers(work.held_out, len(latents), n)
        captions = sample_captions(numbers, rng, EMPTY)
        context = encode_captions(tokenizer, modules["text_encoder"], captions)
        times = sample_timesteps(n, rng, work.device)
        mirrored, noise = sample_noise(side, numbers, rng)
        clean = scaled_latents(latents, numbers, mirrored, work.device)
        noise = noise.to(work.device)
        guess = modules["unet"](SCHEDULE.add_noise(clean, noise, times), times, context).sample
        loss = weighted_error(guess, noise, times)
        if align is None or fraction >= ALIGN_UNTIL:
            return loss
        return loss + ALIGN * align(numbers, mirrored)

    return loss_of


def _alignment(
    work: Workspace, modules: nn.ModuleDict
) -> Callable[[np.ndarray, np.ndarray], torch.Tensor]:
    """Add to `modules` a layer that predicts the guide's features from the middle of the UNet, and
    return its error for the UNet's last call."""
    features = np.load(features_path(work), mmap_mode="r")
    mean = features[:1000].mean((0, 1, 3, 4), dtype=np.float32)[:, None, None]
    unet, middle = modules["unet"], {}
    unet.mid_block.register_forward_hook(lambda *call: middle.update(output=call[-1]))
    layer = nn.Conv2d(unet.config.block_out_channels[-1], len(mean), 1).to(work.device)
    modules["alignment"] = layer

    def align(numbers: np.ndarray, mirrored: np.ndarray) -> torch.Tensor:
        target = torch.from_numpy(features[numbers, mirrored] - mean).to(work.device)
        return 1 - F.cosine_similarity(layer(middle["output"]), target).mean()

    return align


def early_stage(work: Workspace) -> tuple[nn.ModuleDict, Loss]:
    """UNet and text encoder from nothing: after a short training, the early checkpoint."""
    modules = build(work)
    start_from_identity(modules["unet"])
    guide = load_guide(work).text_model  # as Stable Diffusion takes CLIP's text encoder
    modules["text_encoder"].load_state_dict(guide.state_dict())
    return modules, denoising_loss(work, modules)


def stage(work: Workspace) -> tuple[nn.ModuleDict, Loss]:
    """UNet and text encoder, from what the workspace starts with or from nothing with alignment."""
    if work.start.exists():
        modules = load_start(work)
        return modules, denoising_loss(work, modules)
    modules, _ = early_stage(work)
    return modules, denoising_loss(work, modules, _alignment(work, modules))
