"""Check a reader's answers: each check tries the answer out and says what it found.

Every check takes the answer first, `None` while the exercise is untouched, and returns a sentence
that begins with "Right", "Not yet" or "Not tried yet". None of them knows the solution: they draw,
forecast or read with what the reader gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

from PIL import Image

from helpers.forecast.gpus import find_card
from helpers.forecast.memory import forecast_memory
from helpers.forecast.published import forecast_row, read_published_seconds
from helpers.forecast.rates import read_constants
from helpers.grids import image_distance
from helpers.inputs import cut_words, make_generators
from helpers.judge import Judge, adherence, read_attributes
from helpers.memory import readable
from helpers.pictures.settings import Settings

if TYPE_CHECKING:
    import pandas
    from diffusers import SchedulerMixin

    from helpers.pipelines import StableDiffusion
    from helpers.timing import Measurement

POINT = 0.01  # of adherence: less is not a loss
NEAR = 0.25  # of the seconds that a call took
# Claimed for 50 steps in half precision at 512 x 512 pixels; a T4 takes three times as long.
IMPOSSIBLE = {"gpu": "T4", "seconds": 2.0, "source": "a claim that was passed on"}
SAME = 5.0  # of 255, between a picture in a batch and the picture alone (0.3 in bfloat16)


def _checks(expected: type, called: str) -> Callable[[Callable[..., str]], Callable[..., str]]:
    """Make a function a check: an answer that is missing or of another kind gets a sentence."""

    def decorate(check: Callable[..., str]) -> Callable[..., str]:
        @wraps(check)
        def checked(answer: object, *args: object, **kwargs: object) -> str:
            if answer is None:
                return f"Not tried yet: put {called} in the place of None."
            if not isinstance(answer, expected) or isinstance(answer, bool):
                return f"Not yet: the answer is {called}, not {answer!r:.60}."
            try:
                return check(answer, *args, **kwargs)
            except Exception as error:  # whatever the answer breaks, the page runs on
                return f"Not yet: with this answer comes a {type(error).__name__}: {error}"

        return checked

    return decorate


@_checks(int, "a number of steps")
def fewest_steps(
    answer: int, pipeline: StableDiffusion, prompts: Sequence[str], judge: Judge
) -> str:
    """Is this the fewest steps that keep the adherence of 20, within a point?

    Args:
        answer: a number of steps, below 20.
        pipeline: with the scheduler in question.
        prompts: what to draw, one picture each, with seeds from 0.
        judge: reads the pictures.

    Example:
        >>> fewest_steps(None, None, [], None)
        'Not tried yet: put a number of steps in the place of None.'
    """

    def found(steps: int) -> float:
        generators = make_generators(range(len(prompts)))
        images = pipeline(list(prompts), generator=generators, num_inference_steps=steps).images
        return adherence(images, prompts, judge).stack().mean()

    if not 1 < answer < 20:
        return "Not yet: look between 2 and 19 steps."
    bar, here = found(20), found(answer)
    if here < bar - POINT:
        return f"Not yet: the adherence is {here:.0%} with {answer} steps and {bar:.0%} with 20."
    if any(found(steps) >= bar - POINT for steps in range(2, answer)):
        return f"Not yet: {answer} steps are enough, but a smaller number is too."
    return f"Right: {answer} steps keep the {bar:.0%}, and fewer lose some."


@_checks(object, "a scheduler")
def nearer_scheduler(
    answer: SchedulerMixin,
    pipeline: StableDiffusion,
    prompts: Sequence[str],
    converged: Sequence[Image.Image],
) -> str:
    """Does this scheduler, in 10 steps, come nearer to the converged pictures than the present one?

    Args:
        answer: a scheduler, made with `from_config`.
        pipeline: with the scheduler to beat; it is given back as it was.
        prompts: what was drawn, with seeds from 0.
        converged: the pictures to come near to, one for each prompt.

    Example:
        >>> nearer_scheduler("Euler", None, [], [])
        "Not yet: 'Euler' is not a scheduler; make one with from_config."
    """
    if not hasattr(answer, "set_timesteps"):
        return f"Not yet: {answer!r:.60} is not a scheduler; make one with from_config."
    present, away = pipeline.scheduler, []
    try:
        for pipeline.scheduler in (present, answer):
            generators = make_generators(range(len(prompts)))
            images = pipeline(list(prompts), generator=generators, num_inference_steps=10).images
            pairs = zip(images, converged, strict=True)
            away.append(sum(image_distance(a, b) for a, b in pairs) / len(images))
    finally:
        pipeline.scheduler = present
    if away[1] >= away[0]:
        return f"Not yet: it is {away[1]:.1f} away, the present one {away[0]:.1f}."
    return f"Right: {away[1]:.1f} away in 10 steps, where the present one is {away[0]:.1f}."


@_checks(Image.Image, "a picture")
def image_of_batch(answer: Image.Image, batch: Sequence[Image.Image], index: int) -> str:
    """Is this picture number `index` of the batch, drawn again?

    Args:
        answer: the picture, drawn alone.
        batch: the pictures of the batch, of the same size.
        index: which one was asked for, counted from 0.

    Example:
        >>> batch = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
        >>> image_of_batch(batch[1].copy(), batch, index=2)
        'Not yet: that is image 1 of the batch. Image i has seed i, and the first is image 0.'
        >>> image_of_batch(batch[2].copy(), batch, index=2)
        'Right: image 2 came again, without the others.'
    """
    if answer is batch[index]:
        return "Not yet: that is the batch's own picture; draw it again, alone."
    distances = [image_distance(answer, image) for image in batch]
    nearest = min(range(len(batch)), key=distances.__getitem__)
    if distances[nearest] > SAME:
        return (
            "Not yet: it is none of the batch. Take the same prompt and number of steps, and a "
            "generator with the seed that the image had."
        )
    if nearest != index:
        return (
            f"Not yet: that is image {nearest} of the batch. "
            "Image i has seed i, and the first is image 0."
        )
    return f"Right: image {index} came again, without the others."


@_checks(int, "a number")
def count_tokens(answer: int, pipeline: StableDiffusion, sentence: str) -> str:
    """Does the tokenizer make this many tokens of the sentence, start and end included?

    Args:
        answer: a number of tokens.
        pipeline: whose tokenizer reads it.
        sentence: what it reads.

    Example:
        >>> from helpers import load_pipeline
        >>> count_tokens(2, load_pipeline(device="cpu"), "a queen")
        'Not yet: 2 is too few. Do the start and the end count too?'
    """
    count = len(pipeline.tokenizer(sentence).input_ids)
    if answer != count:
        much = "few" if answer < count else "many"
        return f"Not yet: {answer} is too {much}. Do the start and the end count too?"
    return f"Right: it takes {count} of the {pipeline.tokenizer.model_max_length} tokens."


@_checks(Image.Image, "a picture")
def same_as_pipeline(
    answer: Image.Image, pipeline: StableDiffusion, seed: int, **wanted: Any
) -> str:
    """Is this the picture that the pipeline draws with these arguments?

    Args:
        answer: a picture.
        pipeline: draws the one to compare with.
        seed: of its generator.
        wanted: the pipeline's arguments.

    Example:
        >>> same_as_pipeline("a portrait", None, seed=0)
        "Not yet: the answer is a picture, not 'a portrait'."
    """
    image = pipeline(generator=make_generators(seed), **wanted).images[0]
    away = image_distance(answer, image)
    if away > SAME:
        return f"Not yet: it is {away:.0f} of 255 away from what the pipeline draws."
    return "Right: the pipeline draws the same picture."


@_checks(dict, "settings in a dict")
def settings_that_fit(answer: dict[str, Any], model: str, batch_size: int, budget: float) -> str:
    """Does a batch of this size fit into the budget with these settings?

    Args:
        answer: settings of `forecast_memory`, such as {"dtype": "float16"}.
        model: what is to be drawn with.
        batch_size: how many images at once.
        budget: bytes.

    Example:
        >>> settings_that_fit({"dtype": "float32"}, "tiny-portraits", 4, budget=10**6)
        'Not yet: it takes ... MB, with 1.0 MB to fill. Most goes to the ...'
    """
    forecast = forecast_memory(model, batch_size=batch_size, **answer)
    if forecast.peak > budget:
        part = max(forecast.peaks, key=forecast.peaks.__getitem__)
        kind = "weights" if forecast.weights[part] > forecast.activations[part] else "activations"
        return (
            f"Not yet: it takes {readable(forecast.peak)}, with {readable(budget)} to fill. "
            f"Most goes to the {kind} of the {part}."
        )
    return f"Right: a batch of {batch_size} takes {readable(forecast.peak)}."


@_checks(int, "a batch size")
def largest_that_fits(answer: int, model: str, budget: float, **options: Any) -> str:
    """Is this the largest batch that fits into the budget?

    Args:
        answer: a batch size.
        model: what is to be drawn with.
        budget: bytes.
        options: those of `forecast_memory`.

    Example:
        >>> largest_that_fits(1, "tiny-portraits", budget=10**9)
        'Not yet: 1 fits, and so does 2.'
    """
    here, more = (
        forecast_memory(model, batch_size=size, **options).peak for size in (answer, answer + 1)
    )
    if here > budget:
        return f"Not yet: {answer} would take {readable(here)}, with {readable(budget)} to fill."
    if more <= budget:
        return f"Not yet: {answer} fits, and so does {answer + 1}."
    return f"Right: {answer} takes {readable(here)}, and {answer + 1} would take {readable(more)}."


@_checks(int, "a seed")
def seed_that_shows(
    answer: int,
    pipeline: StableDiffusion,
    prompt: str,
    judge: Judge,
    wanted: Mapping[str, str],
    **settings: object,
) -> str:
    """Does the picture of this seed show what the prompt leaves open?

    Args:
        answer: a seed.
        pipeline: draws it, with `settings`.
        prompt: what is drawn.
        judge: reads the picture.
        wanted: the values that the judge should read, by attribute.

    Example:
        >>> seed_that_shows("seven", None, "", None, {})
        "Not yet: the answer is a seed, not 'seven'."
    """
    image = pipeline(prompt, generator=make_generators(answer), **settings).images[0]
    read = read_attributes([image], judge).iloc[0]
    return _compare(read.to_dict(), wanted, f"seed {answer}")


@_checks(str, "a prompt")
def prompt_that_shows(
    answer: str,
    pipeline: StableDiffusion,
    judge: Judge,
    wanted: Mapping[str, str],
    seeds: Sequence[int],
    **settings: object,
) -> str:
    """Do most pictures of this prompt show all of these attributes?

    Args:
        answer: a prompt.
        pipeline: draws it, with `settings`.
        judge: reads the pictures.
        wanted: the values that the judge should read, by attribute.
        seeds: the seeds to draw it with.

    Example:
        >>> prompt_that_shows(7, None, None, {}, [])
        'Not yet: the answer is a prompt, not 7.'
    """
    generators = make_generators(seeds)
    images = pipeline([answer] * len(generators), generator=generators, **settings).images
    read = read_attributes(images, judge)
    hits = (read[list(wanted)] == list(wanted.values())).all(axis="columns").sum()
    if 2 * hits > len(images):
        return f"Right: {hits} of {len(images)} pictures show all of it."
    usual = {attribute: read[attribute].mode()[0] for attribute in wanted}
    return _compare(usual, wanted, "most pictures")


@_checks(Settings, "the settings of a picture")
def settings_are(answer: Settings, **wanted: object) -> str:
    """Are these the settings that were asked for?

    Args:
        answer: of a picture.
        wanted: by name.

    Example:
        >>> settings_are(Settings("a knight", seed=3), seed=7)
        'Not yet: seed is 3 and not 7.'
    """
    wrong = {
        name: getattr(answer, name) for name in wanted if getattr(answer, name) != wanted[name]
    }
    if wrong:
        said = ", ".join(
            f"{name} is {value} and not {wanted[name]}" for name, value in wrong.items()
        )
        return f"Not yet: {said}."
    return f"Right: {', '.join(f'{name} is {value}' for name, value in wanted.items())}."


@_checks(str, "a negative prompt")
def negative_prompt_that_removes(
    answer: str,
    pipeline: StableDiffusion,
    prompt: str,
    judge: Judge,
    unwanted: tuple[str, str],
    seeds: Sequence[int],
    **settings: object,
) -> str:
    """Is the unwanted thing rarer with this negative prompt than without?

    Args:
        answer: a negative prompt.
        pipeline: draws with it, and without.
        prompt: what is drawn.
        judge: reads the pictures.
        unwanted: an attribute and its value, such as ("mood", "smiling").
        seeds: the seeds to draw it with.

    Example:
        >>> negative_prompt_that_removes(None, None, "", None, ("mood", "smiling"), [])
        'Not tried yet: put a negative prompt in the place of None.'
    """
    attribute, value = unwanted
    count = []
    for negative in (None, answer):
        told = {"negative_prompt": negative and [negative] * len(seeds), **settings}
        images = pipeline([prompt] * len(seeds), generator=make_generators(seeds), **told).images
        count.append(int((read_attributes(images, judge)[attribute] == value).sum()))
    said = f"{value} in {count[1]} of {len(seeds)} pictures, {count[0]} without it."
    return f"Right: {said}" if count[1] < count[0] else f"Not yet: {said}"


@_checks(str, "some words")
def word_that_was_cut(answer: str, pipeline: StableDiffusion, prompt: str) -> str:
    """Did the pipeline never see these words of the prompt?

    Args:
        answer: words of the prompt.
        pipeline: whose tokenizer decides.
        prompt: a prompt that is longer than the text encoder reads.

    Example:
        >>> word_that_was_cut(None, None, "")
        'Not tried yet: put some words in the place of None.'
    """
    words = " ".join(answer.lower().split())
    if not words or words not in prompt.lower():
        return f"Not yet: {answer!r} does not stand in the prompt."
    if words not in cut_words(prompt, pipeline).lower():
        return f"Not yet: the pipeline has read {answer!r}. How many tokens does it read?"
    return f"Right: {answer!r} stands beyond what the text encoder reads."


def _compare(read: Mapping[str, str], wanted: Mapping[str, str], where: str) -> str:
    """Set what was read beside what was wanted, in a sentence."""
    wrong = [name for name in wanted if read[name] != wanted[name]]
    if wrong:
        said = ", ".join(f"{name} is {read[name]} and not {wanted[name]}" for name in wrong)
        return f"Not yet: with {where}, {said}."
    return f"Right: with {where}, the judge reads {', '.join(map(str, wanted.values()))}."


@_checks(str, "a card's name")
def cheapest_in_time(answer: str, table: pandas.DataFrame, hours: float) -> str:
    """Is this the cheapest card that is done in time, at worst?

    Args:
        answer: a name in the table.
        table: what `what_will_it_take` returns, with prices.
        hours: how long there is.

    Example:
        >>> from helpers import what_will_it_take
        >>> table = what_will_it_take("sd15-shape", 1000, {"T4": 1, "L4": 2}, batch_size=4)
        >>> cheapest_in_time("T4", table, hours=0.1)
        'Not yet: at worst the T4 takes ... hours, and there are 0.1.'
    """
    name = find_card(answer).name
    if name not in table.index:
        return f"Not yet: the table has no {name}, only {', '.join(table.index)}."
    row = table.loc[name]
    if row["fits"] != "surely":
        return f"Not yet: it does not surely fit on the {name}: {row['fits']}."
    if row["hours at worst"] > hours:
        takes = f"at worst the {name} takes {row['hours at worst']:.1f} hours"
        return f"Not yet: {takes}, and there are {hours:g}."
    in_time = table[(table["fits"] == "surely") & (table["hours at worst"] <= hours)]
    if row["at worst"] > in_time["at worst"].min():
        return f"Not yet: the {name} is done in time, and so is a cheaper card."
    worst = f"{row['hours at worst']:.1f} hours for {row['at worst']:.1f}"
    return f"Right: the {name} takes {worst} at worst, and no other in time costs less."


def claimed_times() -> pandas.DataFrame:
    """Three published times of a picture of 50 steps, and a claim that cannot be, as rows A to D.

    Example:
        >>> claimed_times().seconds.to_list()
        [2.7, ..., 2.0, 2.5]
    """
    import pandas

    alike = "batch_size == 1 and steps >= 50 and height == 512 and dtype == 'float16'"
    alike += " and attention == 'sdpa' and not compiled and timed == 'call'"
    rows = read_published_seconds().query(alike).drop_duplicates("gpu")
    rows = rows.set_index("gpu", drop=False)
    claim = rows.loc["V100-PCIE-16GB"].to_dict() | IMPOSSIBLE
    four = [rows.loc[["V100-PCIE-16GB", "A100-SXM4-80GB"]], pandas.DataFrame([claim])]
    return pandas.concat([*four, rows.loc[["RTX 3090"]]]).set_axis(list("ABCD"))


@_checks(str, "a row's name")
def impossible_figure(answer: str, figures: pandas.DataFrame) -> str:
    """Is this the published time that cannot be: less than half of the least that is forecast?

    Args:
        answer: a row's name in the figures.
        figures: what `claimed_times` returns.

    Example:
        >>> impossible_figure("A", claimed_times())
        'Not yet: A, ... s, is ... times the least that is forecast: that can be.'
    """
    row = figures.loc[answer]
    share = row["seconds"] / forecast_row(row.to_dict(), read_constants()["all"])[0]
    claim = f"{answer}, {row['seconds']:.3g} s, is {share:.2g} times the least that is forecast"
    return f"Right: {claim}." if share < 0.5 else f"Not yet: {claim}: that can be."


@_checks(float, "seconds, such as 1.5,")
def predicted_seconds(answer: float, measurement: Measurement) -> str:
    """Is this within a quarter of what was measured?

    Args:
        answer: the seconds of the whole call.
        measurement: of that call.

    Example:
        >>> from helpers.timing import Measurement
        >>> predicted_seconds(2.0, Measurement("mine", [], 1.0, 0.1))
        'Not yet: 2.00 s is 100% more than the 1.00 s that it took.'
    """
    off = answer / measurement.seconds - 1
    way = "more" if off > 0 else "less"
    took = f"the {measurement.seconds:.2f} s that it took"
    said = f"{answer:.2f} s is {abs(off):.0%} {way} than {took}."
    return f"Right: {said}" if abs(off) <= NEAR else f"Not yet: {said}"
