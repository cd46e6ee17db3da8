"""The judge: what a prompt wants, what an image shows, and whether the two agree."""

import numpy as np
import pandas
import pytest
import torch
from PIL import Image

import helpers.judge as judging
from helpers import adherence, get_inputs, read_attributes, wanted_attributes
from training.dataset import spec_of
from training.portraits import draw

PAGES_PROMPT = (
    "portrait photo of a old warrior chief, tribal panther make up, blue on red, side profile, "
    "looking away, serious eyes 50mm portrait photography, hard rim lighting photography"
    "--beta --ar 2:3  --beta --upbeta"
)


@pytest.fixture(scope="module")
def vocabulary(judge):
    return judge.vocabulary


PLAIN = {"make_up": "none", "style": "photo"}  # what is asked for where a prompt does not say


def noise(count, seed=0):
    random = np.random.default_rng(seed)
    return [
        Image.fromarray(random.integers(0, 256, (128, 128, 3), dtype=np.uint8))
        for _ in range(count)
    ]


def test_trained_judge_reads_drawings_that_it_has_not_seen(judge):
    specs = [spec_of(number) for number in range(64)]  # held out
    read = read_attributes([draw(spec) for spec in specs], judge)
    true = pandas.DataFrame([vars(spec) for spec in specs])[read.columns]
    right = (read == true).where(read.notna()).mean()
    assert right.min() >= 0.9, right
    # A face that is seen from the front faces neither way.
    assert (read["direction"].isna() == (read["view"] == "front")).all()


def test_the_embedded_pipeline_follows_the_pages_prompt(pipeline, judge):
    images = pipeline(**get_inputs(8, PAGES_PROMPT, num_inference_steps=20)).images
    assert adherence(images, PAGES_PROMPT, judge).stack().mean() >= 0.9


def test_the_pages_prompt_names_every_attribute(vocabulary):
    wanted = wanted_attributes(PAGES_PROMPT, vocabulary)
    values = "warrior chief, old, panther, blue, red, side, away, serious, 50mm, rim, photo"
    assert sorted(wanted.values()) == sorted(values.split(", "))


@pytest.mark.parametrize(
    ("words", "age"),
    [("the oldest", "oldest"), ("a old", "old"), ("an old", "old"), ("a", "adult")]
    + [("a young", "young"), ("AN OLD", "old"), ("an  old", "old")],
)
def test_the_four_ages_of_the_page(vocabulary, words, age):
    wanted = wanted_attributes(f"portrait photo of {words} warrior chief", vocabulary)
    assert wanted == {"subject": "warrior chief", "age": age} | PLAIN


@pytest.mark.parametrize(
    "prompt", ["", "a cat on a skateboard", "a golden threshold, golds, unserious, photography"]
)
def test_a_prompt_of_which_nothing_is_known_gets_no_score(vocabulary, judge, prompt):
    assert wanted_attributes(prompt, vocabulary) == {}
    assert adherence(noise(2), prompt, judge).isna().all(axis=None)


@pytest.mark.parametrize(
    "words",
    ["not smiling", "without tribal panther make up", "never looking away", "isn’t young"]
    + ["no star make-up", "not a side profile", "old-fashioned lamp, all-blue on red-hot"],
)
def test_what_is_to_be_absent_or_a_part_of_a_word_is_not_asked_for(vocabulary, words):
    wanted = wanted_attributes(f"portrait photo of a knight, {words}", vocabulary)
    assert wanted == {"subject": "knight", "age": "adult"} | PLAIN


def test_a_default_that_the_prompt_excludes_is_not_asked_for(vocabulary):
    assert wanted_attributes("a knight, not middle-aged, not a photo", vocabulary) == {
        name: value for name, value in ({"subject": "knight"} | PLAIN).items() if name != "style"
    }


def test_every_phrase_of_the_vocabulary_means_its_value(vocabulary):
    for attribute, entry in vocabulary.items():
        for value, phrases in entry["values"].items():
            for phrase in phrases:
                for prompt in (f"a {phrase}, and", f"a {phrase.replace(' ', '-')}, and"):
                    assert wanted_attributes(prompt, vocabulary)[attribute] == value


def test_the_size_of_the_batch_changes_no_reading(judge, monkeypatch):
    images = noise(5)
    at_once = read_attributes(images, judge)
    monkeypatch.setattr(judging, "IMAGES_AT_ONCE", 2)
    pandas.testing.assert_frame_equal(read_attributes(images, judge), at_once)


def test_adherence_is_right_wrong_or_not_asked_for(judge, monkeypatch):
    readings = {"subject": ["knight", "queen"], "age": ["old", "old"], "mood": ["smiling"] * 2}
    monkeypatch.setattr(judging, "read_attributes", lambda *_: pandas.DataFrame(readings))
    right = adherence(noise(2), ["portrait of an old knight", "a knight, smiling"], judge)
    rows = [[None if pandas.isna(cell) else bool(cell) for cell in row] for row in right.values]
    assert rows == [[True, True, None], [False, False, True]]
    assert right.mean().to_dict() == {"subject": 0.5, "age": 0.5, "mood": 1.0}
    assert right.stack().mean() == pytest.approx(3 / 5)


def test_prompts_that_do_not_fit_the_images(judge):
    with pytest.raises(ValueError, match="2 prompts do not fit 3 images: give one for each"):
        adherence(noise(3), ["a knight", "a queen"], judge)
    with pytest.raises(ValueError, match="A prompt must be text, not None"):
        adherence(noise(2), ["a knight", None], judge)


def test_the_judge_computes_in_float32_whatever_it_is_stored_in(judge):
    assert judge.model.dtype == torch.float32
    assert not judge.model.training


def test_arrays_and_a_single_image_are_judged(judge):
    image = noise(1)[0]
    by_list = read_attributes([image], judge)
    for images in (image, np.asarray(image)[None]):
        pandas.testing.assert_frame_equal(read_attributes(images, judge), by_list)
    with pytest.raises(ValueError, match="is not an image"):
        adherence(["image.png"], "a knight", judge)
