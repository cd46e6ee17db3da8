"""Exercises: each check tells right from wrong, gives a hint, and never stops the page."""

import pandas
import pytest
from diffusers import DPMSolverMultistepScheduler, PNDMScheduler
from PIL import Image

from helpers import Measurement, get_inputs, make_generators, read_attributes
from helpers.lessons import exercises
from helpers.memory import readable
from labs.forecast import forecast_memory, what_will_it_take

PROMPTS = ["portrait photo of a knight, blue on red", "oil painting of a queen, green on pink"]


@pytest.mark.parametrize(
    "check",
    [
        exercises.cheapest_in_time,
        exercises.fewest_steps,
        exercises.image_of_batch,
        exercises.impossible_figure,
        exercises.largest_that_fits,
        exercises.nearer_scheduler,
        exercises.predicted_seconds,
        exercises.prompt_that_shows,
        exercises.seed_that_shows,
        exercises.settings_that_fit,
        exercises.word_that_was_cut,
        exercises.fewest_guided,
        exercises.pays_off_after,
        exercises.shares_of_peak,
    ],
)
def test_an_exercise_left_alone_or_answered_with_nonsense_gets_a_sentence(check):
    assert check(None).startswith("Not tried yet: put ")
    for nonsense in ([], True, {"a": 1}):
        assert check(nonsense).startswith("Not yet: ")


def test_a_true_answer_is_no_number():
    assert exercises.largest_that_fits(True, "tiny-portraits", 1) == (
        "Not yet: the answer is a batch size, not True."
    )


def test_what_an_answer_breaks_is_told_and_not_raised(pipeline, judge):
    said = exercises.seed_that_shows(-1, pipeline, PROMPTS[0], judge, {"mood": "smiling"})
    assert said.startswith("Not yet: with this answer comes a ValueError: -1 is not a seed")


# Steps: adherence is played by a table, so that what is right is known


@pytest.fixture
def adherence_of_steps(monkeypatch):
    """Draw nothing; 5, 8 and 20 steps are good, the others are not."""

    def pipeline(prompts, num_inference_steps, **inputs):
        class Output:
            images = [num_inference_steps] * len(prompts)

        return Output

    def adherence(images, prompts, judge):
        return pandas.DataFrame(
            {"subject": [0.9 if steps in (5, 8, 20) else 0.5 for steps in images]}
        )

    monkeypatch.setattr(exercises.drawing, "adherence", adherence)
    return pipeline


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (5, "Right: 5 steps keep the 90%"),
        (8, "Not yet: 8 steps are enough, but a smaller number is too"),
        (6, "Not yet: the adherence is 50% with 6 steps and 90% with 20"),
        (20, "Not yet: look between 2 and 19"),
        (0, "Not yet: look between 2 and 19"),
    ],
)
def test_the_fewest_steps(adherence_of_steps, answer, said):
    assert exercises.fewest_steps(answer, adherence_of_steps, PROMPTS, None).startswith(said)


def test_a_nearer_scheduler_and_one_that_is_not(pipeline):
    config = pipeline.scheduler.config
    exact = DPMSolverMultistepScheduler.from_config(config, use_karras_sigmas=True)
    present = pipeline.scheduler = PNDMScheduler.from_config(config)
    same = PNDMScheduler.from_config(config)
    pipeline.scheduler = exact
    inputs = {"generator": make_generators(range(2)), "num_inference_steps": 30}
    converged = pipeline(PROMPTS, **inputs).images
    pipeline.scheduler = present
    check = exercises.nearer_scheduler
    assert check(exact, pipeline, PROMPTS, converged).startswith("Right: ")
    assert check(same, pipeline, PROMPTS, converged).startswith("Not yet: it is ")
    assert check("Euler", pipeline, PROMPTS, converged).startswith("Not yet: 'Euler' is not a s")
    assert check(exact, pipeline, PROMPTS, converged[:1]).startswith("Not yet: with this answer ")
    assert pipeline.scheduler is present


def test_an_image_of_a_batch(pipeline):
    batch = pipeline(**get_inputs(4, num_inference_steps=4)).images

    def drawn(seed):
        return pipeline(**get_inputs(1, num_inference_steps=4, seeds=[seed])).images[0]

    assert exercises.image_of_batch(drawn(3), batch, 3).startswith("Right: image 3 ")
    assert "that is image 2" in exercises.image_of_batch(drawn(2), batch, 3)
    assert "none of the batch" in exercises.image_of_batch(drawn(9), batch, 3)
    assert "again, alone" in exercises.image_of_batch(batch[3], batch, 3)
    assert "comes a ValueError" in exercises.image_of_batch(Image.new("RGB", (8, 8)), batch, 3)


def test_the_same_picture():
    picture, other = (Image.new("RGB", (8, 8), colour) for colour in ("red", "green"))
    assert exercises.same_picture(picture.copy(), picture).startswith("Right: ")
    assert "the picture itself" in exercises.same_picture(picture, picture)
    assert "of 255 away" in exercises.same_picture(other, picture)


def test_settings_that_fit_a_budget():
    def check(answer, budget):
        return exercises.settings_that_fit(answer, "tiny-portraits", 32, budget)

    whole = forecast_memory("tiny-portraits", batch_size=32, dtype="float32").peak
    assert check({"dtype": "float32"}, whole) == f"Right: a batch of 32 takes {readable(whole)}."
    assert check({"dtype": "float32"}, whole - 1).startswith("Not yet: it takes ")
    assert check({"dtype": "float16", "vae_slicing": True}, whole / 2).startswith("Right: ")
    assert "Most goes to the activations" in check({"attention": "classic"}, 1)
    assert "comes a TypeError" in check({"batch": 32}, 1)
    assert "comes a ValueError" in check({"attention": "quick"}, 1)


def test_the_largest_batch_that_fits():
    budget = forecast_memory("tiny-portraits", batch_size=5).peak

    def check(answer):
        return exercises.largest_that_fits(answer, "tiny-portraits", budget)

    assert check(5).startswith("Right: 5 takes ")
    assert check(4) == "Not yet: 4 fits, and so does 5."
    assert check(6).startswith("Not yet: 6 would take ")
    assert "comes a ValueError" in check(0)


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
    assert check({"view": wrong}) == f"Not yet: with seed 2, view is {view} and not {wrong}."


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
        check(OPPOSITE[view])
        == f"Not yet: with most pictures, view is {view} and not {OPPOSITE[view]}."
    )


def test_a_word_that_was_cut(pipeline):
    prompt = "portrait photo of a knight, " + "highly detailed, " * 40 + "Red Background"
    check = exercises.word_that_was_cut
    assert check("red  background", pipeline, prompt).startswith("Right: ")
    assert "has read 'knight'" in check("knight", pipeline, prompt)
    assert "does not stand in the prompt" in check("dragon", pipeline, prompt)
    assert "does not stand in the prompt" in check("", pipeline, prompt)


def test_the_cheapest_card_in_time():
    prices = {"T4": 1, "RTX 4090": 2, "H100": 9}
    table = what_will_it_take("sd15-shape", 10_000, prices, batch_size=4)
    table.loc["P100-PCIE-16GB"] = ["too little memory"] + [None] * (table.shape[1] - 1)
    answers = {
        "T4": "Not yet: at worst the T4 takes",
        "H100": "Not yet: the H100 80GB HBM3 is done in time, and so is a cheaper card.",
        "RTX 3090": "Not yet: the table has no RTX 3090, only ",
        "P100": "Not yet: it does not surely fit on the P100-PCIE-16GB: too little memory.",
        "T5": "Not yet: with this answer comes a ValueError: There is no 'T5'",
        "rtx 4090": "Right: the RTX 4090 takes ",
    }
    for answer, said in answers.items():
        assert exercises.cheapest_in_time(answer, table, hours=8).startswith(said)


def test_one_of_the_claimed_times_cannot_be():
    claims = exercises.claimed_times()
    said = {name: exercises.impossible_figure(name, claims) for name in claims.index}
    assert [name for name, text in said.items() if text.startswith("Right: ")] == ["B"]
    assert claims.loc["B", "gpu"] == "L4"
    assert exercises.impossible_figure("E", claims).startswith("Not yet: with this answer comes a")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (4.8, "Right: 4.80 s is 20% more than the 4.00 s that it took."),
        (3.2, "Right: 3.20 s is 20% less"),
        (5.2, "Not yet: 5.20 s is 30% more"),
        (0.0, "Not yet: 0.00 s is 100% less"),
    ],
)
def test_predicted_seconds(answer, said):
    took = Measurement("mine", [], 4.0, 0.1)
    assert exercises.predicted_seconds(answer, took).startswith(said)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (0, "Not yet: 0 pictures save 0.0 s"),
        (9, "Right: 9 pictures save 1.8 s, and the wait was 2.0 s"),
        (10, "Right: "),
        (12, "Not yet: by picture 12 the wait has long been earned back"),
    ],
)
def test_when_a_wait_pays_off(answer, said):
    check = exercises.pays_off_after
    assert check(answer, wait=2.0, before=0.4, after=0.2).startswith(said)
    assert check(answer, wait=2.0, before=0.4, after=0.4).startswith("Not yet: here a picture ")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (6, "Right: 6 guided steps keep 90.0%, and all 20 have 90.5%"),
        (5, "Not yet: with 5 guided steps the adherence is 50.0%"),
        (9, "Not yet: 9 guided steps are enough, but one fewer is too"),
        (0, "Not yet: look between 1 and 19"),
        (20, "Not yet: look between 1 and 19"),
    ],
)
def test_the_fewest_guided_steps(answer, said):
    def found(guided):
        return 0.5 if guided < 6 else 0.9 if guided < 20 else 0.905

    assert exercises.fewest_guided(answer, found).startswith(said)


def test_the_shares_of_a_peak():
    columns = {"seconds": [2.0, 2.0, 1.0], "peak (TFLOP/s)": [65.0, 312.0, 312.0]}
    figures = pandas.DataFrame(columns, index=list("ABC"))

    def check(answer):
        return exercises.shares_of_peak(answer, figures, tflop=68)

    assert (
        check([0.523, 0.109, 0.218]) == "Right: row A would take 52%, and the next one takes 22%."
    )
    assert check([0.523, 0.218, 0.218]).startswith("Not yet: row B is not 22% of the peak")
    assert check([0.523]) == "Not yet: there are 3 rows, and 1 shares."
    assert check(["half", 0.1, 0.2]).startswith("Not yet: with this answer comes a ")


def test_how_many_pictures_values_ask_for():
    jobs = {"prompt": ["a knight", "a queen"], "seed": [0, 1, 2]}
    assert exercises.count_of_jobs(6, jobs) == "Right: it asks for 6 pictures."
    assert exercises.count_of_jobs(5, jobs).startswith("Not yet: 5 is too few")


def test_jobs_that_ask_for_just_these_pictures():
    rows = [{"prompt": "a knight", "seed": seed} for seed in (0, 1)]
    check = exercises.jobs_ask_for
    assert (
        check({"prompt": ["a knight"], "seed": [1, 0]}, rows) == "Right: these are the 2 pictures."
    )
    assert check(rows[:1], rows).startswith("Not yet: 1 of the pictures is missing, and 0 is not")
    assert check([*rows, {"prompt": "a queen"}], rows).startswith("Not yet: 0 of the pictures")
    assert check("all", rows).startswith("Not yet: the answer is jobs, as a dict or a list, not")


def test_the_hours_of_a_sweep():
    sweep = {"seconds": 0.36, "images": 10_000, "processes": 2}
    assert exercises.hours_of_sweep(0.5, **sweep) == "Right: 10000 pictures take 0.5 hours."
    assert exercises.hours_of_sweep(1.0, **sweep) == "Not yet: it takes less than 1 hours."


def test_how_many_tokens(pipeline):
    assert exercises.count_tokens(3, pipeline, "queen").startswith("Right: it takes 3 of the 77")
    assert exercises.count_tokens(1, pipeline, "queen").startswith("Not yet: 1 is too few")
    assert exercises.count_tokens(4, pipeline, "queen").startswith("Not yet: 4 is too many")


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
    monkeypatch.setattr(exercises.prompts, "read_attributes", read)
    told = (pipeline, PROMPTS[1], None, ("mood", "smiling"), range(2))
    found = exercises.negative_prompt_that_removes("smiling", *told, num_inference_steps=1)
    assert found == f"{said}with it, smiling shows in {after} of 2 pictures; without it, in 2."
