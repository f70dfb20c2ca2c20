"""Whether torch.compile can be used is found out by trying: a compiler may be there and yet build nothing."""

import os
import subprocess
import sys

import pytest
import torch

from primase.models.compiling import has_compiler

TRIAL = """
import torch
from primase.errors import MissingExtraError
from primase.models.compiling import can_compile, compile_layers, has_compiler

class Model(torch.nn.Module):
    device = torch.device("cpu")

print(has_compiler(Model.device), can_compile(Model.device))
try:
    compile_layers(Model())
except MissingExtraError as error:
    print(error)
"""


@pytest.mark.skipif(not has_compiler(torch.device("cpu")), reason="needs a C++ compiler")
def test_a_compiler_that_builds_nothing_is_found_out(tmp_path):
    """As where the headers of Python are missing."""
    compiler = tmp_path / "g++"
    compiler.write_text('#!/bin/sh\nfor option; do [ "$option" = --version ] && echo "g++ 12" && exit; done\nexit 1\n')
    compiler.chmod(0o755)
    environment = os.environ | {"CXX": str(compiler), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", TRIAL], env=environment, capture_output=True, text=True, check=True)
    found, message = done.stdout.splitlines()
    assert found == "True False"
    assert message.startswith("training.compile is yes, which needs a C++ compiler and the headers of Python; install")
