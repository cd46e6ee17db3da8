"""Exercises: each check tells right from wrong, gives a hint, and never stops the notebook."""

import numpy as np
import pandas
import pytest
import torch
from PIL import Image

from helpers import make_generators, read_attributes
from helpers.lessons import exercises
from helpers.timing import Measurement

PROMPTS = ["portrait photo of a knight, blue on red", "oil painting of a queen, green on pink"]


@pytest.mark.parametrize(
    "check",
    [
        exercises.fewest_steps,
        exercises.largest_batch_that_fits,
        exercises.nearer_timesteps,
        exercises.measurable_differences,
        exercises.images_again,
        exercises.finds_largest_batch,
        exercises.bytes_of_scores,
        exercises.prompt_that_shows,
        exercises.seed_that_shows,
        exercises.prompt_as_read,
    ],
)
def test_an_exercise_left_alone_or_answered_with_nonsense_gets_a_sentence(check):
    assert check(None).startswith("Not tried yet: replace None with ")
    for nonsense in ([], True, {"a": 1}):
        assert check(nonsense).startswith("Not yet: ")


def test_what_an_answer_breaks_is_told_and_not_raised(pipeline, judge):
    said = exercises.seed_that_shows(-1, pipeline, PROMPTS[0], judge, {"mood": "smiling"})
    assert said.startswith("Not yet: with this answer the call raises ValueError: -1 is not a")


def grey(level):
    return Image.new("RGB", (8, 8), (level, level, level))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (5, "Right: 5 steps come to 20.0; one step fewer stays at 25.0"),
        (4, "Not yet: with 4 steps the distance is 25.0, more than 20"),
        (8, "Not yet: 7 steps are enough"),
        (51, "Not yet: try between 2 and 50"),
        (1, "Not yet: try between 2 and 50"),
    ],
)
def test_the_fewest_steps(answer, said):
    def generate(steps):
        return [grey(100 // steps)]

    assert exercises.fewest_steps(answer, generate, [grey(0)], 20).startswith(said)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([900, 500], "Right: the distance is 9.0 with yours and 30.0"),
        ([900, 800], "Not yet: the distance is 60.0 with yours"),
        ([900], "Not yet: there are 1 timesteps, not 2"),
        ([500, 900], "Not yet: timesteps are whole numbers that fall"),
        ([1000, 900], "Not yet: timesteps are whole numbers that fall"),
    ],
)
def test_timesteps_of_ones_own(answer, said):
    def generate(timesteps):
        return [grey(30 if timesteps is None else 9 if timesteps[-1] == 500 else 60)]

    check = exercises.nearer_timesteps(answer, generate, [grey(0)], count=2)
    assert check.startswith(said)


def test_which_differences_are_measurable():
    clear = Measurement("clear", [], 1.0, 0.1, speedups=(1.2, 1.3), noise=1.1)
    noisy = Measurement("noisy", [], 1.0, 0.1, speedups=(1.2, 1.3), noise=1.4)

    def check(answer):
        return exercises.measurable_differences(answer, [clear, noisy])

    assert check({"clear"}) == "Right: only clear shows a difference."
    assert check({"clear", "noisy"}).startswith("Not yet: noisy could be chance (1.20 to 1.30")
    assert check(set()).startswith("Not yet: clear does differ")


def test_the_same_picture():
    picture, other = (Image.new("RGB", (8, 8), colour) for colour in ("red", "green"))
    assert exercises.same_image(picture.copy(), picture).startswith("Right: ")
    assert "the image itself" in exercises.same_image(picture, picture)
    assert "of 255" in exercises.same_image(other, picture)


# Seeds and prompts: what is wanted is what the judge reads off a picture, or its opposite

OPPOSITE = {"front": "side", "side": "front"}


def test_a_seed_that_shows_it(pipeline, judge):
    settings = {"num_inference_steps": 4}
    image = pipeline(PROMPTS[0], generator=make_generators(2), **settings).images[0]
    view = read_attributes([image], judge)["view"][0]

    def check(wanted):
        return exercises.seed_that_shows(2, pipeline, PROMPTS[0], judge, wanted, **settings)

    assert check({"view": view}) == f"Right: with seed 2, the judge reads {view}."
    wrong = OPPOSITE[view]
    assert check({"view": wrong}) == f"Not yet: with seed 2, view is {view}, not {wrong}."


def test_a_prompt_that_shows_it(pipeline, judge):
    settings = {"num_inference_steps": 4}
    images = pipeline([PROMPTS[0]] * 3, generator=make_generators(range(3)), **settings).images
    view = read_attributes(images, judge)["view"].mode()[0]

    def check(wanted):
        return exercises.prompt_that_shows(
            PROMPTS[0], pipeline, judge, {"view": wanted}, range(3), **settings
        )

    assert check(view).startswith("Right: ")
    assert (
        check(OPPOSITE[view]) == f"Not yet: with most images, view is {view}, not {OPPOSITE[view]}."
    )


def test_a_prompt_that_ends_where_the_text_encoder_stops(pipeline):
    long_prompt = "portrait photo of a knight, " + "old " * 80 + "smiling"
    check = exercises.prompt_as_read
    assert check(long_prompt, pipeline, long_prompt).startswith("Not yet: of this prompt, 'old")
    assert check("a knight", pipeline, long_prompt).startswith("Not yet: the distance between")
    ids = pipeline.tokenizer(long_prompt)["input_ids"][1:76]
    found = check(pipeline.tokenizer.decode(ids), pipeline, long_prompt)
    assert found.startswith("Right: the same image; 'old old") and "smiling" in found


def test_a_prompt_for_a_drawing(pipeline, judge):
    (drawing,) = pipeline(PROMPTS[0], generator=make_generators(0), num_inference_steps=20).images
    check = exercises.prompt_for_drawing
    told = pipeline, judge, drawing, ["subject", "background"], range(1)
    assert check(PROMPTS[0], *told).startswith("Right: in 1 of 1 images")
    assert "subject is queen, not knight" in check(PROMPTS[1], *told)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda wait, before, after: None, "Not yet: for 60 s of waiting"),
        (lambda wait, before, after: wait / (before - after), "Not yet: with this answer the call"),
        (lambda wait, before, after: round(wait / abs(before - after + 1e-9)), "Not yet: if an"),
        (
            lambda wait, before, after: round(wait / (before - after)) if after < before else None,
            "Right: ",
        ),
    ],
)
def test_after_how_many_images_it_pays_off(answer, said):
    assert exercises.pays_off(answer).startswith(said)


def test_attention_in_parts(pipeline):
    def classic(query, key, value):
        return (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(dim=-1) @ value

    def in_parts(query, key, value):
        return torch.cat([classic(part, key, value) for part in query.split(64, dim=1)], dim=1)

    def swap(function):
        used.append(function)
        return pipeline.unet.attn_processors

    def generate(pipeline):
        return pipeline(PROMPTS[0], generator=make_generators(0), num_inference_steps=1).images

    used, told = [], (pipeline, swap, generate)
    check = exercises.attention_in_parts
    assert check(lambda query, key, value: query, *told).startswith("Not yet: its numbers differ")
    assert check(classic, *told).startswith("Not yet: it takes 16")
    assert check(in_parts, *told).startswith("Right: at most ") and used == [in_parts]


def test_an_image_decoded_in_two_parts(pipeline):
    def overlapping(decode, latents):
        width = latents.shape[-1]
        left, right = decode(latents[..., : 3 * width // 4]), decode(latents[..., width // 4 :])
        middle = left.shape[-1] * 2 // 3
        return torch.cat([left[..., :middle], right[..., -middle:]], dim=-1)

    def halves(decode, latents):
        return torch.cat([decode(part) for part in latents.chunk(2, dim=-1)], dim=-1)

    check = exercises.decode_in_two_parts
    assert check(overlapping, pipeline, PROMPTS[0]).startswith("Right: the distance from")
    assert check(halves, pipeline, PROMPTS[0]).startswith("Not yet: the distance from")
    at_once = check(lambda decode, latents: decode(latents), pipeline, PROMPTS[0])
    assert at_once.startswith("Not yet: it decodes parts of widths [16]")


def test_a_picture_that_the_pipeline_draws(pipeline):
    wanted = {"prompt": PROMPTS[0], "num_inference_steps": 2}
    seven, eight = (
        pipeline(**wanted, generator=make_generators(seed)).images[0] for seed in (7, 8)
    )
    assert exercises.same_as_pipeline(seven, pipeline, seed=7, **wanted).startswith("Right: ")
    assert exercises.same_as_pipeline(eight, pipeline, seed=7, **wanted).startswith("Not yet: ")


@pytest.mark.parametrize(("after", "said"), [(0, "Right: "), (2, "Not yet: "), (1, "Right: ")])
def test_a_negative_prompt_that_removes(pipeline, monkeypatch, after, said):
    moods = iter([["smiling", "smiling"], ["smiling"] * after + ["serious"] * (2 - after)])
    read = lambda images, judge: pandas.DataFrame({"mood": next(moods)})  # noqa: E731
    monkeypatch.setattr(exercises, "read_attributes", read)
    told = (pipeline, PROMPTS[1], None, ("mood", "smiling"), range(2))
    found = exercises.negative_prompt_that_removes("smiling", *told, num_inference_steps=1)
    assert found == f"{said}with it, {after} of 2 images show smiling; without it, 2 do."


@pytest.mark.parametrize("five", [5, np.uint8(5), torch.tensor(5)])
def test_whole_numbers_of_other_libraries_are_taken(five):
    found = exercises.largest_batch_that_fits(five, lambda size: size * 10**6, budget=5 * 10**6)
    assert found == "Right: 5.0 MB; one more image would take 6.0 MB."


def test_the_largest_batch_that_fits():
    def check(answer):
        return exercises.largest_batch_that_fits(answer, lambda size: size * 10**6, 5.5 * 10**6)

    assert check(5) == "Right: 5.0 MB; one more image would take 6.0 MB."
    assert check(4) == "Not yet: 5 fit too, with 5.0 MB."
    assert check(6) == "Not yet: it takes 6.0 MB, more than 5.5 MB."
    assert check(0) == "Not yet: a batch has at least one image."


def test_images_of_a_batch_again():
    batch = [grey(0), grey(50), grey(100)]
    assert exercises.images_again([grey(0), grey(100)], batch, (0, 2)).startswith("Right: images 0")
    assert "50" in exercises.images_again([grey(0), grey(50)], batch, (0, 2))
    assert "1 images, not 2" in exercises.images_again([grey(0)], batch, (0, 2))
    assert "generate them again" in exercises.images_again(batch[:2], batch, (0, 1))


def bisect(fits):
    good, bad = 1, 2
    while fits(bad):
        good, bad = bad, 2 * bad
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def test_a_function_that_finds_the_largest_batch():
    def one_by_one(fits):
        return next(size for size in range(1, 10**6) if not fits(size + 1))

    check = exercises.finds_largest_batch
    assert check(bisect).startswith("Right: where 100 fit, it tries 2, 4, 8,")
    assert check(one_by_one).startswith("Not yet: where 16 fit, it takes 16 attempts")
    assert check(lambda fits: 1).startswith("Not yet: where 2 fit, it returns 1")
    assert "thousand sizes" in check(lambda fits: all(iter(lambda: fits(1), None)))


def test_the_bytes_of_attention_scores():
    blocks = ("DownBlock2D", "CrossAttnDownBlock2D")
    config = {"down_block_types": blocks, "attention_head_dim": (1, 2), "sample_size": 16}
    check = exercises.bytes_of_scores
    assert check(2 * 2 * 2 * 64**2 * 2, config, 1) == "Right: the scores take 0.1 MB."
    assert check(2 * 2 * 256**2 * 2, config, 1).startswith("Not yet: 0.5 MB are too many.")


def halves(upper, lower):
    image = Image.new("RGB", (8, 8), upper)
    image.paste(lower, (0, 4, 8, 8))
    return image


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (halves("red", "blue"), "Right: "),
        (halves("red", "green"), "Not yet: "),  # nothing changed
        (halves("blue", "red"), "Not yet: the part to keep is"),
        (None, "Not tried yet: "),
    ],
)
def test_a_part_that_is_kept(answer, said):
    boxes = {"kept": (0, 0, 8, 4), "changed": (0, 4, 8, 8)}
    found = exercises.keeps_part(answer, halves("red", "green"), **boxes)
    assert found.startswith(said)


def test_a_round_trip():
    def check(*shades):
        images = [Image.new("L", (8, 8), shade) for shade in shades]
        ends = (Image.new("L", (8, 8), shade) for shade in (0, 100))
        return exercises.round_trip(images, *ends)

    assert check(0, 30, 70, 100, 70, 30, 0).startswith("Right: 7 images, no two neighbors more")
    assert check(0, 50, 100, 50, 0).startswith("Not yet: 5 images are too few")
    assert "the first image and the last" in check(0, 10, 30, 60, 70, 90, 100)
    assert "no image is that of the other seed" in check(0, 20, 40, 60, 40, 20, 0)
    assert "one step is a jump" in check(0, 0, 0, 100, 70, 30, 0)


# Functions that the reader writes


def test_a_share_of_matches():
    cases = [
        ({"mood": "smiling", "view": "side"}, {"mood": "smiling", "view": "front", "age": "old"})
    ]
    check = exercises.share_of_matches
    assert check(lambda asked, read: 0.5, cases).startswith("Right: ")
    assert "50% match, not 100%" in check(lambda asked, read: 1.0, cases)
    assert "raises TypeError" in check(lambda: 0, cases)


def test_a_step_of_ddim(pipeline):
    before = pipeline.scheduler

    def step(latents, noise_pred, share, next_share):
        original = (latents - (1 - share).sqrt() * noise_pred) / share.sqrt()
        return next_share.sqrt() * original + (1 - next_share).sqrt() * noise_pred

    check = exercises.denoising_step
    assert check(step, pipeline, PROMPTS[0]).startswith("Right: ")
    assert check(lambda latents, *rest: latents, pipeline, PROMPTS[0]).startswith("Not yet: ")
    assert pipeline.scheduler is before


def test_an_interpolation_of_noise(pipeline):
    def right(a, b, share):
        angle = torch.acos((a * b).sum() / (a.norm() * b.norm()))
        return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / angle.sin()

    assert exercises.slerp(right, pipeline, PROMPTS[0]).startswith("Right: ")
    wrong = exercises.slerp(lambda a, b, share: (1 - share) * a + share * b, pipeline, PROMPTS[0])
    assert wrong.startswith("Not yet: at 0.5 the standard deviation is 0.7")


def test_the_average_of_two_prompts(pipeline):
    generator = make_generators(0)
    image = pipeline(PROMPTS[0], generator=generator, num_inference_steps=20).images[0]
    check = exercises.halfway_between_prompts
    assert check(image, pipeline, (PROMPTS[0], PROMPTS[0])).startswith("Right: ")
    assert check(image, pipeline, tuple(PROMPTS)).startswith("Not yet: ")
