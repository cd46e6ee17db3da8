"""Generating from settings: the image of a plain call, steps, stops, and notices."""

import copy
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from diffusers import DDIMScheduler, LatentConsistencyModelPipeline, StableDiffusionImg2ImgPipeline
from PIL import Image

from helpers import get_inputs, image_distance, use_scheduler
from labs.images import Settings
from labs.images import generate as module
from labs.images.describe import describe_settings, to_code
from labs.images.generate import Stopped, default_size, generate, notices, to_rgb


def settings_of(prompt="a knight", **changes):
    return Settings(prompt, **{"num_inference_steps": 3, "seed": 5, **changes})


@pytest.mark.parametrize("scheduler", ["PNDMScheduler", "HeunDiscreteScheduler"])
def test_the_image_is_that_of_a_plain_call_and_the_pipeline_stays_as_it_is(pipeline, scheduler):
    before, config = pipeline.scheduler, dict(pipeline.config)
    (image,) = generate(pipeline, [settings_of(scheduler=scheduler)])
    assert pipeline.scheduler is before
    assert dict(pipeline.config) == config
    use_scheduler(pipeline, scheduler)
    inputs = get_inputs(prompt="a knight", num_inference_steps=3, seeds=[5])
    assert image.tobytes() == pipeline(**inputs).images[0].tobytes()


def test_a_side_given_alone_gets_the_models_default_beside_it(pipeline):
    assert generate(pipeline, [settings_of(width=64)])[0].size == (64, 128)


def test_what_is_transparent_becomes_white_and_more_than_8_bits_are_refused():
    assert to_rgb(Image.new("LA", (2, 1))).getcolors() == [(2, (255, 255, 255))]
    with pytest.raises(ValueError, match="more than 8 bits a channel"):
        to_rgb(Image.new("I;16", (2, 1)))


def test_two_threads_generate_with_one_pipeline_and_do_not_disturb_each_other(pipeline):
    several = [settings_of(num_inference_steps=6), settings_of(scheduler="DDIMScheduler")]

    def pixels(settings):
        return generate(pipeline, [settings])[0].tobytes()

    alone = [pixels(settings) for settings in several]
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(pixels, several)) == alone


def test_a_pipeline_that_starts_from_an_image_is_refused(pipeline):
    other = StableDiffusionImg2ImgPipeline(**pipeline.components, requires_safety_checker=False)
    with pytest.raises(ValueError, match="StableDiffusionImg2ImgPipeline starts from an image"):
        generate(other, [settings_of()])


def test_deepcache_on_the_pipeline_is_refused(pipeline):
    deepcache = pytest.importorskip("DeepCache")
    helper = deepcache.DeepCacheSDHelper(pipe=pipeline)
    helper.set_params(cache_interval=3)
    helper.enable()
    try:
        with pytest.raises(ValueError, match="DeepCache is enabled .*: call helper.disable"):
            generate(pipeline, [settings_of()])
    finally:
        helper.disable()


def test_it_is_stopped_at_the_end_of_the_step(pipeline):
    settings = settings_of(num_inference_steps=50, scheduler="DDIMScheduler")
    with pytest.raises(Stopped, match="after step 3 of 50"):
        generate(pipeline, [settings], lambda step, *_: step < 3)


@pytest.mark.parametrize(
    ("scheduler", "taken"), [("DDIMScheduler", 5), ("HeunDiscreteScheduler", 9)]
)
def test_each_step_is_counted_and_the_last_prediction_is_the_image(pipeline, scheduler, taken):
    seen, predicted = [], []

    def on_step(step, steps, predict):
        seen.append((step, steps))
        predicted.append(predict())
        return True

    settings = settings_of(scheduler=scheduler, num_inference_steps=5)
    (image,) = generate(pipeline, [settings], on_step)
    assert seen == [(step, taken) for step in range(1, taken + 1)]
    decoded = pipeline.vae.decode(predicted[-1] / pipeline.vae.config.scaling_factor).sample
    last = pipeline.image_processor.postprocess(decoded.detach())[0]
    assert image_distance(last, image) < 3
    assert torch.stack(predicted).isfinite().all()
    other = DDIMScheduler(prediction_type="sample")  # its networks predict no noise
    assert module._prediction(other, *torch.zeros(3, 1))() is None


def test_a_pipeline_without_tokenizer_or_scale_has_no_notices_and_no_size():
    kandinsky = SimpleNamespace(unet=SimpleNamespace(config=SimpleNamespace(sample_size=64)))
    assert default_size(kandinsky) is None
    assert module._notice_text("a knight", kandinsky) == ""


def test_words_left_out_or_unknown_are_named_beside_their_prompt(pipeline):
    negative = "a Knight, dressed in BLUE -- 50mm, café_bicycle 騎士"
    settings = settings_of("old " * 75 + "warrior chief", negative_prompt=negative)
    found = notices(pipeline, settings)
    assert found["prompt"] == "Too long, so this is not read: warrior chief."
    said = "Not in the vocabulary, so read in pieces: café, bicycle, 騎士."
    assert found["negative_prompt"] == said


def test_a_word_of_several_vectors_is_read_whole_in_lowercase_only(pipeline):
    taught = copy.copy(pipeline)
    for name in ("tokenizer", "text_encoder"):
        setattr(taught, name, copy.deepcopy(getattr(pipeline, name)))
    for word in ("<mine>", "<Mask>"):
        taught.load_textual_inversion({word: torch.ones(5, 128)}, token=word)
    assert notices(taught, settings_of("a <mine> knight")) == {}
    for word, written in (("<mine>", "<MINE>"), ("<Mask>", "<Mask>")):
        said = notices(taught, settings_of(f"a {written} knight"))["prompt"]
        assert f"Only one vector of {word} is read: load it as {word.lower()}, and" in said


def test_a_negative_prompt_without_effect(pipeline):
    settings = settings_of(negative_prompt="red", guidance_scale=1.0)
    assert "only with guidance above 1" in notices(pipeline, settings)["guidance_scale"]
    lcm = copy.copy(pipeline)
    lcm.__class__ = LatentConsistencyModelPipeline
    said = "LatentConsistencyModelPipeline ignores the negative prompt."
    assert notices(lcm, settings_of(negative_prompt="red"))["negative_prompt"] == said
    assert "negative_prompt=" not in to_code(describe_settings(lcm, "a knight", "red"), lcm)
