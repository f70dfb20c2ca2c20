"""Number formats and the measured peak."""

import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from primase import hardware
from primase.errors import RecipeError
from primase.hardware import matrix_product_flops

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("has_bf16", "precision"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_bf16_where_the_hardware_has_it(has_bf16, precision, monkeypatch):
    monkeypatch.setattr(hardware, "has_bf16", lambda device: has_bf16)
    assert hardware.resolve_precision("auto", CPU) == precision
    assert hardware.resolve_precision("fp32", CPU) == "fp32"
    assert hardware.resolve_precision("bf16", CPU) == "bf16"
    assert hardware.resolve_precision("fp16", GPU) == "fp16"


def test_fp16_needs_a_gpu():
    with pytest.raises(RecipeError, match=r"training\.precision.*GPU.*auto"):
        hardware.resolve_precision("fp16", CPU)


@pytest.mark.parametrize(("name", "major", "has_bf16"), [("T4", 7, False), ("V100", 7, False), ("A100", 8, True)])
def test_a_t4_only_emulates_bf16(name, major, has_bf16, monkeypatch):
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda device: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(name=name, major=major))
    assert hardware.has_bf16(GPU) == has_bf16


@pytest.mark.parametrize(
    ("avx512", "amx", "has_bf16"), [(False, False, False), (True, False, True), (False, True, True)]
)
def test_cpus(avx512, amx, has_bf16, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert hardware.has_bf16(CPU) == has_bf16


def test_this_cpu_answers():
    """The two questions to torch are private: an upgrade that drops them is noticed here."""
    assert hardware.has_bf16(CPU) in (True, False)
    assert hardware.has_bf16(torch.device("mps")) is False


def test_peak():
    assert 1e8 < matrix_product_flops(CPU, "fp32", size=256, seconds=0.02) < 1e14
    assert 1e7 < matrix_product_flops(CPU, "bf16", size=256, seconds=0.02) < 1e14


def test_peak_memory_sees_what_was_held():
    before = hardware.peak_memory_bytes(CPU)
    block = torch.ones(2**30 // 4 + before // 4)
    assert hardware.peak_memory_bytes(CPU) >= before + 2**29
    del block


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another one")
def test_freed_memory_is_kept_and_used_again():
    """In a process of its own: without it, each turn asks the system for fresh pages."""
    program = """
import resource, sys, torch
from primase import hardware
if sys.argv[1] == "keeps":
    hardware.keep_freed_memory(torch.device("cpu"))
torch.manual_seed(0)
layers = torch.nn.Sequential(*[torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.SiLU()) for _ in range(2)])
rows = torch.randn(160_000, 64)

def step():
    layers(rows).square().mean().backward()

for _ in range(8):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = [
        int(subprocess.run([sys.executable, "-c", program, arm], capture_output=True, text=True, check=True).stdout)
        for arm in ("keeps", "gives back")
    ]
    assert faults[0] < faults[1] / 4, faults


@pytest.mark.parametrize(
    ("environment", "threads"),
    [
        ({}, None),
        ({"LOCAL_WORLD_SIZE": "1"}, None),
        ({"LOCAL_WORLD_SIZE": "3"}, 2),
        ({"LOCAL_WORLD_SIZE": "16"}, 1),
        ({"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "3"}, None),
        ({"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}, None),
        # torchrun's own choice, where nobody made one.
        ({"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "TORCHELASTIC_RUN_ID": "none"}, 4),
        ({"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "3", "TORCHELASTIC_RUN_ID": "none"}, None),
    ],
)
def test_processes_share_the_cores(environment, threads, monkeypatch):
    chosen = []
    monkeypatch.setattr(hardware, "cores", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    for name in ("LOCAL_WORLD_SIZE", "OMP_NUM_THREADS", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, environment.get(name, ""))
        if name not in environment:
            monkeypatch.delenv(name)
    hardware.share_cores()
    assert chosen == ([] if threads is None else [threads])
    assert os.environ.get("OMP_NUM_THREADS") == (str(threads) if threads else environment.get("OMP_NUM_THREADS"))
