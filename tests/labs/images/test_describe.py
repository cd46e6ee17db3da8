"""What settings record of a pipeline, what keeps it from making an image again, and its code."""

import copy
import re
import warnings

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPAGPipeline

from helpers import MODELS_FOLDER, load_pipeline
from helpers import use_scheduler as use
from helpers.loading import compatible_schedulers
from labs.images import Settings, SettingsError
from labs.images.describe import describe_settings, differences, to_code
from labs.images.generate import generate

PROMPT = 'portrait of a "knight"\\, dressed in blue'
LORA = str(MODELS_FOLDER / "tiny-portraits-lcm")


def settings_for(pipeline, prompt=PROMPT, **changes):
    return describe_settings(pipeline, prompt, **{"num_inference_steps": 3, "seed": 5, **changes})


# Which model


def at(pipeline, place):
    """The pipeline, as if it had been loaded from there."""
    moved = copy.copy(pipeline)
    moved.register_to_config(_name_or_path=str(place))
    return moved


@pytest.mark.parametrize(
    ("place", "model"),
    [
        ("models--me--mine/snapshots/0123abc", ("me/mine", "0123abc")),
        ("AI-ModelScope--x/snapshots/master", ("master", None)),
        ("trained/snapshots/step_1000", ("step_1000", None)),
        (".my model", ("_my_model-[0-9a-f]{8}", None)),
    ],
)
def test_a_folder_is_named_without_its_path_and_one_of_the_hub_with_its_commit(
    pipeline, tmp_path, place, model
):
    (tmp_path / place).mkdir(parents=True)
    settings = settings_for(at(pipeline, tmp_path / place))
    assert re.fullmatch(model[0], settings.model)
    assert settings.revision == model[1]


def test_folders_whose_names_have_no_ascii_letters_are_told_apart(pipeline, tmp_path):
    models = set()
    for name in ("騎士", "女王", "__"):
        (tmp_path / name).mkdir()
        models.add(settings_for(at(pipeline, tmp_path / name)).model)
    assert len(models) == 3


def test_a_pipeline_that_was_not_loaded_has_no_code_and_can_be_described(pipeline):
    made = copy.copy(pipeline)
    made.register_to_config(_name_or_path=None)
    settings = settings_for(made)
    assert settings.model == "StableDiffusionPipeline"
    assert to_code(settings, made).startswith("# The pipeline was not loaded from a folder")


def test_settings_lead_back_to_random_weights(tiny_shape):
    generated = load_pipeline(tiny_shape, device="cpu", dtype="float32")
    settings = settings_for(generated)
    again = load_pipeline(settings.model, device="cpu", dtype=settings.dtype)
    assert differences(settings, again) == ""
    assert "load_pipeline('tiny-shape', device='cpu', dtype='float32')" in to_code(
        settings, generated
    )


# What a PNG records of the weights


def test_lora_weights_are_recorded_with_their_strength(pipeline):
    styled = load_pipeline("tiny-portraits", device="cpu")
    with warnings.catch_warnings(action="ignore"):  # PEFT warns of two adapters
        for name in ("style", "other"):
            styled.load_lora_weights(LORA, adapter_name=name)
    described = []
    for name, strength in (("other", 1.0), ("style", 0.3), ("style", 1.0)):
        styled.set_adapters(name, strength)
        described.append(settings_for(styled))
        assert described[-1].loras == {name: strength} and described[-1].unrecorded == ""
        assert "It was made with LoRA weights" in differences(described[-1], pipeline)
    _, weak, full = described
    assert weak.weights != full.weights
    assert "LoRA weights (style at strength 0.3), and" in differences(weak, styled)
    assert differences(full, styled) == ""
    assert "# Load LoRA weights (style at strength 1) here" in to_code(full, styled)
    styled.disable_lora()
    assert settings_for(styled) == settings_for(pipeline)


def test_another_class_of_pipeline_is_told_apart(pipeline):
    pag = StableDiffusionPAGPipeline(**pipeline.components, requires_safety_checker=False)
    pag.register_to_config(_name_or_path=pipeline.name_or_path)
    said = "made by a StableDiffusionPAGPipeline, and this is a StableDiffusionPipeline"
    assert said in differences(settings_for(pag), pipeline)


def test_a_compiled_unet_has_the_same_settings(pipeline, monkeypatch):
    settings = settings_for(pipeline)
    monkeypatch.setattr(pipeline, "unet", torch.compile(pipeline.unet, backend="eager"))
    assert settings_for(pipeline) == settings


def write_to_a_weight(pipeline):
    with torch.no_grad():
        pipeline.unet.conv_in.weight.mul_(1.1)


def merge_lora(pipeline):
    pipeline.load_lora_weights(LORA, adapter_name="style")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()


def replace_vae(pipeline):
    pipeline.vae = AutoencoderKL.from_pretrained(MODELS_FOLDER / "tiny-portraits-vae-ft")


def enable_freeu(pipeline):
    pipeline.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)


def change_scheduler(pipeline):
    use(pipeline, "DPMSolverMultistepScheduler", use_karras_sigmas=True)


def add_hook(pipeline):
    pipeline.unet.mid_block.register_forward_hook(lambda *_: None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (write_to_a_weight, "changed weights of the unet"),
        (merge_lora, "changed weights of the unet"),
        (replace_vae, "another vae"),
        (enable_freeu, "FreeU"),
        (change_scheduler, "a changed scheduler (use_karras_sigmas=True)"),
        (add_hook, "a hook on the unet"),
    ],
)
def test_a_change_that_no_setting_records_is_said(pipeline, change, said):
    changed = load_pipeline("tiny-portraits", device="cpu")
    change(changed)
    settings = settings_for(changed)
    assert said in settings.unrecorded
    assert f"It was made with {settings.unrecorded}, which" in differences(settings, pipeline)
    assert f"# This code lacks {settings.unrecorded}, which" in to_code(settings, changed)
    without = settings_for(pipeline, scheduler=settings.scheduler)
    assert "It was made without" in differences(without, changed)


def test_what_changes_no_image_is_not_said(pipeline):
    seen = []

    def on_step(step, steps, predict):  # while the UNet's inputs and outputs are recorded
        seen.append(settings_for(pipeline).unrecorded)
        return True

    generate(pipeline, [settings_for(pipeline)], on_step)
    use(pipeline, "DPMSolverMultistepScheduler")
    use(pipeline, "EulerDiscreteScheduler")
    assert {*seen, settings_for(pipeline).unrecorded} == {""}


# Differences and code


def test_settings_of_this_pipeline_do_not_differ(pipeline):
    for scheduler in compatible_schedulers(pipeline):
        assert differences(settings_for(pipeline, scheduler=scheduler), pipeline) == ""
    what_the_page_in_web_writes = Settings(PROMPT, scheduler="DDIMScheduler")
    assert differences(what_the_page_in_web_writes, pipeline) == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "me/mine"}, "made with 'me/mine', not 'tiny-portraits': if you trust"),
        ({"revision": "0123abc"}, "made with another commit of 'tiny-portraits': 0123abc"),
        ({"weights": "0" * 12}, "made with other weights of this model"),
        ({"dtype": "bfloat16"}, "made in bfloat16, this pipeline runs in float32: load it with"),
        ({"unrecorded": "x" * 90}, "made with x+, which the file does not hold"),
    ],
)
def test_what_keeps_the_image_from_being_made_again_is_said(pipeline, changes, message):
    assert re.search(message, differences(settings_for(pipeline).replace(**changes), pipeline))


def test_a_scheduler_that_does_not_fit_is_refused(pipeline):
    with pytest.raises(SettingsError, match="'EDMEulerScheduler' does not fit this") as caught:
        differences(Settings("a knight", scheduler="EDMEulerScheduler"), pipeline)
    assert caught.value.setting == "scheduler"


@pytest.mark.parametrize(
    "changes",
    [
        {"scheduler": "DPMSolverMultistepScheduler", "negative_prompt": "it's 'red'\n"},
        {"prompt": '"""); raise SystemExit("', "seed": 2**64 - 1, "width": 192, "height": 64},
    ],
)
def test_the_code_makes_the_same_image(pipeline, changes):
    settings = settings_for(pipeline, **changes)
    namespace = {}
    exec(to_code(settings, pipeline), namespace)
    assert namespace["image"].tobytes() == generate(pipeline, [settings])[0].tobytes()


def test_the_code_names_an_embedded_model_from_where_it_runs(pipeline, tmp_path, monkeypatch):
    for folder in (MODELS_FOLDER.parent / "notebooks", tmp_path):
        monkeypatch.chdir(folder)
        code = to_code(settings_for(pipeline), pipeline)
        source = code.split("from_pretrained(\n    '")[1].split("'")[0]
        assert (folder / source / "model_index.json").is_file()
    assert "\\" not in source


def test_the_code_names_a_model_of_the_hub_with_its_commit(pipeline, tmp_path):
    place = tmp_path / "models--me--mine" / "snapshots" / "0123abc"
    place.mkdir(parents=True)
    cached = at(pipeline, place)
    assert "'me/mine',\n    revision='0123abc',\n" in to_code(settings_for(cached), cached)
