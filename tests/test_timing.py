"""Timing: what is timed, what is computed from it, and how it is shown. Never how long it took."""

import dataclasses
from itertools import accumulate
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import Measurement, cpu_threads, measure, timing

CPU = {"device": "cpu"}
SLOW = Measurement("50 steps", [1], 2.0, 0.1, num_inference_steps=50, device="a CPU")
BATCH = Measurement("20 steps, 4 at once", [1, 2, 3, 4], 2.0, 0.8)


@pytest.fixture
def clock(monkeypatch):
    """Let the calls take as long as the test says."""

    def set_runs(*seconds):
        ticks = iter(accumulate(value for run in seconds for value in (0.0, run)))
        monkeypatch.setattr(timing.time, "perf_counter", lambda: next(ticks))

    return set_runs


def test_the_median_and_the_spread_leave_the_warm_up_out(clock):
    clock(100, 90, 3, 1, 2)
    measurement = measure(lambda: None, warmup=2, repeats=3, **CPU)
    assert (measurement.seconds, measurement.spread) == (2, 2)


def test_a_call_takes_turns_with_two_runs_of_its_baseline(clock):
    # Each turn: the baseline, the call, the baseline. The first turn is the warm-up.
    clock(9, 9, 9, 4, 2, 4, 6, 2, 6, 8, 2, 2)
    calls = []
    baseline = ("50 steps", lambda: calls.append("baseline"))
    measurement = measure(lambda: calls.append("call"), baseline=baseline, **CPU)
    assert calls == ["baseline", "call", "baseline"] * 4
    assert measurement.speedups == pytest.approx((2, 3, 2))
    assert (measurement.seconds, measurement.speedup) == (2, pytest.approx(2))
    assert measurement.noise == pytest.approx(4)  # the last turn's 8 s and 2 s
    assert measurement.baseline == "50 steps"


def test_the_speedup_is_of_images(clock):
    clock(1, 2, 1)
    turns = {"warmup": 0, "repeats": 1, "baseline": ("two", lambda: [0] * 2)}
    assert measure(lambda: [0] * 8, **turns, **CPU).speedup == pytest.approx(2)


def test_no_run_to_time():
    with pytest.raises(ValueError, match="at least one repeat, not 0"):
        measure(lambda: None, repeats=0, **CPU)


@pytest.mark.parametrize(
    ("result", "count"),
    [
        (SimpleNamespace(images=["a", "b"]), 2),
        (SimpleNamespace(images=torch.zeros(3, 8, 8)), 3),
        (["a", "b", "c", "d"], 4),
        ((["a"], [False]), 1),  # return_dict=False
        (torch.zeros(4, 8, 8, 3), 4),
        (Image.new("RGB", (8, 8)), 1),
        (None, 1),
    ],
)
def test_the_number_of_images_is_read_from_the_result(clock, result, count):
    clock(1, 8, 8, 8)
    measurement = measure(lambda: result, num_inference_steps=20, **CPU)
    assert len(measurement.images) == count
    assert measurement.seconds_per_image == 8 / count
    assert measurement.steps_per_second == 2.5


@pytest.mark.parametrize(("threads", "said"), [(1, "1 thread)"), (2, "2 threads)")])
def test_the_device_is_recorded(threads, said):
    with cpu_threads(threads):
        measurement = measure(lambda: None, **CPU)
    assert measurement.device.endswith(f"(CPU, {said}")


@pytest.fixture
def cuda(monkeypatch):
    """Two GPUs that are not there, and the events on them."""
    events = []
    monkeypatch.setattr(
        torch.accelerator, "synchronize", lambda device: events.append(f"wait for {device}")
    )
    names = ("Tesla T4", "A100")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: names[device.index or 0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: events.append("clock") or len(events))
    return events


def test_the_device_that_is_given_is_measured_whatever_the_machine_has(cuda):
    for device, name in (("cuda:0", "Tesla T4"), ("cuda:1", "A100")):
        assert measure(lambda: None, device=device).device == name
    cuda.clear()
    assert "CPU" in measure(lambda: None, **CPU).device
    assert set(cuda) == {"clock"}


def test_a_gpu_is_waited_for_before_each_reading_of_the_clock(cuda):
    measure(lambda: cuda.append("call"), device="cuda", warmup=0, repeats=2)
    turn = ["wait for cuda", "clock", "call", "wait for cuda", "clock"]
    assert cuda == [*turn, *turn]


def simulated(true_speedup, repeats, random, noise, outliers=0.0, drift=0.0):
    """Turns of a call that is `true_speedup` times as fast as its baseline, on a noisy machine."""
    speed, turns = 1.0, []
    for _ in range(repeats):
        runs = []
        for seconds in (1, 1 / true_speedup, 1):
            speed *= np.exp(drift * random.standard_normal())
            delay = outliers and (random.random() < 0.15) * outliers * random.random()
            factor = np.exp(noise * random.standard_normal()) + delay
            runs.append(timing.Run(float(seconds * factor * speed), []))
        turns.append(runs)
    return Measurement("call", **timing.summarize(turns))


MACHINES = {
    "quiet": {"noise": 0.01},
    "noisy": {"noise": 0.1},
    "with outliers": {"noise": 0.02, "outliers": 0.5},
    "that slows down and recovers": {"noise": 0.02, "drift": 0.05},
}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("repeats", [2, 3, 5])
def test_identical_calls_are_hardly_ever_called_different(machine, repeats):
    random = np.random.default_rng(0)
    found = [simulated(1, repeats, random, **MACHINES[machine]).is_faster for _ in range(2000)]
    allowed = 0.05 if repeats > 2 else 0.15  # two turns are few
    assert np.mean([faster is not None for faster in found]) <= allowed


def test_a_difference_well_beyond_the_noise_is_found():
    random = np.random.default_rng(0)
    for speedup, faster in ((1.1, True), (1 / 1.1, False)):
        found = [simulated(speedup, 3, random, noise=0.02).is_faster for _ in range(500)]
        assert np.mean([is_faster is faster for is_faster in found]) >= 0.95


@pytest.mark.parametrize(
    ("speedups", "noise", "faster"),
    [
        ((1.1, 1.2, 1.3), 1.05, True),
        ((0.5, 0.6, 0.7), 1.05, False),
        ((0.9, 1.2, 1.3), 1.05, None),  # turns disagree
        ((0.98, 0.99, 0.995), 1.02, None),  # within what the baseline differs from itself
        ((2.0,), 1.0, None),  # one turn proves nothing
    ],
)
def test_a_difference_needs_turns_that_agree_and_exceed_the_noise(speedups, noise, faster):
    item = dataclasses.replace(BATCH, speedups=speedups, noise=noise, baseline="float32")
    assert item.is_faster is faster
    turns = f"({min(speedups):.2f} to {max(speedups):.2f}, timing noise {noise:.2f}x)"
    assert f"{item.speedup:.2f}x the speed of 'float32' {turns}" in str(item)
    assert ("no measurable difference" in str(item)) is (faster is None)


def test_a_measurement_reads_as_a_line_with_one_unit():
    line = "50 steps: 2.000 s per image (runs differ by 0.100 s), 25.0 steps/s, on a CPU"
    assert str(SLOW) == line
    for part in ("0.500 s per image (runs differ by 0.200 s)", "4 images at once"):
        assert part in str(BATCH)  # its call took 2 s, and its runs differ by 0.8 s
