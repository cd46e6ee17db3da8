"""What settings record of a pipeline, what keeps it from making an image again, and its code."""

import copy
import ntpath
import os
import warnings

import pytest
import torch
from diffusers import AutoencoderKL

from helpers import MODELS_FOLDER, load_pipeline
from labs.images import Settings
from labs.images.describe import describe_settings, differences, to_code
from labs.images.generate import generate

PROMPT = 'portrait of a "knight"\\, dressed in blue'
LORA = str(MODELS_FOLDER / "tiny-portraits-lcm")


def settings_for(pipeline, prompt=PROMPT, **changes):
    return describe_settings(pipeline, prompt, **{"num_inference_steps": 3, "seed": 5, **changes})


def at(pipeline, place):
    """The pipeline, as if it had been loaded from there."""
    moved = copy.copy(pipeline)
    moved.register_to_config(_name_or_path=place and str(place))
    return moved


@pytest.mark.parametrize(
    ("place", "model"),
    [
        ("models--me--mine/snapshots/0123abc", ("me/mine", "0123abc")),
        ("AI-ModelScope--x/snapshots/master", ("master", None)),
        (".my 騎士", ("_my___", None)),
        (150 * "a", (100 * "a", None)),
    ],
)
def test_a_folder_is_named_without_its_path_and_one_of_the_hub_with_its_commit(
    pipeline, tmp_path, place, model
):
    (tmp_path / place).mkdir(parents=True)
    settings = settings_for(at(pipeline, tmp_path / place))
    assert (settings.model, settings.revision) == model


def test_a_pipeline_that_was_not_loaded_has_no_code_and_can_be_described(pipeline, tmp_path):
    assert settings_for(at(pipeline, tmp_path / "deleted")).model == "deleted"
    made = at(pipeline, None)
    settings = settings_for(made)
    assert settings.model == "StableDiffusionPipeline"
    assert to_code(settings, made).startswith("# The pipeline was not loaded from a folder")


def test_settings_lead_back_to_random_weights(tiny_shape):
    generated = load_pipeline(tiny_shape, device="cpu", dtype="float32")
    settings = settings_for(generated)
    again = load_pipeline(settings.model, device="cpu", dtype=settings.dtype)
    assert differences(settings, again) == ""
    code = to_code(settings, generated)
    assert "load_pipeline('tiny-shape', device='cpu', dtype='float32')" in code


def test_the_code_names_what_was_replaced_and_a_variant(pipeline, tmp_path):
    changed = copy.copy(pipeline)
    changed.vae = AutoencoderKL.from_pretrained(MODELS_FOLDER / "tiny-portraits-vae-ft")
    assert "# Replace vae here, as in that pipeline.\n" in to_code(settings_for(changed), changed)
    assert "# Replace" not in to_code(settings_for(pipeline), pipeline)
    pipeline.save_pretrained(tmp_path / "mine", variant="fp16")
    half = load_pipeline(tmp_path / "mine", device="cpu")
    assert "\n    variant='fp16',\n" in to_code(settings_for(half), half)


def test_lora_weights_are_recorded_with_their_strength(pipeline):
    styled = load_pipeline("tiny-portraits", device="cpu")
    with warnings.catch_warnings(action="ignore"):  # PEFT warns of two adapters
        for name in ("style", "other"):
            styled.load_lora_weights(LORA, adapter_name=name)
    described = []
    for name, strength in (("other", 1.0), ("style", 0.3), ("style", 1.0)):
        styled.set_adapters(name, strength)
        described.append(settings_for(styled))
        assert described[-1].loras == {name: strength}
        assert f"made with loras {{'{name}': {strength}}}, not {{}}" in differences(
            described[-1], pipeline
        )
    _, weak, full = described
    assert "made with loras {'style': 0.3}, not {'style': 1.0}" in differences(weak, styled)
    assert differences(full, styled) == ""
    assert "# Load LoRA weights here: {'style': 1.0}" in to_code(full, styled)
    styled.unet.conv_out.set_scale("style", 0.5)  # as one block may have
    assert "LoRA 'style' has several strengths" in differences(full, styled)
    styled.disable_lora()
    assert settings_for(styled) == settings_for(pipeline)


def test_a_compiled_unet_has_the_same_settings_and_image(pipeline, monkeypatch):
    settings = settings_for(pipeline)
    (image,) = generate(pipeline, [settings])
    monkeypatch.setattr(pipeline, "unet", torch.compile(pipeline.unet, backend="eager"))
    assert settings_for(pipeline) == settings
    with torch.compiler.set_stance("force_eager"):  # the wrapper matters, not what it compiles
        assert generate(pipeline, [settings])[0].tobytes() == image.tobytes()


def test_changed_weights_are_told_apart(pipeline):
    changed = load_pipeline("tiny-portraits", device="cpu")
    changed.load_lora_weights(LORA)
    changed.fuse_lora()
    changed.unload_lora_weights()
    assert "Load the weights that the image" in differences(settings_for(changed), pipeline)
    assert "Load the weights that the image" in differences(settings_for(pipeline), changed)


def test_settings_of_this_pipeline_do_not_differ(pipeline):
    assert differences(settings_for(pipeline, scheduler="DDIMScheduler"), pipeline) == ""
    what_the_page_in_web_writes = Settings(PROMPT, scheduler="DDIMScheduler")
    assert differences(what_the_page_in_web_writes, pipeline) == ""


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model", "me/you", "model 'me/you', not 'me/mine'. If you trust that model"),
        ("revision", "f00", "revision 'f00', not '0123abc'. Load that commit"),
        ("pipeline", "MyPipeline", "'MyPipeline', not 'StableDiffusionPipeline'. Build that kind"),
        ("dtype", "bfloat16", "dtype 'bfloat16', not 'float32'. Load the model with that"),
        ("scheduler", "EDMEulerScheduler", "'EDMEulerScheduler' is not a scheduler that fits"),
    ],
)
def test_what_keeps_the_image_from_being_made_again_is_said(
    pipeline, tmp_path, name, value, message
):
    place = tmp_path / "models--me--mine" / "snapshots" / "0123abc"
    place.mkdir(parents=True)
    cached = at(pipeline, place)
    settings = settings_for(cached)
    assert message in differences(settings.replace(**{name: value}), cached)
    assert "'me/mine',\n    revision='0123abc',\n" in to_code(settings, cached)


@pytest.mark.parametrize(
    "changes",
    [
        {"scheduler": "DPMSolverMultistepScheduler", "negative_prompt": "it's 'red'\n"},
        {"prompt": '"""); raise SystemExit("', "seed": 2**64 - 1, "width": 192, "height": 64},
    ],
)
def test_the_code_makes_the_same_image(pipeline, changes):
    settings = settings_for(pipeline, **changes)
    namespace, code = {}, to_code(settings, pipeline)
    assert ("negative_prompt=" in code) == ("negative_prompt" in changes)  # XL reads an empty one
    exec(code, namespace)
    assert namespace["image"].tobytes() == generate(pipeline, [settings])[0].tobytes()


def test_the_code_names_an_embedded_model_from_where_it_runs(pipeline, tmp_path, monkeypatch):
    for folder in (MODELS_FOLDER.parent / "notebooks", tmp_path):
        monkeypatch.chdir(folder)
        code = to_code(settings_for(pipeline), pipeline)
        source = code.split("from_pretrained(\n    '")[1].split("'")[0]
        assert (folder / source / "model_index.json").is_file()
    assert "\\" not in source
    monkeypatch.setattr(os.path, "relpath", lambda path: ntpath.relpath(f"D:{path}", "C:"))
    assert f"'{MODELS_FOLDER / 'tiny-portraits'}'" in to_code(settings_for(pipeline), pipeline)
