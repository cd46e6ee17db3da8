"""What is answered from memory is what PyTorch would have said."""

from contextlib import nullcontext

import pytest
import torch

from labs.forecast import memory, operations
from labs.forecast.memory import forecast_memory
from labs.forecast.operations import operations_of
from labs.forecast.remembering import RememberedShapes


def empty(*size, dtype=torch.float32):
    return torch.empty(size, dtype=dtype, device="meta")


def twice(call):
    """What a call returns when it's asked for the first time, and for the second."""
    with RememberedShapes():
        return call(), call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: torch.nn.functional.conv2d(empty(2, 3, 8, 8), empty(4, 3, 3, 3), padding=1),
        lambda: torch.cat([empty(2, 3), empty(4, 3)]),
        lambda: empty(5, 4, dtype=torch.float16).t().float(),  # its strides are not the usual ones
        lambda: torch.nn.functional.group_norm(empty(1, 4, 2, 2), 2),
        lambda: empty(4, 4).sort(),  # two tensors
        lambda: empty(6, 2).chunk(3),  # a tuple of views
        lambda: empty(3).sum(),
    ],
)
def test_the_second_answer_is_the_first(call):
    without = call()
    for one in twice(call):
        for ours, theirs in zip(as_tuple(one), as_tuple(without), strict=True):
            assert (ours.shape, ours.stride(), ours.dtype) == (
                theirs.shape,
                theirs.stride(),
                theirs.dtype,
            )
            assert ours.untyped_storage().nbytes() == theirs.untyped_storage().nbytes()


def as_tuple(result):
    return result if isinstance(result, tuple) else (result,)


def test_numbers_that_are_equal_are_not_the_same():
    whole = empty(3, dtype=torch.int64)
    with RememberedShapes():
        assert [(whole * one).dtype for one in (1, 1.0, True)] == [
            torch.int64,
            torch.float32,
            torch.int64,
        ]


@pytest.mark.parametrize(
    "change", [lambda one: one.view(3, 2), lambda one: one.add_(1), lambda one: one[0], torch.t]
)
def test_views_and_writing_in_place_keep_the_memory_of_their_input(change):
    there = empty(2, 3)
    for result in twice(lambda: change(there)):
        assert result.untyped_storage()._cdata == there.untyped_storage()._cdata


def test_each_result_has_a_memory_of_its_own():
    one, other = twice(lambda: empty(2, 3) + 1)
    assert one.untyped_storage()._cdata != other.untyped_storage()._cdata


def test_what_has_contents_is_computed():
    ones = torch.ones(3)
    for result in twice(lambda: ones + 1):
        assert result.tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    "options",
    [{}, {"attention": "classic", "vae_slicing": True, "batch_size": 3}, {"offload": "group"}],
)
def test_the_forecasts_are_those_of_pytorch(monkeypatch, options):
    remembered = forecast_memory("tiny-portraits", **options)
    monkeypatch.setattr(memory, "RememberedShapes", nullcontext)
    assert forecast_memory("tiny-portraits", **options) == remembered


def test_the_operations_are_those_of_pytorch(monkeypatch):
    remembered = operations_of("tiny-portraits")
    monkeypatch.setattr(operations, "RememberedShapes", nullcontext)
    operations._operations_of.cache_clear()
    for component, found in operations_of("tiny-portraits").items():
        for name in ("times", "kind", "flops", "moved", "weights", "results"):
            assert list(getattr(found, name)) == list(getattr(remembered[component], name))
