"""What the diagram of a pipeline says; the outputs of notebooks show the tables."""

from helpers.lessons.diagrams import pipeline_diagram


def test_the_diagram_has_a_loop_and_the_shapes_of_the_pipeline(pipeline):
    (axes,) = pipeline_diagram(pipeline, num_inference_steps=20).axes
    texts = [text.get_text() for text in axes.texts]
    for text in ("U-Net", "scheduler", "x 20", "12 x 16 x 16", "3 x 128 x 128", "77 ids"):
        assert text in texts
