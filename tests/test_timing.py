"""Timing: what is timed, what is computed from it, and how it is shown. Never how long it took."""

import dataclasses
from functools import partial
from importlib import metadata
from itertools import accumulate
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from helpers import Measurement, compare, get_inputs, image_grid, measure, timing
from helpers.lessons.plots import describe, plot_comparison

SLOW = Measurement("50 steps", [1], 2.0, 0.1, num_inference_steps=50, device="a CPU")
BATCH = Measurement("20 steps, 4 at once", [1, 2, 3, 4], 2.0, 0.2, peak_memory=3 * 10**9)


@pytest.fixture
def clock(monkeypatch):
    """Make the runs last as long as the test says."""

    def set_runs(*seconds):
        ticks = iter(accumulate(value for run in seconds for value in (0.0, run)))
        monkeypatch.setattr(timing.time, "perf_counter", lambda: next(ticks))

    return set_runs


def test_the_median_and_the_spread_leave_the_warm_up_out(clock):
    clock(100, 90, 3, 1, 2)
    measurement = measure(lambda: None, warmup=2, repeats=3)
    assert (measurement.seconds, measurement.spread) == (2, 2)


def test_the_call_is_made_as_often_as_asked(clock):
    calls = []
    measure(lambda: calls.append(1), warmup=0, repeats=1)
    assert len(calls) == 1
    measure(lambda: calls.append(1))
    assert len(calls) == 1 + 4


def test_where_nobody_compares_seconds_a_call_is_made_once(monkeypatch):
    monkeypatch.setenv("TUTORIAL_ONCE", "1")
    calls = []
    measurement = measure(lambda: calls.append(1), beside=lambda: calls.append(2), repeats=5)
    assert calls == [1, 2] and len(measurement.ratios) == 1


def test_two_calls_take_turns_and_their_ratio_is_the_median_of_the_turns(clock):
    clock(100, 100, 1, 2, 1, 6, 10, 40)
    calls = []
    measurement = measure(lambda: calls.append("this"), beside=lambda: calls.append("other"))
    assert calls == ["this", "other"] * 4
    assert (measurement.seconds, measurement.times_faster) == (1, 4)
    assert "4.00 times as fast as the one beside" in str(measurement)


def test_the_ratio_of_two_calls_is_of_their_images(clock):
    clock(2, 1)
    turns = {"warmup": 0, "repeats": 1}
    assert measure(lambda: [0] * 8, beside=lambda: [0] * 2, **turns).times_faster == 2


def test_without_another_call_there_is_no_ratio():
    assert measure(lambda: None).times_faster is None


@pytest.mark.parametrize("arguments", [{"repeats": 0}, {"warmup": -1}])
def test_no_run_to_time(arguments):
    with pytest.raises(ValueError, match="Timing needs repeats"):
        measure(lambda: None, **arguments)


def test_an_error_of_the_call_comes_through():
    with pytest.raises(ZeroDivisionError):
        measure(lambda: 1 / 0)


@pytest.mark.parametrize(
    ("result", "count"),
    [
        (SimpleNamespace(images=["a", "b"]), 2),
        (SimpleNamespace(images=torch.zeros(3, 8, 8)), 3),
        (["a", "b", "c", "d"], 4),
        (Image.new("RGB", (8, 8)), 1),
        (None, 1),
        ("text", 1),
    ],
)
def test_the_number_of_images_is_read_from_the_result(clock, result, count):
    clock(1, 8, 8, 8)
    measurement = measure(lambda: result, num_inference_steps=20)
    assert len(measurement.images) == count
    assert measurement.seconds_per_image == 8 / count
    assert measurement.steps_per_second == 2.5


def test_the_images_are_those_of_the_first_run():
    runs = iter(range(4))
    assert measure(lambda: [next(runs)]).images == [0]


def test_steps_per_second_only_if_the_steps_are_told():
    assert measure(lambda: None).steps_per_second is None


def test_a_pipeline_is_measured_and_its_images_laid_out(pipeline):
    inputs = {"batch_size": 2, "num_inference_steps": 2}
    measurement = measure(lambda: pipeline(**get_inputs(**inputs)), warmup=0, repeats=1)
    assert measurement.seconds > 0
    assert image_grid(measurement.images).size == (512, 256)
    again = pipeline(**get_inputs(**inputs)).images
    assert [a.tobytes() for a in again] == [b.tobytes() for b in measurement.images]


def test_device_and_versions_are_recorded(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    measurement = measure(lambda: None)
    assert f"CPU, {torch.get_num_threads()} threads" in measurement.device
    assert measurement.peak_memory is None
    assert measurement.versions["torch"] == metadata.version("torch")
    assert {"torch", "diffusers", "transformers"} == set(measurement.versions)


def fake_cuda(monkeypatch, events, peak, gpu=0):
    """Two GPUs, of which a call takes memory of one."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda: events.append("wait"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: events.append("reset"))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 1000)
    monkeypatch.setattr(
        torch.cuda, "max_memory_allocated", lambda one: peak if one == gpu else 1000
    )
    monkeypatch.setattr(
        torch.cuda, "get_device_name", lambda one: ("Tesla T4", "A100")[one.index or 0]
    )


@pytest.mark.parametrize(("gpu", "name"), [(0, "Tesla T4"), (1, "A100")])
def test_the_gpu_that_was_used_is_named(monkeypatch, gpu, name):
    fake_cuda(monkeypatch, [], peak=5000, gpu=gpu)
    measurement = measure(lambda: None)
    assert (measurement.device, measurement.peak_memory) == (name, 5000)


def test_a_gpu_is_waited_for_before_each_reading_of_the_clock(monkeypatch):
    events = []
    fake_cuda(monkeypatch, events, peak=5000)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: events.append("clock") or 0)
    measurement = measure(lambda: events.append("call"), warmup=0, repeats=2)
    assert events == ["reset"] * 2 + ["wait", "clock", "call", "wait", "clock"] * 2
    assert (measurement.device, measurement.peak_memory) == ("Tesla T4", 5000)


def test_a_call_that_leaves_the_gpu_alone_ran_on_the_cpu(monkeypatch):
    fake_cuda(monkeypatch, [], peak=1000)
    measurement = measure(lambda: None)
    assert "CPU" in measurement.device
    assert measurement.peak_memory is None


def test_two_calls_have_no_peak_of_their_own(monkeypatch):
    fake_cuda(monkeypatch, [], peak=5000)
    measurement = measure(lambda: None, beside=lambda: None)
    assert (measurement.device, measurement.peak_memory) == ("Tesla T4", None)


def test_rubbish_of_earlier_cells_is_collected_before_the_peak_is_reset(monkeypatch):
    events = []
    fake_cuda(monkeypatch, events, peak=5000)
    monkeypatch.setattr(timing.gc, "collect", lambda: events.append("collect"))
    measure(lambda: None, warmup=0, repeats=1)
    assert events[:2] == ["collect", "reset"]


class Draws:
    """What draws on a device, as a pipeline says it."""

    def __init__(self, device):
        self._execution_device = torch.device(device)

    def __call__(self):
        return []


@pytest.mark.parametrize("make", [lambda p: p, lambda p: lambda: p(), lambda p: partial(p)])
@pytest.mark.parametrize(("device", "named"), [("mps", "GPU (MPS)"), ("cpu", "(CPU, ")])
def test_the_device_is_that_of_the_pipeline_in_the_call(make, device, named):
    assert named in measure(make(Draws(device)), warmup=0, repeats=1).device


@pytest.mark.parametrize(("value", "shown"), [("true", False), ("", True)])
def test_a_bar_in_a_notebook_and_none_in_ci(monkeypatch, capsys, value, shown):
    monkeypatch.setenv("CI", value)
    measure(lambda: None, label="a long work")
    assert ("a long work" in capsys.readouterr().err) is shown


def test_a_measurement_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SLOW.seconds = 1.0


def test_a_measurement_reads_as_a_line():
    line = "50 steps: 2.000 s an image (runs differ by 0.100 s), 25.0 steps/s, on a CPU"
    assert str(SLOW) == line
    for part in ("0.500 s an image", "4 images at once", "3.00 GB"):
        assert part in str(BATCH)


def test_a_measurement_shows_as_html_and_a_label_cannot_break_it():
    shown = Measurement("<b>50</b>: steps", [], 2.0, 0.1)._repr_html_()
    assert "&lt;b&gt;50&lt;/b&gt;: steps" in shown
    assert "2.000 s an image" in shown
    assert "<b>" not in shown
    assert "Measured" in Measurement("", [], 2.0, 0.1)._repr_html_()


def test_compare_sets_ratios_against_the_first():
    table = compare([SLOW, BATCH])
    assert list(table.index) == [SLOW.label, BATCH.label]
    assert list(table["seconds per image"]) == [2.0, 0.5]
    assert list(table["times faster"]) == [1.0, 4.0]
    assert list(table["images"]) == [1, 4]
    assert table["peak memory (GB)"][BATCH.label] == 3.0


def test_a_ratio_measured_turn_by_turn_comes_before_that_of_two_medians():
    beside = dataclasses.replace(BATCH, ratios=(4.0, 5.0, 6.0))
    assert list(compare([SLOW, beside])["times faster"]) == [1.0, 5.0]
    assert "(5.0 times as fast)" in describe([SLOW, beside])


@pytest.mark.parametrize(
    ("ratios", "faster", "said"),
    [
        ((1.1, 1.2, 1.3), True, "1.20 times as fast as the one beside (turns from 1.10 to 1.30)"),
        ((0.5, 0.6, 0.7), False, "0.60 times as fast as the one beside (turns from 0.50 to 0.70)"),
        (
            (0.9, 1.2, 1.3),
            None,
            "as fast as the one beside, which is no difference seen (turns from",
        ),
        ((), None, "4 images at once"),
    ],
)
def test_turns_that_disagree_decide_nothing(ratios, faster, said):
    beside = dataclasses.replace(BATCH, ratios=ratios)
    assert beside.is_faster is faster
    assert said in str(beside)


def test_compare_leaves_out_what_nobody_measured():
    assert "peak memory (GB)" not in compare([SLOW])


def test_the_bars_are_the_seconds_with_labels_and_units():
    axes = plot_comparison([SLOW, BATCH], title="The road").axes[0]
    assert [bar.get_width() for bar in axes.patches] == [2.0, 0.5]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [SLOW.label, BATCH.label]
    assert [text.get_text() for text in axes.texts] == ["2.000 s", "0.500 s"]
    assert axes.get_xlabel() == "seconds per image"
    assert axes.get_title() == "The road"
    assert axes.yaxis_inverted()  # the first at the top


def test_the_alt_text_says_every_bar():
    words = describe([SLOW, BATCH])
    assert words.startswith("Bar chart")
    for part in ("50 steps 2.000", "20 steps, 4 at once 0.500", "4.0 times as fast"):
        assert part in words


@pytest.mark.parametrize("function", [compare, plot_comparison, describe])
def test_nothing_to_compare(function):
    with pytest.raises(ValueError, match="nothing to compare: give at least one Measurement"):
        function([])
