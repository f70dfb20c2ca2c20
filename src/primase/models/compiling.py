"""The layers of a model through torch.compile, for training: what lies between the products is fused.

The layers are compiled one by one, once for all that are alike, for any number of rows and tokens. Weights, names and
checkpoints stay as they are.
"""

from functools import cache

import torch
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler
from transformers import PreTrainedModel

from primase.errors import MissingExtraError
from primase.models import kernels, routers, tensor_pool


def has_compiler(device: torch.device) -> bool:
    """Whether there is a C++ compiler, for a CPU."""
    if device.type != "cpu":
        return True
    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True


@cache
def can_compile(device: torch.device) -> bool:
    """Whether there is all that torch.compile needs, which takes seconds to try: for a CPU also Python's headers."""
    if device.type != "cpu":
        return True
    try:
        torch.compile(lambda numbers: numbers.exp())(torch.ones(16))
    except Exception:  # of the compiler, of what loads its result: torch has several types of its own for them
        return False
    return True


def prepare_layers(model: PreTrainedModel, *, is_compiled: bool) -> None:
    """For a training: routers in fp32, layers compiled as by `compile_layers`, or else run as they are written."""
    routers.keep_in_fp32(model)
    if is_compiled:
        compile_layers(model)
    else:
        kernels.put_away()


def compile_layers(model: PreTrainedModel) -> None:
    """Compile each layer on its first pass, which takes a minute. Raises MissingExtraError where it cannot be used."""
    if not can_compile(model.device):
        raise MissingExtraError(
            "training.compile is yes, which needs a C++ compiler and the headers of Python; install them (sudo apt-get "
            "install g++ python3-dev; on macOS xcode-select --install), or set training.compile=no"
        )
    if model.device.type == "cpu":
        kernels.build()
        tensor_pool.install()
    torch._dynamo.reset()  # what was compiled for other models counts against a limit, beyond which nothing is
    for module in model.modules():
        if type(module).__name__ in (model._no_split_modules or ()):
            module.compile(dynamic=True)


def uncompiled():
    """A context in which compiled layers run as they are written: another mode or shape would be compiled anew."""
    return torch.compiler.set_stance("force_eager")
