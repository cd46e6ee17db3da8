"""Inputs: seeds that mean an image, batches, and prompts that are too long."""

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


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "1", None])
def test_what_is_no_seed_is_refused_in_a_sentence(seed):
    with pytest.raises(ValueError, match=r"is not a seed: use a whole number from 0 to 2\*\*64"):
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
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
        ({"batch_size": 2.0}, "batch_size must be .* not 2.0"),
        ({"batch_size": "2"}, "batch_size must be .* not '2'"),
        ({"num_inference_steps": 0}, "num_inference_steps must be .* not 0"),
        ({"prompt": [7]}, "7 is not a prompt: give text for each image"),
        ({"prompt": [float("nan")]}, "nan is not a prompt"),
        ({"batch_size": 3, "prompt": ("a", "b")}, "2 prompts do not fit a batch of 3: give one"),
        ({"batch_size": 2, "seeds": [1]}, "1 seeds do not fit a batch of 2"),
        ({"seeds": []}, "no seed: give one for each image"),
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
    kept = prompt.removesuffix(cut)
    assert cut and kept != prompt

    def embedding(text):
        tokens = pipeline.tokenizer(
            text, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        )
        return pipeline.text_encoder(tokens.input_ids).last_hidden_state

    assert torch.equal(embedding(prompt), embedding(kept + "smiling " * len(cut.split())))


class T5Tokenizer:
    """Reads each letter as a token, as many as it is given room for."""

    model_max_length = 512
    num_special_tokens_to_add = staticmethod(lambda: 1)

    def __call__(self, text, add_special_tokens=True):
        return SimpleNamespace(input_ids=list(text))


def test_what_a_second_encoder_reads_is_not_called_cut(pipeline):
    def draw(prompt, max_sequence_length=256):
        """Stands for a pipeline with two encoders."""

    both = SimpleNamespace(tokenizer=pipeline.tokenizer, tokenizer_2=T5Tokenizer(), __call__=draw)
    prompt = "old " * 82 + "warrior chief"
    assert truncated_words(prompt, pipeline).endswith("old old warrior chief")
    assert truncated_words(prompt, both) == "chief"  # 253 letters and the end are read


def test_a_word_of_textual_inversion_counts_with_all_its_vectors():
    own = load_pipeline("tiny-portraits", device="cpu")
    own.load_textual_inversion({"<mine>": torch.zeros(5, 128)}, token="<mine>")
    assert truncated_words("old " * 70 + "<mine>", own) == ""
    assert truncated_words("old " * 71 + "<mine> chief", own) == "<mine> chief"
