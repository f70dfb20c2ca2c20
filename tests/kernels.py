"""For tests of the kernels in C++: where they can be built, and a skip that says why where they cannot."""

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
