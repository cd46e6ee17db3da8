"""Drawing from settings: the very picture, its code, its preview, stops, and what is said of it."""

import copy
import re
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from PIL import Image

from helpers import (
    MODELS_FOLDER,
    cut_words,
    get_inputs,
    image_distance,
    load_pipeline,
    unknown_words,
    use_vae,
)
from helpers import use_scheduler as use
from helpers.models import identify
from labs.fast import use_few_steps
from labs.images import Settings
from labs.images.describing import (
    describe_settings,
    differences,
    fitting_schedulers,
    notices,
    to_code,
)
from labs.images.drawing import Stopped, draw, fit_preview, preview

PROMPT = 'portrait of a "knight"\\, dressed in blue'


def go_on(*_):
    return True


def settings_for(pipeline, prompt=PROMPT, **changes):
    return describe_settings(pipeline, prompt, **{"num_inference_steps": 3, "seed": 5, **changes})


# The picture


@pytest.mark.parametrize(
    "scheduler", [None, "DPMSolverMultistepScheduler", "HeunDiscreteScheduler"]
)
def test_it_draws_what_the_pipeline_draws_to_the_bit(pipeline, scheduler):
    drawn = draw(pipeline, settings_for(pipeline, scheduler=scheduler), go_on)
    if scheduler:
        use(pipeline, scheduler)
    inputs = get_inputs(prompt=PROMPT, num_inference_steps=3, seeds=[5])
    assert drawn.tobytes() == pipeline(**inputs).images[0].tobytes()


def test_the_pipeline_stays_as_it_is(pipeline):
    scheduler, config = pipeline.scheduler, dict(pipeline.config)
    draw(pipeline, settings_for(pipeline, scheduler="DDIMScheduler"), go_on)
    assert pipeline.scheduler is scheduler
    assert dict(pipeline.config) == config
    assert not pipeline.unet._forward_hooks


def test_two_threads_draw_with_one_pipeline_and_do_not_disturb_each_other(pipeline):
    all_settings = [
        settings_for(pipeline, num_inference_steps=steps, scheduler=name)
        for steps, name in ((6, "PNDMScheduler"), (9, "DDIMScheduler"))
    ]
    alone = [draw(pipeline, settings, go_on).tobytes() for settings in all_settings]
    together = {}

    def work(number):
        together[number] = draw(pipeline, all_settings[number], go_on).tobytes()

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[0], together[1]] == alone


# Steps


@pytest.mark.parametrize(
    ("scheduler", "asked", "taken"),
    [("DDIMScheduler", 4, 4), ("PNDMScheduler", 4, 5), ("HeunDiscreteScheduler", 4, 7)],
)
def test_each_step_is_counted(pipeline, scheduler, asked, taken):
    seen = []
    settings = settings_for(pipeline, num_inference_steps=asked, scheduler=scheduler)
    draw(pipeline, settings, lambda step, steps, _: seen.append((step, steps)) is None)
    assert seen == [(step, taken) for step in range(1, taken + 1)]


def test_a_stop_is_obeyed_at_the_end_of_the_step(pipeline):
    seen = []

    def on_step(step, steps, _):
        seen.append(step)
        return step < 2

    with pytest.raises(Stopped, match="after step 2 of 50"):
        settings = settings_for(pipeline, num_inference_steps=50, scheduler="DDIMScheduler")
        draw(pipeline, settings, on_step)
    assert seen == [1, 2]
    assert not pipeline.unet._forward_hooks


# The preview


def smooth_picture():
    """Colours that change slowly, which no fit has seen."""
    corners = np.random.default_rng(7).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(corners).resize((128, 128), Image.Resampling.BILINEAR)


def test_the_preview_is_near_the_picture(pipeline):
    picture = smooth_picture()
    pixels = pipeline.image_processor.preprocess(picture)
    with torch.no_grad():
        latents = pipeline.vae.encode(pixels).latent_dist.mode()
    latents = latents * pipeline.vae.config.scaling_factor
    small = preview(latents, fit_preview(pipeline.vae))
    assert small.size == (16, 16)
    assert image_distance(small, picture.resize((16, 16), Image.Resampling.BOX)) < 12


def test_the_fit_is_the_same_each_time_but_for_rounding_and_leaves_the_global_random_numbers_alone(
    pipeline,
):
    state = torch.random.get_rng_state()
    first, second = fit_preview(pipeline.vae), fit_preview(pipeline.vae)
    assert torch.allclose(first, second, atol=1e-4)
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_vae_in_float16_is_fitted_too_and_stays_in_float16(pipeline):
    vae = torch.nn.Module.to(copy.deepcopy(pipeline.vae), torch.float16)
    assert torch.allclose(fit_preview(vae), fit_preview(pipeline.vae), atol=0.02)
    assert vae.dtype == torch.float16


@pytest.mark.parametrize(
    "scheduler", ["DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"]
)
def test_what_is_foreseen_at_the_last_step_is_the_picture(pipeline, scheduler):
    foreseen = []

    def on_step(step, steps, foresee):
        foreseen.append(foresee())
        return True

    settings = settings_for(pipeline, scheduler=scheduler, num_inference_steps=20)
    drawn = draw(pipeline, settings, on_step)
    decoded = pipeline.vae.decode(foreseen[-1] / pipeline.vae.config.scaling_factor).sample
    last = pipeline.image_processor.postprocess(decoded.detach())[0]
    assert image_distance(last, drawn) < 3
    assert torch.stack(foreseen).isfinite().all()


def test_what_another_thread_draws_is_not_foreseen(pipeline):
    sizes = []

    def on_step(step, steps, foresee):
        other = threading.Thread(
            target=pipeline,
            args=("a queen",),
            kwargs={"height": 64, "width": 64, "num_inference_steps": 1},
        )
        other.start()
        other.join()
        sizes.append(foresee().shape[-1])
        return True

    draw(pipeline, settings_for(pipeline), on_step)
    assert set(sizes) == {16}


# Code


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scheduler": "DPMSolverMultistepScheduler", "negative_prompt": "it's 'red'\n"},
        {"prompt": '"""); raise SystemExit("', "guidance_scale": 1.0, "seed": 2**64 - 1},
    ],
)
def test_the_code_shown_makes_the_very_picture(pipeline, changes):
    settings = settings_for(pipeline, **changes)
    namespace = {}
    exec(to_code(settings, pipeline), namespace)
    assert namespace["image"].tobytes() == draw(pipeline, settings, go_on).tobytes()


def test_the_code_sets_what_the_scheduler_was_set_to(pipeline):
    use(pipeline, "DPMSolverMultistepScheduler", use_karras_sigmas=True)
    settings = settings_for(pipeline)
    code = to_code(settings, pipeline)
    assert "from_config(pipeline.scheduler.config, use_karras_sigmas=True)" in code
    namespace = {}
    exec(code, namespace)
    assert namespace["image"].tobytes() == draw(pipeline, settings, go_on).tobytes()


def test_the_code_names_an_embedded_model_from_where_it_runs(pipeline, tmp_path, monkeypatch):
    for folder in (MODELS_FOLDER.parent / "notebooks", tmp_path):
        monkeypatch.chdir(folder)
        code = to_code(settings_for(pipeline), pipeline)
        source = code.split("from_pretrained(\n    '")[1].split("'")[0]
        assert (folder / source / "model_index.json").is_file()
    assert "\\" not in source


def from_the_hub(pipeline, tmp_path):
    """The pipeline, as if it had been loaded from the Hub's cache."""
    own = copy.copy(pipeline)
    folder = tmp_path / "models--me--mine" / "snapshots" / "0123abc"
    folder.parent.mkdir(parents=True)
    folder.symlink_to(pipeline.name_or_path)
    own.register_to_config(_name_or_path=str(folder))
    return own


def test_a_model_of_the_hub_is_named_with_its_commit(pipeline, tmp_path):
    own = from_the_hub(pipeline, tmp_path)
    settings = settings_for(own)
    assert (settings.model, settings.revision) == ("me/mine", "0123abc")
    assert "'me/mine', dtype=torch.float32, use_safetensors=True, revision='0123abc'" in to_code(
        settings, own
    )


def test_a_folder_is_named_without_its_path(pipeline, tmp_path):
    own = copy.copy(pipeline)
    folder = tmp_path / ".my model"
    folder.symlink_to(pipeline.name_or_path)
    own.register_to_config(_name_or_path=str(folder))
    assert identify(own) == ("tiny-portraits", None)  # it is that folder
    (tmp_path / ".another model").mkdir()
    own.register_to_config(_name_or_path=str(tmp_path / ".another model"))
    assert re.fullmatch("_another_model-[0-9a-f]{8}", settings_for(own).model)


def test_folders_whose_names_have_no_ascii_letters_are_told_apart(pipeline, tmp_path):
    own, found = copy.copy(pipeline), set()
    for name in ("騎士", "女王", "__"):
        (tmp_path / name).mkdir()
        own.register_to_config(_name_or_path=str(tmp_path / name))
        found.add(settings_for(own).model)
    assert len(found) == 3


def test_a_pipeline_that_was_not_loaded_has_no_code_and_can_be_described(pipeline):
    own = copy.copy(pipeline)
    own.register_to_config(_name_or_path=None)
    settings = settings_for(own)
    assert settings.model == "StableDiffusionPipeline"
    assert to_code(settings, own).startswith("# The pipeline was not loaded from anywhere")


def test_settings_lead_back_to_random_weights(tiny_shape):
    drawn = load_pipeline(tiny_shape, device="cpu", dtype="float32")
    settings = settings_for(drawn)
    again = load_pipeline(settings.model, device="cpu", dtype=settings.dtype)
    assert differences(settings, again) == ""
    assert to_code(settings, drawn) == (
        "# Random weights: helpers.load_pipeline('tiny-shape', device='cpu', dtype='float32') "
        "draws them.\n"
    )


# Differences


def test_settings_of_this_pipeline_do_not_differ(pipeline):
    for scheduler in fitting_schedulers(pipeline):
        assert differences(settings_for(pipeline, scheduler=scheduler), pipeline) == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "me/mine"}, "made with 'me/mine', not 'tiny-portraits': if you trust"),
        ({"revision": "0123abc"}, "made with another commit of 'tiny-portraits': 0123abc"),
        ({"weights": "0" * 12}, "made with other weights of this model"),
        ({"weights": "0" * 12, "changes": ["vae: b"]}, r"changes to the model \(vae: b\), and"),
        ({"scheduler_config": {"beta_start": 0.1}}, r"set otherwise \(beta_start: 0.1\)"),
        ({"scheduler_config": {"x" * 200: 0}}, r"set otherwise \(x+ \.\.\.\)"),
        ({"dtype": "bfloat16"}, "made in bfloat16, this pipeline draws in float32: load it with"),
        ({"versions": {"torch": "1.0"}}, "made with torch: 1.0: the picture may differ a little"),
    ],
)
def test_what_keeps_the_picture_from_being_made_again_is_said(pipeline, changes, message):
    found = differences(replace(settings_for(pipeline), **changes), pipeline)
    assert re.search(message, found)
    assert len(found) < 300


def test_a_scheduler_that_does_not_fit_is_refused(pipeline):
    with pytest.raises(ValueError, match="'FlowMatchScheduler' is not a scheduler that fits"):
        differences(Settings("a knight", scheduler="FlowMatchScheduler"), pipeline)


# Notices


def test_nothing_is_said_of_settings_that_are_fine(pipeline):
    prompt = "portrait photo of a old warrior chief, tribal panther make up, 50mm"
    settings = settings_for(
        pipeline, prompt, num_inference_steps=20, scheduler="DPMSolverMultistepScheduler"
    )
    assert notices(pipeline, settings) == {}


def test_words_cut_or_unknown_are_named_beside_their_prompt(pipeline):
    prompt = "old " * 75 + "warrior chief"
    found = notices(pipeline, settings_for(pipeline, prompt, negative_prompt="Bicycle, bicycle"))
    assert cut_words(prompt, pipeline) == "warrior chief"
    assert found["prompt"] == "Too long: cut at 77 tokens, so not read: warrior chief."
    assert "read in pieces: Bicycle, bicycle." in found["negative_prompt"]


@pytest.mark.parametrize(
    ("prompt", "unknown"),
    [
        ("a Knight, dressed in BLUE -- 50mm (old:1.3)", []),
        ("a café_bicycle", ["café", "bicycle"]),
        ("騎士 knight", ["騎士"]),
        ("", []),
    ],
)
def test_words_that_the_tokenizer_lacks(pipeline, prompt, unknown):
    assert unknown_words(prompt, pipeline) == unknown


def test_a_negative_prompt_that_is_not_read(pipeline):
    settings = settings_for(pipeline, negative_prompt="red", guidance_scale=1.0)
    assert "the negative prompt is not read" in notices(pipeline, settings)["guidance_scale"]


def test_more_steps_than_the_model_knows_levels_of_noise(pipeline):
    asked = settings_for(pipeline, scheduler="PNDMScheduler", num_inference_steps=1000)
    said = "The model knows 1000 levels of noise, too few for 1000 steps: take fewer."
    assert notices(pipeline, asked) == {"scheduler": said}
    assert notices(pipeline, replace(asked, num_inference_steps=999)) == {}


def test_the_schedulers_offered_take_the_models_betas(pipeline):
    names = fitting_schedulers(pipeline)
    assert {"PNDMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler"} <= set(names)
    assert "EDMEulerScheduler" not in names  # it takes no betas


# A pipeline that was changed


def make_again(pipeline, own):
    """What the code shown draws, and what the changed pipeline drew."""
    settings = settings_for(own, num_inference_steps=3, width=192, height=64)
    image, namespace = draw(own, settings, go_on), {}
    code = to_code(settings, own)
    exec(code, namespace)
    return image, namespace["image"], settings, code


@pytest.mark.parametrize(
    ("model", "change"),
    [
        # The other model comes with this autoencoder.
        ("tiny-portraits-early", lambda pipeline: use_vae(pipeline, "tiny-portraits-vae-ft")),
        ("tiny-portraits", lambda pipeline: use_few_steps(pipeline, "tiny-portraits-lcm")),
    ],
    ids=["autoencoder", "few steps"],
)
def test_the_code_makes_a_named_change_again(model, change, monkeypatch):
    plain, own = load_pipeline(model, device="cpu"), change(load_pipeline(model, device="cpu"))
    drawn, again, settings, code = make_again(plain, own)
    assert drawn.size == (192, 64)
    assert image_distance(drawn, again) == 0
    assert "no code knows" not in code
    assert "It was made with changes to the model" in differences(settings, plain)
    assert differences(settings, own) == ""


def write_to_a_weight(pipeline):
    with torch.no_grad():
        pipeline.unet.conv_in.weight.mul_(1.1)


@pytest.mark.parametrize(
    ("change", "said", "missing"),
    [
        (
            lambda pipeline: pipeline.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4),
            "no code knows: unet: FreeU.",
            "made with changes to the model (unet: FreeU), and here are these: none",
        ),
        (write_to_a_weight, "no code knows: its weights.", "made with other weights of this model"),
    ],
    ids=["FreeU", "weights"],
)
def test_a_change_that_code_cannot_make_is_said(pipeline, change, said, missing):
    own = load_pipeline("tiny-portraits", device="cpu")
    change(own)
    settings = settings_for(own)
    assert said in to_code(settings, own)
    assert missing in differences(settings, pipeline)


def test_a_pipeline_that_heeds_no_callback_is_watched_and_stopped(pipeline):
    class Deaf(type(pipeline)):
        def __call__(self, *args, callback_on_step_end=None, **options):
            return super().__call__(*args, **options)

    own = copy.copy(pipeline)
    own.__class__ = Deaf
    steps = []
    with pytest.raises(Stopped, match="after step 3 of 6"):
        draw(
            own,
            settings_for(own, num_inference_steps=5),
            lambda step, of, foresee: steps.append(foresee()) or step < 3,
        )
    assert len(steps) == 3 and steps[0].shape == (1, 12, 16, 16)


def test_a_tiny_autoencoder_has_a_preview():
    vae = AutoencoderTiny(
        latent_channels=12, encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4
    )
    assert fit_preview(vae).shape == (13, 3)
