"""Inputs: seeds that mean an image, batches, and prompts that are too long."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from helpers import get_inputs, load_pipeline, make_generators, truncated_words


@pytest.mark.parametrize(
    "seeds", [7, np.int64(7), [7], (7,), range(7, 8), iter([7]), np.array([7])]
)
def test_seeds_may_be_a_number_or_any_series(seeds):
    assert [generator.initial_seed() for generator in make_generators(seeds)] == [7]


@pytest.mark.parametrize("seed", [1.5, "1", None, -1, 2**64])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(ValueError, match=r"from 0 to 2\*\*64 - 1, not "):
        make_generators([0, seed])


def test_a_batch_has_seeds_from_zero_or_those_given():
    for seeds, expected in ((None, [0, 1, 2]), ([9, 9, 4], [9, 9, 4])):
        inputs = get_inputs(3, "a knight", num_inference_steps=5, seeds=seeds)
        assert inputs["prompt"] == ["a knight"] * 3
        assert [generator.initial_seed() for generator in inputs["generator"]] == expected
        assert inputs["num_inference_steps"] == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "whole numbers from 1 on, not 0"),
        ({"batch_size": "2"}, "whole numbers from 1 on, not '2'"),
        ({"num_inference_steps": 4.5}, "whole numbers from 1 on, not 4.5"),
        ({"batch_size": 3, "prompt": ("a", "b")}, "2 prompts do not fit 3 images"),
        ({"batch_size": 2, "prompt": ["a", None]}, "A prompt must be text, not None"),
        ({"batch_size": 2, "seeds": [1]}, "1 seeds do not fit a batch of 2"),
    ],
)
def test_inputs_that_generate_nothing_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        get_inputs(**arguments)


@pytest.mark.parametrize(
    ("prompt", "cut"),
    [
        ("", ""),
        ("old " * 75, ""),
        ("old " * 75 + "Warrior  chief", "Warrior chief"),
        ("old " * 75 + ", Smiling", ", Smiling"),
        ("old " * 74 + "chief, smiling", "chief, smiling"),  # the comma falls off, so chief, does
        ("old\n" * 76, "old"),
        ("old" + ",old" * 80, "old" + ",old" * 80),  # one word, cut within
    ],
)
def test_the_words_beyond_77_tokens_are_named(pipeline, prompt, cut):
    assert truncated_words(prompt, pipeline) == cut


def test_what_is_cut_is_what_the_pipeline_does_not_read(pipeline):
    prompt = "old " * 70 + "warrior chief, tribal panther make up, side profile, serious eyes"
    cut = truncated_words(prompt, pipeline)
    other = prompt.removesuffix(cut) + "smiling " * len(cut.split())
    assert cut and other != prompt
    a, b = (pipeline.encode_prompt(text, "cpu", 1, False)[0] for text in (prompt, other))
    assert torch.equal(a, b)


def test_what_a_second_encoder_reads_is_not_called_cut(pipeline):
    longer = copy.copy(pipeline.tokenizer)
    longer.model_max_length = 80
    both = SimpleNamespace(tokenizer=pipeline.tokenizer, tokenizer_2=longer)
    assert truncated_words("old " * 78 + "warrior chief", both) == "warrior chief"


def test_a_word_of_textual_inversion_counts_with_all_its_vectors():
    own = load_pipeline("tiny-portraits", device="cpu")
    own.load_textual_inversion({"<mine>": torch.zeros(5, 128)}, token="<mine>")
    assert truncated_words("old " * 70 + "<mine>", own) == ""
    assert truncated_words("old " * 71 + "<mine> chief", own) == "<mine> chief"
