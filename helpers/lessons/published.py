"""What the documented walkthrough claims for each lesson: the one table of published figures."""

from __future__ import annotations

from typing import NamedTuple

PAGE = (
    "Hugging Face Diffusers v0.26.3, 'Effective and efficient diffusion': "
    "Stable Diffusion v1-5, 512 x 512 pixels, NVIDIA T4"
)

TORCH2 = "diffusers, optimization/torch2.0"  # that page's tables, of early 2023


VERDICTS = ("held", "contradicted", "mixed", "not tested")


class Claim(NamedTuple):
    """One claim of the page, with the figure it can be held against and evidence by others."""

    text: str
    elsewhere: str = "not tested"  # one of VERDICTS
    evidence: str = ""  # what others measured, with its source
    figure: float | None = None
    unit: str = ""


# Source: PAGE. Where the page gives a range, the figure is its easier end.
CLAIMS: dict[str, Claim] = {
    "L2": Claim(
        "Moving it to the GPU is one of the easiest ways to go faster.",
    ),
    "L3": Claim("The same seed gives the same image again."),
    "L4": Claim(
        "Float32, 50 steps, PNDM: about 30 s.",
        "held",
        f"on a T4, 28 s without and 24 s with PyTorch 2's attention ({TORCH2}).",
        30,
        "s per image",
    ),
    "L5": Claim(
        "Float16: about 11 s, almost 3 times as fast.",
        "held",
        "2.9 times as fast on a T4, in batches of 4. It depends on the GPU: 3.1 times on a V100, "
        f"2.0 times on an A100 ({TORCH2}).",
        11,
        "s per image",
    ),
    "L7": Claim(
        "PNDM needs about 50 steps, DPM-Solver++ 20 to 25.",
        figure=25,
        unit="steps",
    ),
    "L8": Claim(
        "With 20 steps: 4 s.",
        "held",
        f"a T4 denoises 6.9 steps a second, which is 2.9 s for 20 ({TORCH2}).",
        4,
        "s per image",
    ),
    "L9": Claim("A seed for each image lets a good one be made again."),
    "L10": Claim(
        "A batch of 4 probably runs out of memory, most of it for attention.",
        "contradicted",
        "on a T4, with classic attention a batch of 4 ran and one of 8 did not; with PyTorch 2's "
        f"attention 16 ran ({TORCH2}).",
        4,
        "images at once",
    ),
    "L11": Claim(
        "Sliced attention fits a batch of 8, at about 3.5 s an image: probably the fastest.",
        "contradicted",
        "on a T4, a batch of 8 took 56 s for 50 steps without slicing, which is 2.8 s an image "
        f"for 20 ({TORCH2}).",
        3.5,
        "s per image",
    ),
    "L12": Claim("A newer checkpoint is not automatically a better one: try it."),
    "L13": Claim("Another autoencoder, sd-vae-ft-mse, improves the images."),
    "L14": Claim("A more detailed prompt steers style and content."),
    "L15": Claim(
        "Four ages, one seed: the age changes, the composition stays.", figure=4, unit="ages"
    ),
    "L16": Claim(
        "torch.compile, of PyTorch 2, makes it 5 to 300% faster.",
        "held",
        "103% faster on an A100 one image at a time and 26% in a batch of 16; 6% on a T4, 10% on "
        f"an RTX 4090 ({TORCH2}).",
        5,
        "% faster",
    ),
    "L17": Claim(
        "With PyTorch 1.13, xFormers makes attention faster and saves memory.",
        "held",
        "on a T4, a batch of 4 took 39 s with classic attention, 30 s with xFormers, and 30 s "
        f"with what PyTorch 2 brings along ({TORCH2}).",
    ),
}
