"""Memory: what is counted, and what is freed."""

import json
import sys
from itertools import accumulate
from types import SimpleNamespace

import pytest
import torch
from calls import generate, set_up
from IPython.core.history import HistoryManager
from IPython.core.interactiveshell import InteractiveShell

from helpers import free_memory, load_pipeline, memory, peak_memory
from helpers.memory import bytes_of, is_out_of_memory, tensors_of

KB = 4000  # bytes of a thousand numbers


def nothing(device="cpu"):
    """A pipeline without networks, on a device."""
    return SimpleNamespace(_execution_device=torch.device(device), components={})


def numbers(thousands=1):
    return torch.ones(1000 * thousands)


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


def test_a_tensor_that_was_there_counts_from_the_start():
    there = numbers(5)
    peak = peak_memory(lambda: [numbers(3).sum(), there.view(50, 100).mul_(1)], nothing())
    assert peak.bytes == 8 * KB + 4


def test_all_weights_count_even_those_that_the_call_does_not_touch(pipeline):
    weights = bytes_of(tensors_of(pipeline.unet, pipeline.vae, pipeline.text_encoder))
    assert peak_memory(lambda: numbers(), pipeline).bytes == weights + KB


@pytest.mark.parametrize("attention", ["sdpa", "classic"])
def test_the_count_agrees_with_pytorchs_own_allocator(tmp_path, attention):
    pipeline = set_up(load_pipeline(device="cpu", dtype="float32"), attention)
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
    weights = bytes_of(tensors_of(*parts))
    counted = peak_memory(lambda: generate(pipeline, 4), pipeline).bytes - weights
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        generate(pipeline, 4)
    profile.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    events = sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: e["ts"])
    live = accumulate(event["args"]["Bytes"] for event in events)
    assert counted == pytest.approx(max(live), rel=0.01)


def test_cuda_is_asked_once_it_is_done(monkeypatch):
    events = []
    monkeypatch.setattr(memory, "free_memory", lambda: events.append("free"))
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: events.append("wait"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _: events.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 10**9)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 10**9)  # another pipeline's
    peak = peak_memory(lambda: events.append("call"), nothing("cuda"))
    assert str(peak) == "2.00 GB peak memory, measured by CUDA's allocator"
    assert events == ["free", "reset", "call", "wait"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB)."), True),
        (RuntimeError("Invalid buffer size: 11.25 GB"), True),  # of MPS
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("could not create a primitive"), True),  # of oneDNN, for want of memory
        (RuntimeError("could not create a primitive descriptor for a convolution"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_that_say_that_memory_ran_out(error, expected):
    assert is_out_of_memory(error) is expected


def test_the_message_of_this_machine_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)


def test_what_jupyters_last_error_holds_is_freed(monkeypatch):
    monkeypatch.setattr(HistoryManager, "enabled", False)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # a shell replaces it
    for name in ("last_exc", "last_value", "last_type", "last_traceback"):
        monkeypatch.setattr(sys, name, None, raising=False)
    shell = InteractiveShell()
    shell.run_cell("""
import gc, torch, weakref
from helpers import free_memory

def fill():
    tensor = torch.ones(1000)
    kept.append(weakref.ref(tensor))
    raise torch.OutOfMemoryError("CUDA out of memory.")

kept = []
""")
    assert not shell.run_cell("fill()").success
    shell.run_cell("gc.collect(); before = kept[0]() is not None")
    shell.run_cell("free_memory(); after = kept[0]() is not None")
    assert (shell.user_ns["before"], shell.user_ns["after"]) == (True, False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_memory_refused_by_cuda_is_survived():
    pipeline = load_pipeline("tiny-portraits", device="cuda", dtype="float16")
    generate(pipeline)
    free_memory()
    allowed = torch.cuda.memory_reserved() + 300 * 2**20
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(allowed / total)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            generate(pipeline, 1024)
        free_memory()
        assert len(generate(pipeline, 2).images) == 2
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
