"""The training loop: interruptions and the number of processes do not change what it learns."""

import copy

import numpy as np
import pytest
import torch
from tiny import TARGET, tiny_stage
from torch import nn

from training import loop
from training.loop import Plan
from training.workspace import Workspace

CPU = torch.device("cpu")
PLANS = [Plan(3200, 32, 0.02), Plan(3200, 32, None, 0.02)]


def weights(work, plan, **options):
    """The trained and the averaged weights after a training."""
    loop.fit(tiny_stage, "tiny", work, plan, **options)
    saved = torch.load(loop.checkpoint(work, "tiny"), weights_only=True)
    return torch.cat([saved["modules"]["model.weight"], saved["average"][0]]), saved["seen"]


@pytest.mark.parametrize("plan", PLANS, ids=["Muon", "AdamW"])
def test_training_learns_and_a_larger_budget_trains_on(tmp_path, plan, monkeypatch):
    work = Workspace(tmp_path, 0, CPU)
    untrained = loop.load(tiny_stage, "tiny", work)["model"].weight
    weights(work, plan, processes=1)
    larger = Plan(6400, plan.batch, plan.muon, plan.adam)
    _, seen = weights(work, larger, processes=1)
    trained = loop.load(tiny_stage, "tiny", work)["model"].weight
    assert (trained - TARGET).square().mean() < (untrained - TARGET).square().mean() / 2
    monkeypatch.setattr(loop, "train", None)
    assert weights(work, larger, processes=1)[1] == seen == 6400  # a spent budget does nothing


@pytest.mark.parametrize("plan", PLANS, ids=["Muon", "AdamW"])
def test_two_processes_train_the_same_model_as_one(tmp_path, plan):
    plan = Plan(320, plan.batch, plan.muon, plan.adam)
    made = []
    for processes in (1, 2):
        work = Workspace(tmp_path / str(processes), 0, CPU)
        work.folder.mkdir()
        made.append(weights(work, plan, processes=processes)[0])
    torch.testing.assert_close(*made, atol=1e-4, rtol=1e-4)


def test_the_gradient_is_the_mean_over_the_batch_before_it_is_clipped(monkeypatch):
    monkeypatch.setattr(loop, "bfloat16_is_fast", lambda device: False)
    model, plan, batches = nn.Linear(16, 16), PLANS[1], []
    whole = copy.deepcopy(model)

    def loss_of(rng, n, fraction):
        batches.append(torch.from_numpy(rng.standard_normal((n, 16), np.float32)))
        return 9 * (model(batches[-1]) - batches[-1] @ TARGET.T).square().mean()

    state = loop.State(nn.ModuleDict({"model": model}), plan)
    loop.step(state, loss_of, plan, CPU, seed=3)
    x = torch.cat(batches)
    assert len(x) == state.seen == plan.batch
    (9 * (whole(x) - x @ TARGET.T).square().mean()).backward()
    assert nn.utils.clip_grad_norm_(whole.parameters(), loop.CLIP_NORM) > loop.CLIP_NORM
    torch.testing.assert_close(model.weight.grad, whole.weight.grad)


def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY", 0)
    plan = Plan(640, 32, 0.02)

    def interrupted_stage(work):
        modules, loss_of = tiny_stage(work)

        def stopped(rng, n, fraction):
            if fraction > 0.5:
                raise KeyboardInterrupt
            return loss_of(rng, n, fraction)

        return modules, stopped

    works = [Workspace(tmp_path / name, 0, CPU) for name in ("whole", "parts")]
    for work in works:
        work.folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        loop.fit(interrupted_stage, "tiny", works[1], plan, processes=1)
    assert torch.equal(*(weights(work, plan, processes=1)[0] for work in works))
