"""The optimiser is torch's fused Adam, without the price of its constructor."""

import torch

from algorithms.parts.optimiser import Adam


def test_it_is_torch_s_adam_to_the_bit_and_reads_its_state() -> None:
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(1000, generator=draw)
    ours, theirs = start.clone().requires_grad_(True), start.clone().requires_grad_(True)
    mine, reference = Adam([ours]), torch.optim.Adam([theirs], fused=True)
    for update in range(20):
        rate = 1e-2 / (update + 1)
        ours.grad = torch.randn(1000, generator=draw)
        theirs.grad = ours.grad.clone()
        mine.step(rate)
        reference.param_groups[0]["lr"] = rate
        reference.step()
        if update == 9:  # continue from the reference's state, through a fresh optimiser
            mine = Adam([ours])
            mine.load_state_dict(reference.state_dict())
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, start)


def test_what_was_saved_does_not_move_with_later_steps() -> None:
    parameter = torch.zeros(4, requires_grad=True)
    parameter.grad = torch.ones(4)
    optimiser = Adam([parameter])
    optimiser.step(0.1)
    other = Adam([torch.zeros(4, requires_grad=True)])
    other.load_state_dict(optimiser.state_dict())
    optimiser.step(0.1)
    assert other.state[0]["step"] == 1
    assert optimiser.state[0]["step"] == 2
