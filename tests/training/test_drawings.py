"""The drawings, their captions and the tokenizer."""

import json
from dataclasses import replace

import numpy as np
import pytest
from transformers import CLIPTokenizer

from helpers import MODELS_FOLDER, wanted_attributes
from training import captions, dataset, judge
from training.portraits import VALUES, Spec, draw

SPECS = [dataset.spec_of(i) for i in range(300)]


@pytest.mark.parametrize("attribute", VALUES)
def test_every_value_of_an_attribute_changes_the_drawing(attribute: str):
    base = Spec(background="green", figure="white", seed=5)
    taken = {"figure": "green", "background": "white"}.get(attribute)  # by the other of the pair
    values = [value for value in VALUES[attribute] if value != taken]
    drawn = {draw(replace(base, **{attribute: value})).tobytes() for value in values}
    assert len(drawn) == len(values)


@pytest.mark.parametrize("wrong", [{"age": "ancient"}, {"figure": "red", "background": "red"}])
def test_impossible_spec_is_refused(wrong: dict[str, str]):
    with pytest.raises(ValueError, match=r"none of|two different"):
        Spec(**wrong)


@pytest.mark.parametrize("keep", [0.0, 0.1, None])
def test_a_caption_says_nothing_that_is_not_in_its_drawing_and_always_make_up_and_style(keep):
    named = []
    for number, spec in enumerate(SPECS):
        text = captions.caption(spec, np.random.default_rng(number), keep=keep)
        wanted = wanted_attributes(text, captions.VOCABULARY)
        assert {a: getattr(spec, a) for a in wanted} == wanted, text
        assert {"subject", "age", "make_up", "style"} <= wanted.keys(), text
        named.append(len(wanted))
    assert min(named) == 4
    assert keep is not None or max(named) == len(VALUES)  # long captions name all


@pytest.mark.parametrize("clauses", [5, len(VALUES)])
def test_full_caption_names_what_it_says_it_names(clauses):
    for number, spec in enumerate(SPECS[:50]):
        text, named = captions.full_caption(spec, np.random.default_rng(number), clauses)
        wanted = wanted_attributes(text, captions.VOCABULARY)
        assert wanted == {attribute: getattr(spec, attribute) for attribute in wanted}, text
        assert wanted.keys() == {*named, "make_up", "style"}
        assert len(wanted) == len(VALUES) or clauses == 5


def test_tokenizer_is_clips_and_knows_every_word_of_the_vocabulary(tmp_path):
    made = captions.make_tokenizer(tmp_path)
    words = {w for a in captions.VOCABULARY.values() for ps in a["values"].values() for p in ps
             for w in p.replace("-", " ").split() if w.isalpha()}  # fmt: skip
    shipped = CLIPTokenizer.from_pretrained(MODELS_FOLDER / "tiny-portraits/tokenizer")
    for tokenizer in (made, shipped):
        assert {word for word in words if len(tokenizer(word).input_ids) > 3} == set()
        assert tokenizer.model_max_length == 77
        text = "portrait photo of a old Warrior Chief"
        ids = tokenizer(text).input_ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text.lower()


def test_the_judges_vocabulary_is_the_captions():
    text = (MODELS_FOLDER / "tiny-judge/vocabulary.json").read_text(encoding="utf-8")
    assert json.loads(text) == captions.VOCABULARY | captions.DIRECTION


def test_a_profile_alone_has_a_direction_to_read():
    mirrored = [number % 2 == 1 for number in range(len(SPECS))]
    targets = judge.targets(SPECS, mirrored, "direction")
    for spec, flip, target in zip(SPECS, mirrored, targets, strict=True):
        turned = {"left": "right", "right": "left"}[spec.direction]
        shown = turned if flip else spec.direction
        assert target == (judge.READ["direction"].index(shown) if spec.view == "side" else -100)
    assert {-100, 0, 1} == set(targets)
