"""Settings inside a PNG: there and back, read by others, and files that are broken or hostile."""

import io
import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from labs.images import Settings, SettingsError, read_settings, save_image
from labs.images.settings import CHUNK

FULL = Settings(
    prompt='café, "quoted"\nin two lines',
    negative_prompt="smiling",
    seed=2**64 - 1,
    num_inference_steps=25,
    guidance_scale=7.5,
    scheduler="DPMSolverMultistepScheduler",
    model="stable-diffusion-v1-5/stable-diffusion-v1-5",
    revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
    pipeline="StableDiffusionPipeline",
    dtype="bfloat16",
    height=64,
    width=64,
    weights="0123456789ab",
    loras={"style": 0.8},
)


def image():
    return Image.linear_gradient("L").resize((64, 64)).convert("RGB")


def png_with(chunks):
    """A PNG that holds these texts."""
    info = PngImagePlugin.PngInfo()
    for key, text in chunks.items():
        info.add_text(key, text)
    file = io.BytesIO()
    image().save(file, format="PNG", pnginfo=info)
    return file


def changed(**changes):
    return json.dumps({**FULL.model_dump(), **changes})


@pytest.mark.parametrize(
    "settings",
    [
        FULL,
        Settings("\0 ]]"),
        *(Settings(prompt, prompt) for prompt in ("", "\U0001f409" * 10_000, '"\\\n' * 3_333)),
    ],
    ids=range(5),
)
def test_settings_come_back_as_they_were_and_pixels_are_left_alone(settings, tmp_path):
    path = tmp_path / "knight.png"
    save_image(image(), path, settings)
    for png in (path, str(path), io.BytesIO(path.read_bytes())):
        assert read_settings(png) == settings.replace(height=64, width=64)
    assert Image.open(path).tobytes() == image().tobytes()


def test_a_name_that_is_not_a_pngs_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"are kept in PNG files: call it knight\.png"):
        save_image(image(), tmp_path / "knight.jpg", FULL)
    assert not list(tmp_path.iterdir())


def test_the_settings_lie_in_two_text_chunks_one_of_them_for_other_programs():
    save_image(image().resize((192, 64)), png := io.BytesIO(), FULL)
    text = Image.open(png).text
    assert json.loads(text.pop(CHUNK)) == FULL.model_dump()
    assert text == {
        "parameters": f"{FULL.prompt} <lora:style:0.8>\nNegative prompt: smiling\n"
        f"Steps: 25, Sampler: DPM++ 2M, CFG scale: 7.5, Seed: {2**64 - 1}, Size: 192x64, "
        f"Model: {FULL.model}"
    }


def test_a_png_without_our_settings_is_named_without_its_folder(tmp_path):
    (tmp_path / "plain.png").write_bytes(png_with({"parameters": "a knight"}).getvalue())
    with pytest.raises(ValueError, match=r"^plain\.png holds no settings: only images saved by"):
        read_settings(tmp_path / "plain.png")


def test_a_png_cut_short_anywhere_gives_a_sentence_or_the_settings(tmp_path):
    save_image(image(), file := io.BytesIO(), FULL)
    for length in range(0, len(file.getvalue()), 7):
        try:
            assert read_settings(io.BytesIO(file.getvalue()[:length])) == FULL
        except ValueError as error:
            assert str(error).startswith(("This file", "The settings in This file"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 50_000, "cannot be used"),
        ('{"seed": ' + "9" * 9_000 + "}", "cannot be used"),
        ("{}", "they name no prompt"),
        (json.dumps("x" * 600_000), "they have 600,002 characters, more than 500,000"),
        (changed(prompt="half a character: \ud800"), "prompt should be text"),
        (changed(prompt="x" * 10_001), "prompt should be text of at most 10,000"),
        (changed(seed=2**64), "seed should be a whole number from 0 to"),
        (changed(guidance_scale=float("nan")), "guidance_scale should be a number from 0 to 100"),
        (changed(scheduler="os.system"), "scheduler should be the name of a scheduler's class"),
        (changed(model="../../etc"), "model should be a name .* never a path"),
        (changed(loras={"style": "strong"}), "loras should be a number for each name"),
    ],
    ids=range(11),
)
def test_broken_or_hostile_settings_give_one_sentence(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_settings(png_with({CHUNK: text}))
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_a_setting_that_is_not_ours_is_left_unread():
    assert read_settings(png_with({CHUNK: changed(__class__="os", run="rm -rf /")})) == FULL


def test_a_setting_that_is_wrong_or_unknown_is_named_by_the_error():
    assert FULL.replace(seed=np.uint64(2**64 - 1)).seed == 2**64 - 1  # not by way of a float
    for changes, setting in (
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"stepps": 1}, "stepps"),
    ):
        with pytest.raises(SettingsError) as caught:
            FULL.replace(**changes)
        assert caught.value.setting == setting


# What the page in web/ writes
PAGE = {"prompt": "a knight", "negative_prompt": "", "seed": 7, "num_inference_steps": 12}
PAGE |= {"guidance_scale": 7, "scheduler": "DDIMScheduler", "model": "tiny-portraits"}
PAGE |= {"dtype": "float32", "height": 128, "width": 128}


def test_what_the_web_page_writes_is_read_before_and_behind_the_pixels():
    assert read_settings(png_with({CHUNK: json.dumps(PAGE)})) == Settings(**PAGE)
    png, chunk = png_with({}).getvalue(), b"tEXt" + f"{CHUNK}\0{json.dumps(PAGE)}".encode()
    length, checksum = len(chunk) - 4, zlib.crc32(chunk)
    late = png[:-12] + struct.pack(">I", length) + chunk + struct.pack(">I", checksum) + png[-12:]
    assert read_settings(io.BytesIO(late)) == Settings(**PAGE)


def test_a_full_disk_leaves_the_image_that_was_there(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    path = tmp_path / "knight.png"
    save_image(image(), path, FULL)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"knight\.png could not be written \(No space"):
        save_image(image(), path, Settings("a queen"))
    assert read_settings(path) == FULL
    assert [each.name for each in tmp_path.iterdir()] == ["knight.png"]
