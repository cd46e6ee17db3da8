"""Diagrams of how an image is generated: the pipeline, attention, guidance."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from helpers.lessons.plots import GREY, SKY_BLUE, VERMILION, YELLOW

if TYPE_CHECKING:
    import pandas
    from diffusers import DiffusionPipeline
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

TRAINED, FIXED = SKY_BLUE, YELLOW  # parts with trained weights, parts without
BOX_WIDTH, BOX_HEIGHT, LINE = 1.25, 0.85, "#333333"


def _box(axes: Axes, x: float, y: float, text: str, color: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner = (x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2)
    style = {"boxstyle": "round,pad=0,rounding_size=0.12", "facecolor": color, "edgecolor": LINE}
    axes.add_patch(FancyBboxPatch(corner, BOX_WIDTH, BOX_HEIGHT, **style))
    axes.text(x, y, text, ha="center", va="center", fontsize=11)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], **style: Any) -> None:
    style |= {"arrowstyle": "-|>", "color": LINE, "shrinkA": 0, "shrinkB": 0, "lw": 1.5}
    axes.annotate("", end, start, arrowprops=style)


def pipeline_diagram(pipeline: DiffusionPipeline, num_inference_steps: int = 20) -> Figure:
    """Draw the parts of a pipeline, its loop as a loop, and the shapes that go along each arrow."""
    from matplotlib.figure import Figure

    unet, tokens = pipeline.unet.config, pipeline.tokenizer.model_max_length
    latents = f"{unet.in_channels} x {unet.sample_size} x {unet.sample_size}"
    side = unet.sample_size * pipeline.vae_scale_factor
    vectors = f"{tokens} x {pipeline.text_encoder.config.hidden_size}"
    figure = Figure(figsize=(12, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, 13.4), ylim=(-0.1, 4.4), aspect="equal")
    axes.axis("off")
    upper, lower, unet_x, scheduler = 3.6, 1.9, 5.2, 7.9
    # Where each box is, and what the arrow to it says above and below.
    boxes = (
        (0.8, upper, "prompt", "white", "", ""),
        (3.0, upper, "tokenizer", FIXED, "text", ""),
        (unet_x, upper, "text\nencoder", TRAINED, f"{tokens} ids", ""),
        (0.8, lower, "seed", "white", "", ""),
        (3.0, lower, "random\nnoise", FIXED, "1 number", ""),
        (unet_x, lower, "U-Net", TRAINED, "latents", latents),
        (scheduler, lower, "scheduler", FIXED, "predicted noise", latents),
        (10.2, lower, "VAE\ndecoder", TRAINED, "at the end", latents),
        (12.6, lower, "image", "white", "pixels", f"3 x {side} x {side}"),
    )
    for x, y, name, color, _, _ in boxes:
        _box(axes, x, y, name, color)
    for (start, row, *_), (end, y, _, _, above, below) in pairwise(boxes):
        if row == y:
            _arrow(axes, (start + BOX_WIDTH / 2, y), (end - BOX_WIDTH / 2, y))
            middle = (start + end) / 2
            axes.text(middle, y + 0.12, above, ha="center", va="bottom", fontsize=8.5)
            axes.text(middle, y - 0.12, below, ha="center", va="top", fontsize=8.5)
    edge = BOX_HEIGHT / 2
    _arrow(axes, (unet_x, upper - edge), (unet_x, lower + edge))
    axes.text(unet_x + 0.12, 2.75, vectors, fontsize=8.5, va="center")
    loop = [(scheduler, lower - edge), (unet_x, lower - edge)]
    _arrow(axes, *loop, connectionstyle="bar,fraction=-0.27")
    middle = (unet_x + scheduler) / 2
    turns = f"x {num_inference_steps}"
    axes.text(middle, 0.85, turns, ha="center", va="bottom", fontsize=15, weight="bold")
    text = f"latents with less noise, {latents},\nand the next timestep"
    axes.text(middle, 0.65, text, ha="center", va="top", fontsize=8.5)
    axes.text(0.2, 0.35, "blue: trained", fontsize=10, backgroundcolor=TRAINED)
    axes.text(1.7, 0.35, "yellow: fixed rule", fontsize=10, backgroundcolor=FIXED)
    return figure


def guidance_diagram(
    without: Image.Image, with_prompt: Image.Image, guided: Image.Image, guidance_scale: float
) -> Figure:
    """Show three predictions and where they lie on a line from the first on, drawn to scale."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(10, 4.2))
    left, right, height = 0.145, 0.855, 0.12
    arrow = {"arrowstyle": "-|>", "lw": 2.5, "shrinkA": 0, "shrinkB": 0, "color": VERMILION}
    figures = "figure fraction"
    for middle, image, title, distance in (
        (left, without, "without the prompt", 0),
        (0.44, with_prompt, "with the prompt", 1),
        (right, guided, f"guided, scale {guidance_scale:g}", guidance_scale),
    ):
        axes = figure.add_axes((middle - 0.125, 0.3, 0.25, 0.62))
        axes.imshow(image)
        axes.set_title(title, fontsize=11)
        axes.axis("off")
        place = left + (right - left) * distance / guidance_scale
        figure.add_artist(Line2D((middle, place), (0.285, height), color=GREY, ls=":"))
        figure.text(place, height - 0.05, f"{distance:g}", ha="center", va="top", fontsize=11)
    axes.annotate("", (right, height), (left, height), figures, arrowprops=arrow)
    ends = (left, left + (right - left) / guidance_scale)
    figure.add_artist(Line2D(ends, (height, height), marker="o", ls="", color=VERMILION))
    return figure


def attention_sizes(unet_config: Mapping[str, Any], tokens: int = 77) -> pandas.DataFrame:
    """Count the attention scores that a U-Net computes for one image, head by head.

    Every position of a level is compared with every other position of it (self-attention) and with
    every token of the prompt (cross-attention).

    Returns:
        A row for each level of the U-Net that has attention, with the columns "positions",
        "self-attention" and "cross-attention", all counts.
    """
    import pandas

    sides = [
        unet_config["sample_size"] // 2**level
        for level, block in enumerate(unet_config["down_block_types"])
        if "CrossAttn" in block
    ]
    rows = {f"{side} x {side}": (side**2, side**4, side**2 * tokens) for side in sides}
    columns = ["positions", "self-attention", "cross-attention"]
    return pandas.DataFrame.from_dict(rows, orient="index", columns=columns)
