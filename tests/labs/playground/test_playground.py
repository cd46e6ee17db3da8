"""The playground without a browser: its state, what is shown of it, its thread, files."""

import base64
import html
import io
import os
import random
import re
import subprocess
import sys
import threading
import time
from dataclasses import fields
from datetime import UTC, datetime
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

import ipywidgets
import pytest
import torch
import traitlets
from accelerate import cpu_offload
from endurance import endure
from jupyter_client.manager import start_new_kernel
from PIL import Image

import helpers
from helpers import load_pipeline
from labs.images import Settings, read_settings, save_image
from labs.images.describe import describe_settings
from labs.images.generate import generate
from labs.playground import player, playground
from labs.playground.player import Clock, Playground
from labs.playground.state import Result, State, choose, plan

PROMPT = "portrait of a knight"


@pytest.fixture
def play(pipeline):
    play = playground(pipeline)
    play.state.prompt, play.state.num_inference_steps = PROMPT, 3
    yield play
    play.stop()
    play.wait()


def draw(play, **changes):
    for name, value in changes.items():
        play._view.controls[name].value = value
    play.generate()
    play.wait(60)
    assert not play.state.running


def hold(play, step=2):
    """Start a long drawing, and return when it has taken some steps."""
    play._view.controls["num_inference_steps"].value = 200
    reached = threading.Event()
    report = play._report

    def watched(clock, number, stop, done, steps, foresee):
        if done >= step:
            reached.set()
        return report(clock, number, stop, done, steps, foresee)

    play._report = watched
    play.generate()
    assert reached.wait(60)
    del play._report


# The view follows from the state


def test_every_control_stands_for_a_part_of_the_state(play):
    names = [field.name for field in fields(State)]
    assert list(play._view.controls) == names[: names.index("results")]
    for name, control in play._view.controls.items():
        assert control.description
        assert type(control.value) is type(getattr(play.state, name))


def test_the_controls_begin_as_the_state_does(pipeline):
    play = playground(pipeline)
    for name, control in play._view.controls.items():
        assert control.value == getattr(play.state, name)


def test_what_a_control_says_is_what_the_state_says(play):
    play._view.controls["prompt"].value = "a queen"
    play._view.controls["num_images"].value = 3
    assert (play.state.prompt, play.state.num_images) == ("a queen", 3)


def test_what_is_typed_is_sent_whole_so_that_no_click_overtakes_it(play):
    typed = ("prompt", "negative_prompt", "seed", "num_inference_steps", "guidance_scale")
    controls = play._view.controls
    assert [name for name in typed if controls[name].continuous_update] == []


def test_numbers_beyond_their_range_are_brought_into_it(play):
    for name, value, limit in (
        ("num_inference_steps", 10**9, 1000),
        ("num_inference_steps", 0, 1),
        ("guidance_scale", -1.0, 0.0),
        ("num_images", 99, 16),
    ):
        play._view.controls[name].value = value
        assert getattr(play.state, name) == limit


def test_what_is_shown_is_escaped(play):
    draw(play, prompt="<img src=x onerror=alert(1)>", negative_prompt='"><script>')
    shown = "".join(part.value for part in play._view.parts.values())
    shown += "".join(thumbnail.children[0].value for thumbnail in play._view.strip.children)
    assert "&lt;img src=x" in shown
    assert "<img src=x" not in shown
    assert "<script" not in shown


def test_every_picture_has_a_text_for_who_cannot_see_it(play):
    draw(play)
    assert (
        f'alt="Drawn with seed 0 for the prompt: {PROMPT}."' in play._view.parts["pictures"].value
    )
    assert PROMPT in play._view.strip.children[0].children[1].tooltip


def test_a_notice_stands_beside_its_control_and_goes_with_its_cause(play):
    control, notice = play._view.controls["prompt"], play._view.parts["prompt"]
    control.value = "a bicycle"
    assert "bicycle" in notice.value
    assert notice.layout.display is None
    control.value = "a knight"
    assert (notice.value, notice.layout.display) == ("", "none")


def test_what_is_wrong_is_said_beside_the_control_that_says_it(play):
    play._view.controls["prompt"].value = "x" * 10_001
    assert "prompt should be text of at most 10,000" in play._view.parts["prompt"].value
    assert play._view.parts["seed"].value == ""


def test_it_begins_with_a_scheduler_that_needs_few_steps(pipeline):
    play = playground(pipeline)
    assert type(pipeline.scheduler).__name__ == "PNDMScheduler"
    assert play.state.scheduler == "DPMSolverMultistepScheduler"
    assert play.state.num_inference_steps == 20
    assert play.state.notices == {}


def test_it_begins_with_the_pipelines_own_scheduler_where_that_does_not_fit(pipeline, monkeypatch):
    monkeypatch.setattr(player, "fitting_schedulers", lambda _: ["PNDMScheduler"])
    play = playground(pipeline)
    assert play.state.scheduler == play._view.controls["scheduler"].value == "PNDMScheduler"


def test_it_says_what_it_is_where_it_cannot_run(play):
    assert repr(play) == "The playground: run this cell to use it."


# Drawing


def test_a_picture_is_what_the_pipeline_draws(play, pipeline):
    draw(play, seed="7", num_images=2, scheduler="PNDMScheduler")
    assert [result.settings.seed for result in play.results] == [7, 8]
    generator = helpers.make_generators(8)
    alone = pipeline(PROMPT, num_inference_steps=3, generator=generator).images[0]
    assert play.results[1].image.tobytes() == alone.tobytes()
    assert play.state.message == "Done."


def test_the_code_shown_makes_the_picture(play):
    draw(play, scheduler="HeunDiscreteScheduler", negative_prompt="smiling")
    shown = play._view.parts["code"].value
    code = html.unescape(re.search(r"<pre[^>]*>(.*)</pre>", shown, re.DOTALL)[1])
    namespace = {}
    exec(code, namespace)
    assert namespace["image"].tobytes() == play.results[0].image.tobytes()


def test_the_seed_is_kept_or_drawn_anew(play):
    draw(play)
    draw(play)
    draw(play, keep_seed=False)
    first, second, third = (result.settings.seed for result in play.results)
    assert first == second == 0
    assert third != 0
    assert play._view.controls["seed"].value == str(third)


@pytest.mark.parametrize("seed", ["", "x", "-1", "1.5", str(2**64), "9" * 30, "²"])
def test_what_is_no_seed_is_said_beside_it_and_not_drawn(play, seed):
    play._view.controls["seed"].value = seed
    assert "seed should be a whole number from 0 to 2**64 - 1" in play._view.parts["seed"].value
    play.generate()
    assert "seed should be a whole number" in play.state.message
    assert not play.state.running and not play.results


def test_seeds_may_be_as_large_as_they_get(play):
    draw(play, seed=f" {2**64 - 1} ")
    assert play.results[0].settings.seed == 2**64 - 1
    play._view.controls["num_images"].value = 2
    play.generate()
    assert "seed should be a whole number" in play.state.message


def test_an_error_while_drawing_is_a_sentence_and_the_next_drawing_works(play, monkeypatch):
    def fail(*_):
        raise RuntimeError("out of memory\nand much more")

    with monkeypatch.context() as patch:
        patch.setattr(player, "generate", fail)
        draw(play)
    assert play.state.message == (
        "It could not be drawn (out of memory): change a setting and try again."
    )
    draw(play)
    assert len(play.results) == 1


def test_a_black_picture_is_explained(play, monkeypatch):
    monkeypatch.setattr(player, "generate", lambda *_: [Image.new("RGB", (64, 64))])
    draw(play)
    assert "all black: either the model's safety checker" in play.state.message


# Stop, and Generate again


def test_stop_is_obeyed_within_one_step_and_keeps_nothing_unfinished(play):
    hold(play)
    steps = []
    report = play._report
    play._report = lambda *rest: steps.append(rest[3]) or report(*rest)
    play.stop()
    play.wait(60)
    assert len(steps) <= 1
    assert not play.results and not play.state.running
    assert re.match(r"Stopped after step \d+ of 200: that picture was not", play.state.message)
    assert play._view.buttons["stop"].disabled


def test_stop_keeps_the_pictures_that_were_finished(play):
    play._view.controls["num_images"].value = 16
    play.generate()
    while not play.results:
        time.sleep(0.01)
    play.stop()
    play.wait(60)
    assert 1 <= len(play.results) < 16


def test_a_second_generate_takes_the_place_of_the_first(play):
    hold(play)
    draw(play, prompt="a queen", num_inference_steps=2)
    assert [result.settings.prompt for result in play.results] == ["a queen"]
    assert play.state.message == "Done."


def test_waiting_again_after_an_interruption_still_waits(play, monkeypatch):
    def interrupted(timeout):
        raise KeyboardInterrupt  # as Jupyter's stop button does

    hold(play)
    with monkeypatch.context() as patch:
        patch.setattr(play._idle, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            play.wait(60)
    play.wait(0.01)
    assert play.state.running
    play.stop()
    play.wait(60)
    assert not play.state.running


def test_a_picture_that_is_loaded_comes_in_its_size(play, tmp_path):
    path = tmp_path / "wide.png"
    settings = describe_settings(play.pipeline, PROMPT, width=192, height=64, num_inference_steps=2)
    save_image(generate(play.pipeline, [settings])[0], path, settings)
    play.load(path)
    play.wait(60)
    assert play.results[-1].image.size == (192, 64)
    assert play.results[-1].image.tobytes() == Image.open(path).tobytes()


def test_an_offloaded_model_is_drawn_with_and_called_changed_by_nobody(pipeline):
    plain = playground(pipeline)
    own = load_pipeline("tiny-portraits", device="cpu")
    for name in ("text_encoder", "unet", "vae"):
        cpu_offload(getattr(own, name), execution_device=torch.device("cpu"))
    assert {one.device.type for one in own.unet.parameters()} == {"meta"}
    offloaded = playground(own)
    for play in (plain, offloaded):
        draw(play, num_inference_steps=2, prompt=PROMPT)
        assert play.state.message == "Done."
    ours, theirs = (play.results[0] for play in (offloaded, plain))
    assert ours.image.tobytes() == theirs.image.tobytes()
    assert "lacks" not in ours.code


def test_what_was_replaced_before_its_turn_is_not_begun(play, monkeypatch):
    begun = []
    real = player.generate

    def watched(pipeline, settings, on_step):
        begun.append(settings[0].prompt)
        return real(pipeline, settings, on_step)

    hold(play)
    monkeypatch.setattr(player, "generate", watched)
    with play._changing:  # the one that is drawn cannot say that it ended, so the others wait
        for prompt in ("a queen", "a king", "a knight"):
            play.state.prompt, play.state.num_inference_steps = prompt, 2
            play.generate()
    play.wait(60)
    assert begun == ["a knight"]


def test_many_generates_in_a_row_draw_the_last(play):
    for seed in range(20):
        play._view.controls["seed"].value = str(seed)
        play.generate()
    play.wait(60)
    assert play.results[-1].settings.seed == 19
    assert not play.state.running


def test_other_cells_run_and_draw_meanwhile(play, pipeline):
    alone = pipeline(PROMPT, num_inference_steps=3, generator=helpers.make_generators(1)).images[0]
    hold(play)
    meanwhile = pipeline(PROMPT, num_inference_steps=3, generator=helpers.make_generators(1))
    assert play.state.running
    assert meanwhile.images[0].tobytes() == alone.tobytes()


# Progress and preview


def test_progress_and_the_forming_picture_are_shown_and_can_be_switched_off(play):
    for show in (True, False):
        play._view.controls["show_forming"].value = show
        hold(play)
        for _ in range(500):
            if play.state.progress:
                break
            time.sleep(0.01)
        assert re.match(r"Picture 1 of 1, step \d+ of 200, about \d+ s left", play.state.progress)
        assert "<progress" in play._view.parts["progress"].value
        assert ("as it forms" in play._view.parts["pictures"].value) is show
        assert bool(play.state.forming) is show
        play.stop()
        play.wait(60)
        assert play._view.parts["progress"].value == ""


def test_the_first_step_shows_a_first_picture(play):
    shown = []
    report = play._report

    def watched(*rest):
        going_on = report(*rest)
        shown.append("as it forms" in play._view.parts["pictures"].value)
        return going_on

    play._report = watched
    draw(play)
    assert shown[0]


def test_showing_takes_no_more_than_its_share_of_the_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(player.time, "perf_counter", lambda: now[0])
    clock, shown = Clock(pictures=1), 0.0
    for _ in range(1000):
        now[0] += 0.02  # a step
        if clock.is_due():
            now[0] += 0.03  # to show it
            shown += 0.03
            clock.shown()
    assert 0.05 < shown / now[0] <= 0.1


def test_the_time_left_follows_from_the_share_done(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(player.time, "perf_counter", lambda: now[0])
    clock = Clock(pictures=2)
    now[0] = 3.0
    assert clock.seconds_left(0.25) == pytest.approx(9)


# The strip


def test_results_stay_and_a_click_shows_one(play):
    draw(play, num_images=3)
    thumbnails = play._view.strip.children
    assert [one.children[1].description for one in thumbnails] == [
        "seed 0",
        "seed 1",
        "shown: seed 2",
    ]
    thumbnails[0].children[1].click()
    assert play.state.shown == [0]
    assert "seed 0, 3 steps, guidance 7.5" in play._view.parts["pictures"].value
    assert thumbnails[0].children[1].description == "shown: seed 0"


def test_settings_are_brought_back_and_a_seed_alone(play):
    draw(play, seed="7", guidance_scale=3.0)
    for name, value in (("prompt", "a queen"), ("seed", "1"), ("guidance_scale", 9.0)):
        play._view.controls[name].value = value
    play._view.buttons["use_seed"].click()
    assert (play.state.seed, play.state.prompt) == ("7", "a queen")
    play._view.controls["seed"].value = "1"
    play._view.buttons["bring_back"].click()
    values = {name: control.value for name, control in play._view.controls.items()}
    assert (values["prompt"], values["seed"], values["guidance_scale"]) == (PROMPT, "7", 3.0)


def test_two_are_compared_side_by_side(play):
    draw(play, num_images=3)
    play._view.controls["comparing"].value = True
    play._choose(0)
    assert play.state.shown == [2, 0]
    assert play._view.parts["pictures"].value.count("<figure") == 2
    play._view.controls["comparing"].value = False
    assert play.state.shown == [0]


@pytest.mark.parametrize(
    ("shown", "comparing", "index", "after"),
    [([], False, 0, [0]), ([0], False, 1, [1]), ([0], True, 0, [0]), ([0], True, 1, [0, 1])]
    + [([0, 1], True, 2, [1, 2]), ([0, 1], True, 0, [1, 0]), ([], True, 3, [3])],
)
def test_which_results_are_shown(shown, comparing, index, after):
    state = State(shown=shown, comparing=comparing)
    choose(state, index)
    assert state.shown == after


def test_buttons_without_a_picture_are_off(play):
    off = {name: button.disabled for name, button in play._view.buttons.items()}
    assert off == {
        "generate": False,
        "stop": True,
        "new_seed": False,
        "bring_back": True,
        "use_seed": True,
    }


# Save and load


def test_a_saved_picture_is_made_again_to_the_bit(play, pipeline, tmp_path):
    draw(play, seed="7", scheduler="DDIMScheduler", negative_prompt="smiling")
    path = tmp_path / "knight.png"
    play.save(path)
    other = playground(pipeline)
    other.load(path)
    other.wait(60)
    assert other.results[0].image.tobytes() == play.results[0].image.tobytes()
    assert other.results[0].settings == play.results[0].settings == read_settings(path)
    assert other._view.controls["scheduler"].value == "DDIMScheduler"


def test_the_link_holds_the_png_with_its_settings(play):
    draw(play)
    link = re.search(r'download="seed-0.png" href="data:image/png;base64,([^"]*)"', shown(play))
    png = base64.b64decode(link[1])
    assert read_settings(io.BytesIO(png)) == play.results[0].settings


def shown(play):
    return play._view.parts["pictures"].value


def test_without_a_picture_there_is_nothing_to_save(play, tmp_path):
    with pytest.raises(ValueError, match="no picture to save yet"):
        play.save(tmp_path / "knight.png")


def upload(play, content):
    play._view.upload.value = (
        {
            "name": "file.png",
            "type": "image/png",
            "size": len(content),
            "content": memoryview(content),
            "last_modified": datetime.now(UTC),
        },
    )
    play.wait(60)


def test_an_uploaded_picture_is_made_again_and_the_upload_is_ready_for_the_next(play):
    draw(play)
    upload(play, play.results[0].png)
    assert play.results[1].png == play.results[0].png
    assert play._view.upload.value == ()


class UploadOf7(traitlets.HasTraits):
    """What a file upload is to Python in ipywidgets 7, which Colab keeps."""

    value = traitlets.Dict(read_only=True)


def test_a_picture_uploaded_in_colab_is_made_again(play, monkeypatch):
    draw(play)
    monkeypatch.setattr(play._view, "upload", UploadOf7())
    play._view.upload.observe(play._load_upload, "value")
    file = {"metadata": {"name": "file.png"}, "content": play.results[0].png}
    play._view.upload.set_trait("value", {"file.png": file})
    play.wait(60)
    assert play.results[1].png == play.results[0].png
    assert play._view.upload.value == {}


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_an_upload_that_is_no_png_gives_a_sentence(play, content):
    upload(play, content)
    assert play.state.message == "This file is not a PNG image that can be read."
    assert not play.results


def png_of(settings):
    file = io.BytesIO()
    save_image(Image.new("RGB", (64, 64)), file, settings)
    return file


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "evil/model"}, "if you trust that model, load it with load_pipeline"),
        ({"unrecorded": "FreeU"}, "It was made with FreeU, which the file does not hold"),
        ({"dtype": "bfloat16"}, "made in bfloat16"),
    ],
)
def test_what_a_file_names_is_not_loaded_without_ones_word(play, monkeypatch, changes, message):
    def refuse(*_, **__):
        raise AssertionError("loaded")

    monkeypatch.setattr("diffusers.DiffusionPipeline.from_pretrained", refuse)
    monkeypatch.setattr("diffusers.DiffusionPipeline.download", refuse)
    settings = plan(play.state, play.pipeline)[0]
    play.load(png_of(settings.replace(prompt="a queen", **changes)))
    play.wait(60)
    assert message in play.state.message
    assert play.state.prompt == "a queen"
    assert not play.results


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("OsSystem", "'OsSystem' does not fit this model"),
        ("EDMEulerScheduler", "'EDMEulerScheduler' does not fit this model"),
    ],
)
def test_a_file_with_a_scheduler_that_does_not_fit_changes_nothing(play, scheduler, message):
    before = play.state.prompt
    file = png_of(Settings("a queen", scheduler=scheduler))
    with pytest.raises(ValueError, match=message):
        play.load(file)
    upload(play, file.getvalue())
    assert message in play.state.message
    assert play.state.prompt == before


# Colab, where updates reach the page only while the kernel is busy


PLAY = """
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec

sys.modules["google.colab"] = module_from_spec(ModuleSpec("google.colab", None))
import helpers

pipeline = helpers.load_pipeline("tiny-portraits", device="cpu")
play = helpers.playground(pipeline)
play.state.num_inference_steps = 10
print(play._view.buttons["generate"].comm.comm_id)
"""


def ask(client, kind, content):
    """Send a message to a kernel, and return all that it publishes until it has answered."""
    request = client.session.msg(kind, content)
    client.shell_channel.send(request)
    published = []
    while True:
        message = client.get_iopub_msg(timeout=120)
        published.append(message)
        if (message["parent_header"].get("msg_id"), message["content"].get("execution_state")) == (
            request["header"]["msg_id"],
            "idle",
        ):
            return published


def run(client, code):
    answers = ask(client, "execute_request", {"code": code, "silent": False})
    assert not [one["content"] for one in answers if one["msg_type"] == "error"]
    return answers


def updates(messages):
    return [str(one["content"]["data"]) for one in messages if one["msg_type"] == "comm_msg"]


def test_on_colab_every_update_is_sent_while_the_kernel_is_busy(monkeypatch):
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(helpers.__file__).parents[1]))
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        answers = run(client, PLAY)
        (button,) = (one["content"]["text"] for one in answers if one["msg_type"] == "stream")
        click = {"method": "custom", "content": {"event": "click"}}
        busy = updates(ask(client, "comm_msg", {"comm_id": button.strip(), "data": click}))
        late = updates(run(client, "play.wait()"))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert any("Stop and everything else wait" in update for update in busy)
    assert any("step 1 of 10" in update for update in busy)
    assert any(">Done.<" in update for update in busy)
    assert late == []


def test_on_colab_an_interrupted_drawing_is_told_and_the_next_one_works(play, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    colab = module_from_spec(ModuleSpec("google.colab", None))
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    with monkeypatch.context() as patch:
        patch.setattr(player, "generate", interrupt)
        with pytest.raises(KeyboardInterrupt):
            play.generate()
    assert play.state.message.startswith("Interrupted: that picture was not finished")
    assert not play.state.running
    draw(play)
    assert len(play.results) == 1


# All of it


def test_random_settings_and_stops_leave_no_control_stuck_and_lose_no_result(play):
    endure(play, 10, random.Random(0))
    for result in play.results:
        assert read_settings(io.BytesIO(result.png)) == result.settings


def test_no_thread_is_left_behind(play):
    for _ in range(3):
        draw(play)
    assert not [thread for thread in threading.enumerate() if thread.name == "playground"]


def test_the_helpers_work_without_ipywidgets():
    code = (
        "import sys; sys.modules['ipywidgets'] = None; import helpers; "
        "helpers.read_settings; print(hasattr(helpers, 'nothing'))\n"
        "try: helpers.playground\nexcept ImportError: print('no ipywidgets')"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(helpers.__file__).parents[1])}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert run.stdout.split("\n")[:2] == ["False", "no ipywidgets"]


def test_a_result_is_a_picture_and_its_settings():
    result = Result(png_of(Settings("a knight")).getvalue(), Settings("a knight"))
    assert result.image.size == (64, 64)
    assert "png" not in repr(result)


def test_the_widget_is_what_one_call_returns(pipeline):
    assert type(playground(pipeline)) is Playground
    assert isinstance(playground(pipeline), ipywidgets.Widget)
