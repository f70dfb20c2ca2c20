"""For tests of the kernels in C++: where they can be built, and a skip that says why where they cannot."""

import pytest
import torch

from primase.models import bf16_kernels
from primase.models.compiling import can_compile

needs_kernels = pytest.mark.skipif(
    not (torch.cpu._is_avx512_bf16_supported() and can_compile(torch.device("cpu"))),
    reason="needs a processor with bf16 in hardware and a C++ compiler",
)


def skip_without_kernels() -> None:
    """To be called after they should have been built."""
    if bf16_kernels._library is None:
        pytest.skip("oneDNN has no small products in bf16 for this processor")
