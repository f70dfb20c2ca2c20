"""The random states that dropout draws from, taken and put back within a process."""

import torch


def random_state() -> tuple[torch.Tensor, list[torch.Tensor]]:
    """That of the processor, and that of each GPU."""
    return torch.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []


def set_random_state(state: tuple[torch.Tensor, list[torch.Tensor]]) -> None:
    """Put back what `random_state` gave."""
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
