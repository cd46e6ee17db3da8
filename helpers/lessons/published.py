"""What the documented walkthrough claims for each lesson: the one table of published figures."""

from __future__ import annotations

from typing import NamedTuple

PAGE = (
    "Hugging Face Diffusers v0.26.3, 'Effective and efficient diffusion': "
    "Stable Diffusion v1-5, 512 x 512 pixels, NVIDIA T4"
)

TORCH2 = "diffusers, optimization/torch2.0"  # that page's tables, of early 2023


class Claim(NamedTuple):
    """One claim of the page, with the figure it can be held against."""

    text: str
    figure: float | None = None
    unit: str = ""
    elsewhere: str = ""  # what others measured, where a CPU cannot test it


# Source: PAGE. Where the page gives a range, the figure is its easier end.
CLAIMS: dict[str, Claim] = {
    "L1": Claim("One call loads the whole pipeline, from safetensors files."),
    "L2": Claim(
        "Moving it to the GPU is one of the easiest ways to go faster.",
        elsewhere="even between cards there is much to gain: in float32, with 50 steps, Stable "
        f"Diffusion 1.4 takes 24 s on a T4, 7 s on a V100 and 3 s on an A100 ({TORCH2}).",
    ),
    "L3": Claim("The same seed gives the same image again."),
    "L4": Claim(
        "Float32, 50 steps, PNDM: about 30 s.",
        30,
        "s per image",
        elsewhere=f"held on a T4, 28 s without and 24 s with PyTorch 2's attention ({TORCH2}).",
    ),
    "L5": Claim(
        "Float16: about 11 s, almost 3 times as fast.",
        11,
        "s per image",
        elsewhere="held on a T4 and on a V100, 2.9 and 3.1 times as fast in batches of 4; not on "
        f"an A100, 2.0 times ({TORCH2}).",
    ),
    "L6": Claim("Many schedulers fit the pipeline: the page lists 14.", 14, "schedulers"),
    "L7": Claim("PNDM needs about 50 steps, DPM-Solver++ 20 to 25.", 25, "steps"),
    "L8": Claim("With 20 steps: 4 s.", 4, "s per image"),
    "L9": Claim("A seed for each image lets a good one be made again."),
    "L10": Claim(
        "A batch of 4 probably runs out of memory, most of it for attention.",
        4,
        "images at once",
        elsewhere="contradicted on a T4: with classic attention a batch of 4 ran and one of 8 did "
        f"not; with PyTorch 2's attention 16 ran ({TORCH2}).",
    ),
    "L11": Claim(
        "Sliced attention fits a batch of 8, at about 3.5 s an image: probably the fastest.",
        3.5,
        "s per image",
        elsewhere="contradicted on a T4: a batch of 8 took 56 s for 50 steps without slicing, "
        f"which is 2.8 s an image for 20 ({TORCH2}).",
    ),
    "L12": Claim("A newer checkpoint is not automatically a better one: try it."),
    "L13": Claim("Another autoencoder, sd-vae-ft-mse, improves the images."),
    "L14": Claim("A more detailed prompt steers style and content."),
    "L15": Claim("Four ages, one seed: the age changes, the composition stays.", 4, "ages"),
    "L16": Claim(
        "torch.compile, of PyTorch 2, makes it 5 to 300% faster.",
        5,
        "% faster",
        elsewhere="held on an A100, 103% faster one picture at a time and 26% in a batch of 16; on "
        f"a T4 6%, on an RTX 4090 10% ({TORCH2}).",
    ),
    "L17": Claim(
        "With PyTorch 1.13, xFormers makes attention faster and saves memory.",
        elsewhere="held on a T4: a batch of 4 took 39 s with classic attention, 30 s with "
        f"xFormers, and 30 s with what PyTorch 2 brings along ({TORCH2}).",
    ),
}
