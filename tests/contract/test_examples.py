"""The examples for clusters: scripts that bash can read, options that sbatch and primase have, fields of a Job."""

import os
import re
import shlex
import subprocess

import pytest
import typer
import yaml

from primase.cli import IN_SEVERAL_PROCESSES, app
from tests.conftest import REPOSITORY

SLURM = REPOSITORY / "examples" / "pretrain.slurm"
KUBERNETES = REPOSITORY / "examples" / "pretrain-kubernetes.yaml"

# Of `man sbatch` (Slurm 24.05), those that a script for training may want, with the form of their values.
SBATCH_OPTIONS = {
    "job-name": r"[\w-]+",
    "nodes": r"\d+",
    "ntasks-per-node": r"\d+",
    "cpus-per-task": r"\d+",
    "gpus-per-node": r"(\w+:)?\d+",
    "mem": r"\d+[KMGT]?",
    "time": r"(\d+-)?\d+:\d\d:\d\d",
    "signal": r"(B:)?(TERM|INT|USR1)@\d+",
    "requeue": None,
    "open-mode": r"append|truncate",
    "output": r"[\w.%-]+",
    "partition": r"[\w-]+",
}


def understood(arguments: list[str]) -> dict:
    """The parameters of a primase command, which must have these options."""
    command = typer.main.get_command(app).commands[arguments[0]]
    return command.make_context(arguments[0], arguments[1:]).params


def torchrun_options(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """The options of a torchrun command, which its own parser must know, and what it starts."""
    from torch.distributed.run import parse_args

    assert arguments[0] == "torchrun"
    parsed = parse_args(arguments[1:])
    assert parsed.module and parsed.training_script == "primase"
    return vars(parsed), parsed.training_script_args


def test_bash_can_read_the_slurm_script():
    checked = subprocess.run(["bash", "-n", SLURM], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_slurm_options():
    lines = [line for line in SLURM.read_text().splitlines() if line.startswith("#SBATCH")]
    assert len(lines) >= 8
    for line in lines:
        name, equals, value = re.fullmatch(r"#SBATCH --([\w-]+)(=?)(\S*)", line).groups()
        form = SBATCH_OPTIONS[name]
        assert bool(equals) == (form is not None) and (form is None or re.fullmatch(form, value)), line
    body = SLURM.read_text().split("set -euo pipefail")
    assert len(body) == 2 and "#SBATCH" not in body[1], "sbatch reads options up to the first command only"


def test_slurm_commands():
    text = SLURM.read_text().replace("\\\n", " ")
    arguments = shlex.split(re.search(r"^srun (torchrun .*?) \|\|", text, re.MULTILINE)[1])
    options, started = torchrun_options(arguments)
    assert f"#SBATCH --gpus-per-node={options['nproc_per_node']}\n" in text
    assert "#SBATCH --ntasks-per-node=1\n" in text  # torchrun starts the processes
    assert understood(started)["resume_if_begun"] is True
    prepared = shlex.split(re.search(r"srun .* (primase prepare .*)$", text, re.MULTILINE)[1])
    assert understood(prepared[1:])["recipe"] == understood(started)["recipe"]


@pytest.mark.parametrize(
    ("exit_code", "adds", "requeued"),
    [(143, "step-000020", True), (1, "step-000020", True), (1, None, False), (0, "step-000020", False)],
)
def test_slurm_job_goes_back_into_the_queue_where_it_got_further(exit_code, adds, requeued, tmp_path):
    """A dry run in bash; Slurm's two commands only write down that they were called."""
    (tmp_path / "run" / "checkpoints" / "step-000010").mkdir(parents=True)
    saves = f"mkdir '{tmp_path}/run/checkpoints/{adds}'; " if adds else ""
    commands = {
        "scontrol": f'echo "$@" >> {tmp_path}/called; echo first-machine',
        "srun": f'echo "$@" >> {tmp_path}/called; case "$1" in torchrun) {saves}exit {exit_code};; esac',
    }
    for name, script in commands.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "two", "SLURM_NNODES": "2", "SLURM_JOB_ID": "77"}
    job = ["bash", SLURM, "genome.fa", str(tmp_path / "run")]
    done = subprocess.run(job, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"} | slurm, capture_output=True, text=True)
    called = (tmp_path / "called").read_text().splitlines()
    assert done.returncode == exit_code and done.stderr == ""
    assert called[0].startswith("--nodes=1 --ntasks=1 primase prepare genome.fa")
    assert called[2].startswith("torchrun --nnodes=2") and "--rdzv-endpoint=first-machine:29500" in called[2]
    assert ("requeue 77" in called) == requeued


def test_kubernetes_job():
    job = yaml.safe_load(KUBERNETES.read_text())
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job") and job["metadata"]["name"]
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] in ("OnFailure", "Never")  # a Job may have no other
    assert job["spec"]["parallelism"] == 1 and pod["terminationGracePeriodSeconds"] > 30
    (container,) = pod["containers"]
    assert container["image"] and all(isinstance(part, str) for part in container["command"])
    options, started = torchrun_options(container["command"])
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    assert options["nproc_per_node"] == gpus
    threads = int(next(entry["value"] for entry in container["env"] if entry["name"] == "OMP_NUM_THREADS"))
    assert threads * int(gpus) == int(container["resources"]["requests"]["cpu"])
    assert understood(started)["resume_if_begun"] is True
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    output = understood(started)["output"]
    assert any(output.is_relative_to(mount["mountPath"]) for mount in container["volumeMounts"])


@pytest.mark.parametrize("command", IN_SEVERAL_PROCESSES)
def test_scaling_names_each_command(command):
    assert f"`{command}`" in (REPOSITORY / "docs" / "scaling.md").read_text()
