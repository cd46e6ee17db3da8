"""Memory: what is counted, and what is found by trying."""

import json
import subprocess
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from calls import draw, set_up

from helpers import (
    free_memory,
    get_inputs,
    largest_batch,
    load_pipeline,
    memory,
    peak_memory,
)
from helpers.memory import _double_then_bisect, bytes_of, tensors_of

ROOT = Path(__file__).parents[1]
KB = 4000  # bytes of a thousand numbers


def nothing(device="cpu"):
    """A pipeline without networks, on a device."""
    return SimpleNamespace(_execution_device=torch.device(device), components={})


def numbers(thousands=1):
    return torch.ones(1000 * thousands)


# What is counted


@pytest.mark.parametrize(
    ("call", "size"),
    [
        (lambda: numbers(), 1),
        (lambda: numbers().view(10, 100).t()[2:].add_(1), 1),  # views, in place
        (lambda: [numbers(2).sum(), numbers(3).sum()], 3.001),  # the first is gone
        (lambda: [numbers(2), numbers(3)], 5),
        (lambda: numbers() + numbers(), 3),
        (lambda: numbers()[:10].clone(), 1.01),
    ],
)
def test_storages_count_once_and_only_while_they_live(call, size):
    assert peak_memory(call, nothing()).bytes == pytest.approx(size * KB, abs=8)


def test_a_tensor_that_was_there_counts_from_the_start_if_it_is_touched():
    there, untouched = numbers(5), numbers(7)
    peak = peak_memory(lambda: [numbers(3).sum(), there.view(50, 100).mul_(1)], nothing())
    assert peak.bytes == 8 * KB + 4
    assert untouched.sum() == 7000


def test_a_pipeline_takes_the_same_to_the_byte_each_time(pipeline):
    assert len({peak_memory(lambda: draw(pipeline, 2), pipeline).bytes for _ in range(3)}) == 1


def test_all_weights_count_even_those_that_the_call_does_not_touch(pipeline):
    weights = bytes_of(tensors_of(pipeline.unet, pipeline.vae, pipeline.text_encoder))
    assert peak_memory(lambda: numbers(), pipeline).bytes == weights + KB


@pytest.mark.parametrize("attention", ["sdpa", "classic"])
def test_the_count_agrees_with_pytorchs_own_allocator(tmp_path, attention):
    pipeline = set_up(load_pipeline(device="cpu", dtype="float32"), attention)
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
    weights = bytes_of(tensors_of(*parts))
    counted = peak_memory(lambda: draw(pipeline, 4), pipeline).bytes - weights
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        draw(pipeline, 4)
    profile.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    events = sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: e["ts"])
    live = peak = 0
    for event in events:
        live += event["args"]["Bytes"]
        peak = max(peak, live)
    assert counted == pytest.approx(peak, rel=0.01)


def test_cuda_is_asked_for_its_allocators_peak(monkeypatch):
    events = []
    monkeypatch.setattr(memory, "free_memory", lambda: events.append("free"))
    for name in ("reset_peak_memory_stats", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, lambda device, name=name: events.append(name))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 10**9)
    peak = peak_memory(lambda: events.append("call"), nothing("cuda"))
    assert events == ["free", "reset_peak_memory_stats", "call", "synchronize"]
    assert str(peak) == "3.00 GB peak memory, measured by CUDA's allocator"


def test_mps_is_asked_for_what_metal_holds(monkeypatch):
    monkeypatch.setattr(torch.mps, "synchronize", lambda: None)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 2 * 10**9)
    assert str(peak_memory(lambda: None, nothing("mps"))).startswith("2.00 GB peak memory")


# The largest batch


@pytest.mark.parametrize("limit", [None, 1, 7, 24])
def test_the_largest_is_found_by_doubling_and_bisecting(limit):
    for holds in range(0, 40):
        tried = []

        def fits(size, holds=holds, tried=tried):
            tried.append(size)
            return size <= holds

        expected = holds if limit is None else min(holds, limit)
        assert _double_then_bisect(fits, limit) == expected
        assert len(tried) == len(set(tried)) <= 12
        assert limit is None or max(tried) <= limit


class Small:
    """A pipeline that holds up to five images, and has a tensor in its frames when it fails."""

    _execution_device = torch.device("cpu")

    def __init__(self, error):
        self.error, self.kept, self.restored = error, [], 0

    def __call__(self, batch_size):
        tensor = numbers(batch_size)
        self.kept.append(weakref.ref(tensor))
        if batch_size > 5:
            raise self.error

    def maybe_free_model_hooks(self):
        self.restored += 1


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        RuntimeError("could not create a primitive"),  # of oneDNN, for want of memory
    ],
)
def test_running_out_of_memory_is_survived_and_leaves_nothing(error):
    pipeline = Small(error)
    assert largest_batch(pipeline, lambda size: {"batch_size": size}, limit=64) == 5
    assert [tensor() for tensor in pipeline.kept] == [None] * len(pipeline.kept)
    assert pipeline.restored == 2  # after batches of 8 and of 6


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("could not create a primitive descriptor for a convolution"),
        ValueError("out of memory"),
    ],
)
def test_another_error_comes_through(error):
    with pytest.raises(type(error)) as caught:
        largest_batch(Small(error), lambda size: {"batch_size": size}, limit=64)
    assert caught.value is error


def test_no_image_fits():
    with pytest.raises(MemoryError, match="Not even one image fits: use a smaller height"):
        largest_batch(Small(MemoryError()), lambda size: {"batch_size": size + 5}, limit=4)


@pytest.mark.parametrize(
    ("limit", "message"),
    [(None, "On a CPU.*give a limit"), (0, "limit of 0 leaves nothing"), (-3, "limit of -3")],
)
def test_a_limit_that_cannot_be_used(limit, message):
    pipeline = Small(MemoryError())
    with pytest.raises(ValueError, match=message):
        largest_batch(pipeline, lambda size: {"batch_size": size}, limit=limit)
    assert not pipeline.kept


def run(code):
    command = [sys.executable, "-c", code]
    environment = {
        "CI": "true",
        "OMP_NUM_THREADS": "1",
        # oneDNN keeps 17 MB of address space for each new batch size, and malloc what is freed.
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "0",
        "MALLOC_MMAP_THRESHOLD_": "65536",
    }
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux refuses memory at a limit")
def test_memory_refused_by_the_system_is_survived():
    result = run("""
import gc, resource, torch
from pathlib import Path
from types import SimpleNamespace
from helpers import get_inputs, largest_batch, load_pipeline
from helpers.memory import is_out_of_memory

pipeline = load_pipeline("tiny-portraits", device="cpu", dtype="float32")

def inputs(size):
    return get_inputs(size, num_inference_steps=1)

pipeline(**inputs(1))  # so that what is loaded late is loaded
gc.freeze()  # so that no try looks for garbage in it
pages = int(Path("/proc/self/statm").read_text().split()[0])
allowed = pages * resource.getpagesize() + 150 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
try:
    torch.empty(2**40)
except RuntimeError as error:
    assert is_out_of_memory(error), error
largest = largest_batch(pipeline, inputs, limit=256)
later = largest // 2  # a size that has not been tried needs room for kernels of its own
assert len(pipeline(**inputs(later)).images) == later
assert largest_batch(pipeline, inputs, limit=4) == 4
print(largest)
""")
    assert result.returncode == 0, result.stderr
    assert 4 <= int(result.stdout) < 64


def test_what_jupyters_last_error_holds_is_freed():
    result = run("""
import gc, weakref
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell()
shell.run_cell('''
import torch, weakref
from helpers import free_memory

def fill():
    tensor = torch.ones(1000)
    kept.append(weakref.ref(tensor))
    raise torch.OutOfMemoryError("CUDA out of memory.")

kept = []
''')
assert not shell.run_cell("fill()").success
shell.run_cell("import gc; gc.collect(); before = kept[0]() is not None")
shell.run_cell("free_memory(); after = kept[0]() is not None")
print(shell.user_ns["before"], shell.user_ns["after"])
""")
    assert result.stdout.split()[-2:] == ["True", "False"], result.stderr


def test_an_error_about_something_else_keeps_its_frames(monkeypatch):
    def fail():
        tensor = numbers()
        kept.append(weakref.ref(tensor))
        raise ValueError("not about memory")

    kept = []
    with pytest.raises(ValueError) as caught:
        fail()
    monkeypatch.setattr(sys, "last_value", caught.value, raising=False)
    free_memory()
    assert kept[0]() is not None  # a debugger still sees it


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_memory_refused_by_cuda_is_survived():
    pipeline = load_pipeline("tiny-portraits", device="cuda", dtype="float16")

    def inputs(size):
        return get_inputs(size, num_inference_steps=1)

    draw(pipeline)
    free_memory()
    allowed = torch.cuda.memory_reserved() + 300 * 2**20
    torch.cuda.set_per_process_memory_fraction(
        allowed / torch.cuda.get_device_properties(0).total_memory
    )
    try:
        largest = largest_batch(pipeline, inputs, limit=1024)
        assert len(draw(pipeline, largest).images) == largest < 1024
        with pytest.raises(torch.OutOfMemoryError):
            draw(pipeline, 1024)
        free_memory()
        assert len(draw(pipeline, largest).images) == largest
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
