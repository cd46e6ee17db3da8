"""The playground without a browser: its widgets, its thread, its files."""

import copy
import html
import io
import json
import re
import sys
import threading
from datetime import UTC, datetime
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec

import ipywidgets
import pytest
import torch
import traitlets
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
)
from PIL import Image

from helpers import MODELS_FOLDER, make_generators
from labs.images import save_image
from labs.images.describe import describe_settings
from labs.playground import playground
from labs.playground.chips import make_chips, put_phrase

PROMPT = "portrait of a knight"


@pytest.fixture
def play(pipeline):
    play = playground(pipeline)
    set_controls(play, prompt=PROMPT, num_inference_steps=3)
    yield play
    play.stop()
    play.wait()


def set_controls(play, **values):
    for name, value in values.items():
        play.controls[name].value = value


def generate(play, **values):
    set_controls(play, **values)
    play.generate()
    play.wait(60)
    assert play.buttons["stop"].disabled  # it has ended


def text_of(play, part):
    return html.unescape(re.sub("<[^>]*>", "", play.parts[part].value))


def test_it_begins_with_a_scheduler_for_few_steps_or_where_none_fits_with_the_own(pipeline):
    play = playground(pipeline)
    assert play.controls["scheduler"].value == "DPMSolverMultistepScheduler"
    assert not any(play.parts[name].value for name in play.controls)
    flow = copy.copy(pipeline)
    flow.scheduler = FlowMatchEulerDiscreteScheduler()
    assert playground(flow).controls["scheduler"].value == "FlowMatchEulerDiscreteScheduler"


@pytest.mark.parametrize("seed", ["", "-1", str(2**64), "9" * 30, "²"])
def test_a_seed_that_is_none_is_said_beside_it_and_not_generated(play, seed):
    set_controls(play, seed=seed)
    play.generate()
    for part in ("seed", "message"):
        assert "seed should be a whole number from 0 to 2**64 - 1" in text_of(play, part)
    assert not play.results
    set_controls(play, seed=f" {2**64 - 1} ")
    assert play.parts["seed"].value == ""


def test_an_image_is_what_the_pipeline_generates(play, pipeline):
    generate(play, seed="7", num_images=2, scheduler="PNDMScheduler")
    assert [result.settings.seed for result in play.results] == [7, 8]
    alone = pipeline(PROMPT, num_inference_steps=3, generator=make_generators(8)).images[0]
    assert play.results[1].image.tobytes() == alone.tobytes()
    assert text_of(play, "message") == "Done."


def test_the_seed_is_kept_or_new_each_time(play):
    generate(play)
    generate(play)
    generate(play, keep_seed=False)
    first, second, third = (result.settings.seed for result in play.results)
    assert first == second == 0 != third
    assert play.controls["seed"].value == str(third)


def fail_with(error):
    def fail(*_, **__):
        raise error

    return fail


def test_an_error_is_a_sentence(play, monkeypatch):
    error = RuntimeError("out of memory\nand much more")
    monkeypatch.setattr(play.pipeline.vae, "decode", fail_with(error))
    generate(play)
    assert text_of(play, "message") == "The image could not be generated: out of memory"


def test_a_black_image_is_explained(play, monkeypatch):
    black = (torch.full((1, 3, 128, 128), -1.0),)
    monkeypatch.setattr(play.pipeline.vae, "decode", lambda *_, **__: black)
    generate(play, num_images=2)
    assert "Images 1, 2 are black: either" in text_of(play, "message")


def test_a_preview_that_fails_does_not_stop_the_image(play, monkeypatch):
    monkeypatch.setattr(play.pipeline.vae, "encode", fail_with(ValueError("no preview")))
    generate(play)
    assert text_of(play, "message") == "Done." and play.results


def test_nine_seeds_are_generated_to_choose_from(play):
    set_controls(play, seed="7", num_inference_steps=1)
    play.buttons["nine_seeds"].click()
    play.wait(60)
    assert [result.settings.seed for result in play.results] == list(range(7, 16))


def test_an_image_starts_from_the_one_that_is_shown(play, pipeline):
    generate(play)
    play.buttons["start_here"].click()
    assert play.controls["strength"].value == 0.6
    generate(play, prompt="a queen", num_inference_steps=5)
    scheduler = DPMSolverMultistepScheduler.from_config(pipeline.scheduler.config)
    parts = pipeline.components | {"scheduler": scheduler}
    image_to_image = StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
    start, inputs = play.results[0].image, {"strength": 0.6, "num_inference_steps": 5}
    alone = image_to_image("a queen", start, generator=make_generators(0), **inputs).images[0]
    assert play.results[1].image.tobytes() == alone.tobytes()
    play.load(io.BytesIO(play.results[1].png))
    assert "StableDiffusionImg2ImgPipeline" in text_of(play, "message")
    assert play.controls["strength"].value == 1


def test_a_photo_can_be_started_from(play):
    upload(play, b"GIF89a")
    assert text_of(play, "message") == "This file is not a PNG image that can be read."
    assert not play.start
    set_controls(play, strength=0.5)
    assert "load one, or choose one that is shown" in text_of(play, "strength")
    photo, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.new("RGB", (32, 64), "teal").save(photo, "JPEG", exif=exif)
    upload(play, photo.getvalue())
    assert "it is the image to start from" in text_of(play, "message")
    assert play.start.size == (64, 32) and "<img" in play.parts["strength"].value
    progress = []
    play.parts["progress"].observe(lambda change: progress.append(change["new"]), "value")
    generate(play, scheduler="DDIMScheduler", num_inference_steps=6)
    assert play.results[0].image.size == (128, 128)
    assert "step 1 of 3" in progress[0]
    generate(play, strength=0.1)
    assert "A strength of 0.1 leaves no step of 6" in text_of(play, "message")


@pytest.mark.parametrize(
    ("prompt", "attribute", "value", "expected"),
    [
        ("portrait of a knight", "subject", "queen", "portrait of a queen"),
        ("portrait of a knight", "age", "old", "portrait of a old knight"),
        ("portrait of a old knight", "age", "oldest", "portrait of the oldest knight"),
        ("an ancient knight", "age", "young", "a young knight"),
        ("a knight, blue on red", "figure", "green", "a knight, green on red"),
        ("a knight,", "figure", "green", "a knight, dressed in green"),
        ("a knight", "mood", "smiling", "a knight, smiling"),
        ("portrait of a knight", "style", "oil", "oil painting of a knight"),
        ("50mm portrait photography", "style", "oil", "50mm portrait photography, oil painting"),
        ("a tribal panther make-up", "make_up", "none", "a no make up"),
        ("", "subject", "queen", "queen"),
    ],
)
def test_a_chip_replaces_another_value_or_puts_its_word_in(prompt, attribute, value, expected):
    path = MODELS_FOLDER / "tiny-judge/vocabulary.json"
    vocabulary = json.loads(path.read_text(encoding="utf-8"))
    assert put_phrase(prompt, attribute, value, vocabulary) == expected
    control = ipywidgets.Textarea(prompt)
    (box,) = make_chips(control, vocabulary).children
    row = box.children[list(vocabulary).index(attribute)]
    row.children[1 + list(vocabulary[attribute]["values"]).index(value)].click()
    assert control.value == expected


def test_only_the_last_of_several_generates_is_begun(play):
    reached = threading.Event()
    play.parts["progress"].observe(lambda _: reached.set(), "value")
    play.controls["num_inference_steps"].value = 200
    play.generate()
    assert reached.wait(60)
    for prompt in ("a queen", "a knight"):
        set_controls(play, prompt=prompt, num_inference_steps=2)
        play.generate()
    play.wait(60)
    assert [result.settings.prompt for result in play.results] == ["a knight"]
    assert text_of(play, "message") == "Done."


def test_what_is_shown_is_escaped_and_has_alt_text(play):
    generate(play, prompt="<img src=x onerror=alert(1)>", negative_prompt='"><script>')
    shown = "".join(part.value for part in play.parts.values())
    shown += "".join(thumbnail.children[0].value for thumbnail in play.strip.children)
    assert 'alt="Generated with seed 0 for the prompt: &lt;img src=x' in shown
    assert "<img src=x" not in shown
    assert "<script" not in shown


def upload(play, content):
    file = {"name": "a.png", "type": "image/png", "size": len(content)}
    file |= {"content": memoryview(content), "last_modified": datetime.now(UTC)}
    play.upload.value = (file,)
    play.wait(60)


class UploadOf7(ipywidgets.DOMWidget):
    """What a file upload is to Python in ipywidgets 7, which Colab has."""

    value = traitlets.Dict(read_only=True)
    accept, description = traitlets.Unicode(), traitlets.Unicode()


def test_an_image_uploaded_in_colab_is_generated_again_to_the_bit(play, pipeline, monkeypatch):
    generate(play, seed="7", scheduler="DDIMScheduler", negative_prompt="smiling", width=64)
    monkeypatch.setattr(ipywidgets, "FileUpload", UploadOf7)
    other = playground(pipeline)
    file = {"metadata": {"name": "a.png"}, "content": play.results[0].png}
    other.upload.set_trait("value", {"a.png": file})
    other.wait(60)
    assert other.results[0].png == play.results[0].png  # the pixels and the settings
    assert other.upload.value == {}


def test_an_image_of_another_model_is_not_generated_and_the_model_is_not_loaded(play, monkeypatch):
    for name in ("from_pretrained", "download"):
        refuse = fail_with(AssertionError("loaded"))
        monkeypatch.setattr(f"diffusers.DiffusionPipeline.{name}", refuse)
    settings = describe_settings(play.pipeline, "a queen").replace(model="evil/model")
    save_image(Image.new("RGB", (60, 60)), file := io.BytesIO(), settings)  # records no size
    play.controls["width"].value = 64
    upload(play, file.getvalue())
    assert play.controls["width"].value == 128
    assert "If you trust that model, load it with load_pipeline" in text_of(play, "message")
    assert play.controls["prompt"].value == "a queen"
    assert not play.results


@pytest.fixture
def on_colab(monkeypatch):
    colab = module_from_spec(ModuleSpec("google.colab", None))  # others look at its spec
    monkeypatch.setitem(sys.modules, "google.colab", colab)


def test_on_colab_generate_returns_when_all_is_shown(play, on_colab):
    messages, progress = [], []
    play.parts["message"].observe(lambda change: messages.append(change["new"]), "value")
    play.parts["progress"].observe(lambda change: progress.append(change["new"]), "value")
    play.generate()
    assert len(play.results) == 1
    assert "Stop and other cells wait" in messages[0] and ">Done.<" in messages[-1]
    assert "step 1 of 3" in progress[0] and progress[-1] == ""


def test_on_colab_an_interrupted_run_is_said_and_the_next_one_works(play, on_colab, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(play.pipeline.vae, "decode", fail_with(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            play.generate()
    assert text_of(play, "message").startswith("Interrupted: that image was not finished")
    generate(play)  # which the failed one does not keep from working
    assert len(play.results) == 1
