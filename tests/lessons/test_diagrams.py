"""What the diagrams and tables of the lessons say."""

import json

from helpers import MODELS_FOLDER
from helpers.lessons.diagrams import attention_sizes, pipeline_diagram
from helpers.lessons.vocabulary import vocabulary_table


def test_the_diagram_has_a_loop_and_the_shapes_of_the_pipeline(pipeline):
    (axes,) = pipeline_diagram(pipeline, num_inference_steps=20).axes
    texts = [text.get_text() for text in axes.texts]
    for text in ("U-Net", "scheduler", "x 20", "12 x 16 x 16", "3 x 128 x 128", "77 ids"):
        assert text in texts


def test_attention_scores_are_counted_per_level():
    config = {
        "sample_size": 64,
        "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    }
    sizes = attention_sizes(config)
    assert list(sizes.index) == ["64 x 64", "32 x 32"]
    assert sizes.loc["64 x 64"].tolist() == [4096, 4096**2, 4096 * 77]


def test_the_table_of_words_names_every_value_once():
    text = (MODELS_FOLDER / "tiny-judge/vocabulary.json").read_text(encoding="utf-8")
    vocabulary = json.loads(text)
    rows = vocabulary_table(vocabulary).splitlines()[2:]
    assert len(rows) == len(vocabulary)
    for row, entry in zip(rows, vocabulary.values(), strict=True):
        for value, phrases in entry["values"].items():
            assert phrases[0] in row or value in row
        assert entry.get("default", "chance decides") in row
