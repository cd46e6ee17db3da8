"""What the documented walkthrough claims for each lesson: the one table of published figures."""

from __future__ import annotations

from typing import NamedTuple

PAGE = (
    "Hugging Face Diffusers v0.26.3, 'Effective and efficient diffusion': "
    "Stable Diffusion v1-5, 512 x 512 pixels, NVIDIA T4"
)


class Claim(NamedTuple):
    """One claim of the page, with the figure it can be held against.

    Example:
        >>> CLAIMS["L4"].figure / CLAIMS["L8"].figure  # from baseline to 20 steps, on a T4
        7.5
    """

    text: str
    figure: float | None = None
    unit: str = ""
    elsewhere: str = ""  # what others measured, where a CPU cannot test it


# Source: PAGE. Where the page gives a range, the figure is its easier end.
CLAIMS: dict[str, Claim] = {
    "L1": Claim("One call loads the whole pipeline, from safetensors files."),
    "L2": Claim("Moving it to the GPU is one of the easiest ways to go faster."),
    "L3": Claim("The same seed gives the same image again."),
    "L4": Claim("Float32, 50 steps, PNDM: about 30 s.", 30, "s per image"),
    "L5": Claim("Float16: about 11 s, almost 3 times as fast.", 11, "s per image"),
    "L6": Claim("14 schedulers fit the pipeline.", 14, "schedulers"),
    "L7": Claim("PNDM needs about 50 steps, DPM-Solver++ 20 to 25.", 25, "steps"),
    "L8": Claim("With 20 steps: 4 s.", 4, "s per image"),
    "L9": Claim("A seed for each image lets a good one be made again."),
    "L10": Claim(
        "A batch of 4 probably runs out of memory, most of it for attention.", 4, "images at once"
    ),
    "L11": Claim(
        "Sliced attention fits a batch of 8, at about 3.5 s an image: probably the fastest.",
        3.5,
        "s per image",
    ),
    "L12": Claim("A newer checkpoint is not automatically a better one: try it."),
    "L13": Claim("Another autoencoder, sd-vae-ft-mse, improves the images."),
    "L14": Claim("A more detailed prompt steers style and content."),
    "L15": Claim("Four ages, one seed: the age changes, the composition stays.", 4, "ages"),
    "L16": Claim("torch.compile, of PyTorch 2, makes it 5 to 300% faster.", 5, "% faster"),
    "L17": Claim("With PyTorch 1.13, xFormers makes attention save memory."),
}
