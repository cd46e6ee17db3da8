"""What the Diffusers page claims for each lesson: the one table of published figures."""

from __future__ import annotations

from typing import NamedTuple

# One page, two rounds of tests.
TORCH2_FIRST = "diffusers v0.16.1, optimization/torch2.0"  # Stable Diffusion 1.4
TORCH2 = "diffusers v0.26.3, optimization/torch2.0"  # Stable Diffusion 1.5, May 2023

VERDICTS = ("held", "contradicted", "mixed", "not tested")


class Claim(NamedTuple):
    """One claim of the page in our words, and what others measured."""

    text: str
    elsewhere: str = "not tested"  # one of VERDICTS
    evidence: str = "we know of no published measurement."  # or what it says, with its source


# Source: Diffusers v0.26.3, "Effective and efficient diffusion" (Stable Diffusion 1.5, T4).
CLAIMS: dict[str, Claim] = {
    "L2": Claim(
        "Moving the pipeline to a GPU is one of the easiest ways to go faster.",
        "held",
        "GPUs were 10 to 100 times as fast as CPUs (Lambda, lambda-diffusers, docs/benchmark.md).",
    ),
    "L3": Claim("The same seed gives the same image again."),
    "L4": Claim(
        "In float32, 50 steps of PNDM take about 30 s.",
        "held",
        f"on a T4, 28 s without and 24 s with PyTorch 2's attention ({TORCH2_FIRST}).",
    ),
    "L5": Claim(
        "In float16, the 50 steps take about 11 s, almost 3 times as fast.",
        "held",
        "2.9 times as fast on a T4, in batches of 4. It depends on the GPU: 3.1 times on a V100, "
        f"2.0 times on an A100 ({TORCH2_FIRST}).",
    ),
    "L7": Claim(
        "PNDM needs about 50 steps, DPM-Solver++ 20 to 25.",
        "held",
        "their authors find 50 steps of PNDM (Liu et al. 2022) and 15 to 20 of DPM-Solver++ (Lu et "
        "al. 2022) enough for good images.",
    ),
    "L8": Claim(
        "20 steps of DPM-Solver++ bring 11 s down to 4 s, 2.8 times as fast.",
        "held",
        "by count: a T4 denoises 6.9 steps a second, so the 51 runs of PNDM take 7.4 s and 20 take "
        f"2.9 s, 2.55 times as fast ({TORCH2}).",
    ),
    "L9": Claim("A seed for each image lets you generate a good one again."),
    "L10": Claim(
        "A batch of 4 probably runs out of memory, most of it for attention.",
        "contradicted",
        "on a T4, with classic attention a batch of 4 ran and one of 8 did not; with PyTorch 2's "
        f"attention 16 ran ({TORCH2_FIRST}).",
    ),
    "L11": Claim(
        "Sliced attention fits a batch of 8, at about 3.5 s an image: probably the fastest.",
        "contradicted",
        "on a T4, a batch of 8 took 56 s for 50 steps without slicing, which is 2.8 s an image "
        f"for 20 ({TORCH2_FIRST}).",
    ),
    "L12": Claim(
        "A newer checkpoint is not automatically a better one.",
        "held",
        "in a user study, Stable Diffusion 2.1 was chosen slightly less often than 1.5 (3.4 and "
        "4.6% of the votes), and the newer SDXL 1.0 far more often than both (22.7%; the rest "
        "went to other versions of SDXL; Stability AI, README of generative-models, July 2023).",
    ),
    "L13": Claim(
        "Another autoencoder, sd-vae-ft-mse, improves the images.",
        "held",
        "on 5,000 photos, PSNR rose from 23.4 to 24.5 dB, and rFID, which falls as copies look "
        "more like photos, fell from 4.99 to 4.70 (its model card).",
    ),
    "L14": Claim("A more detailed prompt steers style and content."),
    "L15": Claim("With four ages and one seed, the age changes and the composition stays."),
    "L16": Claim(
        "PyTorch 2.0 and torch.compile make a pipeline 5 to 300% faster.",
        "held",
        "103% faster on an A100 one image at a time and 26% in a batch of 16; 6% on a T4, 10% on "
        f"an RTX 4090 ({TORCH2}).",
    ),
    "L17": Claim(
        "With PyTorch 1.13, xFormers makes attention faster.",
        "held",
        "on a T4, a batch of 4 took 39 s with classic attention, 30 s with xFormers, and 30 s "
        f"with what PyTorch 2 brings along ({TORCH2_FIRST}).",
    ),
}
