"""The memory of tensors: blocks that are given out again, bounded, and whole."""

import subprocess
import sys

import pytest
import torch

from primase.models.compiling import has_compiler

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not has_compiler(torch.device("cpu")), reason="needs Linux and a C++ compiler"
)

BEGIN = """
import torch
from primase.models import tensor_pool
MB = 2**20
def block(size):
    return torch.empty(size, dtype=torch.uint8)
before = torch.ones(5 * MB)
tensor_pool.install()
tensor_pool.install()
assert tensor_pool.held_bytes() == 0
"""


def run(script: str) -> None:
    """In a process of its own, since torch's allocator is that of the process."""
    done = subprocess.run([sys.executable, "-c", BEGIN + script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_freed_block_is_the_next_one_of_about_its_size():
    run("""
first = block(40 * MB)
place = first.data_ptr()
assert place % (2 * MB) == 0
del first
assert block(39 * MB).data_ptr() == place
assert block(20 * MB).data_ptr() != place, "more than a quarter of it would lie idle"
assert tensor_pool.held_bytes() == 60 * MB
""")


def test_what_is_held_is_at_most_half_as_much_again_as_was_needed():
    run("""
for size in range(4, 200, 4):
    block(size * MB).fill_(1)
    assert tensor_pool.held_bytes() <= 1.5 * 1.125 * size * MB, size
""")


def test_small_tensors_and_those_from_before_are_not_its_own():
    run("""
small = [torch.ones(100) for _ in range(1000)]
assert tensor_pool.held_bytes() == 0
del before, small
assert tensor_pool.held_bytes() == 0
assert torch.empty(0).numel() == 0
""")


def test_tensors_grow_and_outlive_each_other():
    run("""
tensor = torch.arange(3 * MB)
tensor.resize_(6 * MB)
assert torch.equal(tensor[: 3 * MB], torch.arange(3 * MB))
array, copied = tensor.numpy(), tensor.clone()
del tensor
assert int(array[3 * MB - 1]) == 3 * MB - 1 == int(copied[3 * MB - 1])
""")


def test_many_threads():
    run("""
from concurrent.futures import ThreadPoolExecutor
def work(number):
    for turn in range(50):
        tensor = torch.full((number + 1, MB), number, dtype=torch.float32)
        assert float(tensor.sum()) == number * (number + 1) * MB
with ThreadPoolExecutor(4) as pool:
    list(pool.map(work, range(4)))
""")
