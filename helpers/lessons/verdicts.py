"""Hold the Diffusers page's claims against what was measured here and elsewhere, one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isinf
from typing import TYPE_CHECKING, NamedTuple

from helpers.lessons.exercises import SAME
from helpers.lessons.published import CLAIMS

if TYPE_CHECKING:
    import pandas

    from helpers.timing import Measurement

SHARE = 0.75  # of a claimed speedup that counts as held
MARGIN = 0.05  # of a share or of memory: a smaller difference is none
_given: dict[str, dict[str, str]] = {}  # by lesson, of this notebook


class Verdict(NamedTuple):
    """What a claim came to on this machine."""

    here: str  # one of `published.VERDICTS`
    why: str


def verdict(lesson: str, **measured: object) -> None:
    """Print the page's claim and what it came to, here and elsewhere; keep it for `verdicts`.

    Args:
        lesson: a name of `CLAIMS`, such as "L7".
        measured: what was measured here, the arguments of this lesson's rule below.
    """
    claim, (here, why) = CLAIMS[lesson], RULES[lesson](**measured)
    _given[lesson] = {
        "claim": claim.text,
        "here": f"{here}: {why}",
        "elsewhere": f"{claim.elsewhere}: {claim.evidence}",
    }
    for name, text in _given[lesson].items():
        print(f"{lesson} {name}: {text}")


def verdicts() -> pandas.DataFrame:
    """Return a table of this notebook's verdicts: the claim, and what it came to in both places."""
    import pandas

    pandas.set_option("display.max_colwidth", None)
    return pandas.DataFrame.from_dict(_given, orient="index")


def accelerator(before: Measurement, after: Measurement) -> Verdict:
    """L2. Held: one call takes less time after the move."""
    if before.device == after.device:
        return Verdict("not tested", "PyTorch finds no accelerator on this machine.")
    gain = before.seconds / after.seconds
    why = f"{gain:.1f} times as fast on {after.device} as on the CPU."
    return Verdict("held" if gain > 1 else "contradicted", why)


def reproducible(again: float, other: float) -> Verdict:
    """L3. Held: a seed gives its image again (distance `again`), and another seed doesn't."""
    why = f"seed 0 again is {again:.0f} of 255 from the first, seed 1 about {round(other, -1):.0f}."
    return Verdict("held" if again < SAME < other else "contradicted", why)


def baseline(measured: Measurement, model: str) -> Verdict:
    """L4. Held: within a quarter of 30 s, with the page's model on the page's GPU."""
    seconds = measured.seconds_per_image
    if model != "stable-diffusion-v1-5" or "T4" not in measured.device:
        why = f"it is about Stable Diffusion 1.5 on a T4; here {model} takes {seconds:.2f} s."
        return Verdict("not tested", why)
    held = abs(seconds / 30 - 1) <= 1 - SHARE
    return Verdict("held" if held else "contradicted", f"{seconds:.0f} s.")


def half_precision(measured: Measurement, device: str, model: str) -> Verdict:
    """L5. Held: three quarters of the page's speedup. Not tested: too noisy, or not its model on a
    CUDA GPU."""
    if device == "cuda" and model == "stable-diffusion-v1-5":
        return _speedup(measured, 30 / 11)
    why = "it is about float16 on an NVIDIA GPU with Stable Diffusion 1.5. Here, "
    why += f"{measured.label} is {measured.speedup:.2f} times as fast as float32"
    if measured.is_faster is None:
        why += ", which is no measurable difference"
    return Verdict("not tested", f"{why}.")


def steps_needed(needed: Mapping[str, float], near: float) -> Verdict:
    """L7, by the steps of two schedulers, the page's default one first.

    Held: the second needs at most 25 steps, and the first at least twice as many as that. Mixed:
    the second needs fewer than the first, but the page's numbers are others. A number of steps is
    infinite if none that was tried is enough.
    """
    (slow, many), (fast, few) = needed.items()
    if isinf(few):
        return Verdict("not tested", f"with {fast}, no number of steps that was tried is enough.")
    held = few <= 25 and many >= 50
    here = "held" if held else "mixed" if few < many else "contradicted"
    steps = "more than the largest number" if isinf(many) else many
    why = (
        f"of the steps tried, {slow} needs {steps} to come within {near:g} of 255 of the converged"
    )
    return Verdict(here, f"{why} images, {fast} {few}.")


def fewer_steps(measured: Measurement) -> Verdict:
    """L8. Held: three quarters of the page's speedup. Not tested: too noisy."""
    return _speedup(measured, 11 / 4)


def seeds_of_batch(distance: float) -> Verdict:
    """L9. Held: an image of a batch comes out again alone."""
    why = f"seed 2 alone is {distance:.0f} of 255 from the image of the batch."
    return Verdict("held" if distance < SAME else "contradicted", why)


def batch_of_four(scores: float, weights: float, memory: float = 16e9) -> Verdict:
    """L10, by counted bytes. Two parts: that four images don't fit, and that attention takes most.

    Held: both are right. Mixed: one of them. Contradicted: none.
    """
    share = scores / (scores + weights)
    right = (scores + weights > memory) + (share > 0.5)
    why = f"by count, {scores / 1e9:.1f} GB of scores and {weights / 1e9:.1f} GB of weights "
    why += f"{'fit into' if scores + weights <= memory else 'exceed'} {memory / 1e9:.0f} GB, and "
    return Verdict(("contradicted", "mixed", "held")[right], why + f"attention takes {share:.0%}.")


def slicing(sliced: float, classic: float, default: float, timed: Measurement) -> Verdict:
    """L11, by peak memory in MB, and the time of slicing with today's default as its baseline.

    Held: slicing saves memory compared with today's default, and isn't slower. Mixed: it saves
    memory compared with classic attention alone, or it's slower. Contradicted: it saves none.
    """
    saves_today, saves_then = (sliced < (1 - MARGIN) * other for other in (default, classic))
    slower = timed.is_faster is False
    held = saves_today and not slower
    here = "held" if held else "mixed" if saves_today or saves_then else "contradicted"
    why = f"the U-Net's peak is {sliced:.0f} MB sliced, {classic:.0f} MB with classic attention and"
    why += f" {default:.0f} MB with today's default; slicing is "
    return Verdict(here, why + ("slower." if slower else "not measurably slower."))


def newer_checkpoint(scores: Mapping[str, tuple[float, float]]) -> Verdict:
    """L12, by scores from 0 to 1, each of the older and the newer checkpoint. Held: one falls."""
    worse = [name for name, (older, newer) in scores.items() if newer < older - MARGIN]
    why = "; ".join(
        f"{name} {older:.0%}, then {newer:.0%}" for name, (older, newer) in scores.items()
    )
    return Verdict("held" if worse else "contradicted", f"{why}.")


def decoder(psnr: Sequence[float], edges: Sequence[float]) -> Verdict:
    """L13, by two scores, each before and after. Held: both improve. Mixed: one of them."""
    wins = sum([psnr[1] > psnr[0], abs(edges[1] - 1) < abs(edges[0] - 1)])  # NumPy's numbers too
    why = f"with the further-trained decoder, edges go from {edges[0]:.0%} to {edges[1]:.0%}, "
    why += f"and PSNR from {psnr[0]:.1f} to {psnr[1]:.1f} dB."
    return Verdict(("contradicted", "mixed", "held")[wins], why)


def prompt_steers(short: float, whole: float) -> Verdict:
    """L14, by adherence to the whole prompt. Held: it rises beyond a margin of 5 points."""
    why = f"without its phrases, the images have {short:.0%} of what the whole prompt names, and "
    here = "held" if whole > short + MARGIN else "contradicted"
    return Verdict(here, why + f"{whole:.0%} with them.")


def one_thing_varies(right: int, same: int, seeds: int) -> Verdict:
    """L15, by seeds that show it. Held: most show both parts. Mixed: one part."""
    parts = (2 * right > seeds) + (2 * same > seeds)
    why = f"of {seeds} seeds, {right} show all four ages and {same} change nothing else."
    return Verdict(("contradicted", "mixed", "held")[parts], why)


def compiling(measured: Measurement | None, wait: float) -> Verdict:
    """L16. Held: a speedup beyond the noise. Not tested: the noise would hide a gain of 5%.

    `wait`: seconds of the first image, which compiles.
    """
    if measured is None:
        return Verdict("not tested", "PyTorch cannot compile here.")
    why = f"{measured.speedup:.2f} times as fast, with timing noise of {measured.noise - 1:.0%}"
    if measured.is_faster is None and measured.noise > 1.05:
        return Verdict("not tested", f"{why}: the noise would hide a gain of 5%.")
    if not measured.is_faster:
        return Verdict("contradicted", f"{why}: no gain with this model.")
    saved = measured.seconds * (measured.speedup - 1)
    return Verdict("held", f"{why}; it pays off after {wait / saved:.0f} images.")


def xformers(measured: Measurement | None) -> Verdict:
    """L17. Held: faster than classic attention, which PyTorch 1.13 had. Not tested: too noisy."""
    if measured is None:
        return Verdict("not tested", "xFormers needs an NVIDIA GPU, and to be installed.")
    why = f"{measured.speedup:.2f} times as fast as classic attention."
    if measured.is_faster is None and measured.noise > 1.05:
        return Verdict("not tested", f"{why[:-1]}, which is within the timing noise.")
    return Verdict("held" if measured.is_faster else "contradicted", why)


def _speedup(measured: Measurement, claimed: float) -> Verdict:
    held = measured.is_faster and measured.speedup >= SHARE * claimed
    why = f"{measured.label} is {measured.speedup:.1f} times as fast as the baseline"
    if measured.is_faster is None:
        why += ", which is no measurable difference"
    why += f"; by the page's seconds it would be {claimed:.1f}."
    hidden = measured.is_faster is None and measured.noise >= SHARE * claimed  # by the noise
    return Verdict("held" if held else "not tested" if hidden else "contradicted", why)


RULES: dict[str, Callable[..., Verdict]] = {
    "L2": accelerator,
    "L3": reproducible,
    "L4": baseline,
    "L5": half_precision,
    "L7": steps_needed,
    "L8": fewer_steps,
    "L9": seeds_of_batch,
    "L10": batch_of_four,
    "L11": slicing,
    "L12": newer_checkpoint,
    "L13": decoder,
    "L14": prompt_steers,
    "L15": one_thing_varies,
    "L16": compiling,
    "L17": xformers,
}
