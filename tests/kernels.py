"""For tests of the kernels in C++: where they can be built, a skip that says why where they cannot, and what holds in
both number formats."""

from itertools import pairwise

import pytest
import torch

from primase.models import kernels
from primase.models.compiling import has_compiler

_HAS_COMPILER = has_compiler(torch.device("cpu"))

needs_kernels = pytest.mark.skipif(
    not (torch.cpu._is_avx512_bf16_supported() and _HAS_COMPILER),
    reason="needs a processor with bf16 in hardware and a C++ compiler",
)

needs_fp32_kernels = pytest.mark.skipif(
    not (torch.cpu._is_avx2_supported() and _HAS_COMPILER),
    reason="needs a processor with AVX2 and a C++ compiler",
)


def skip_without_kernels() -> None:
    """To be called after they should have been built."""
    if kernels._bf16 is None:
        pytest.skip("oneDNN has no small products in bf16 for this processor")


def check_rows_one_by_one(dtype: torch.dtype) -> None:
    """Packed rows of any length get, to the last bit, what each of them gets alone."""
    torch.manual_seed(5)
    lengths, heads, key_heads, width = [1, 70, 0, 16, 341], 4, 2, 32
    starts = torch.tensor([0, *lengths]).cumsum(0)
    parts = [torch.randn(1, sum(lengths), some, width).to(dtype) for some in (heads, key_heads, key_heads)]
    ours = [part.clone().requires_grad_() for part in parts]
    got = kernels.attention(*(part.transpose(1, 2) for part in ours), None, 0.2, starts)
    gradient = torch.randn(got.shape).to(dtype)
    got.backward(gradient)
    for first, last in pairwise(starts):
        if first == last:
            continue
        row = [part[:, first:last].clone().requires_grad_() for part in parts]
        alone = kernels.attention(*(part.transpose(1, 2) for part in row), None, 0.2)
        alone.backward(gradient[:, first:last])
        assert torch.equal(got[:, first:last], alone)
        for whole, part in zip(ours, row, strict=True):
            assert torch.equal(whole.grad[:, first:last], part.grad)
