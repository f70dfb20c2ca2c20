"""Tokens a second of the tutorial's training: as the tutorial writes it, stock at its best, and Primase, in one run.

    python -m benchmarks.training_speed WINDOWS [--tokenizer FOLDER] [--rounds 5] [--stock ARM | --pieces] [--json FILE]

WINDOWS: FASTA or CSV of 200-base windows. Same model (105 M parameters), same windows, forward, backward and optimizer.
Every arm is the real trainer in a process of its own, which waits before each optimizer step for its turn, so that the
arms alternate and a noisy machine meets all of them; ratios are medians over rounds. Timed are the collating of a
step's batches and the step, while the other arms are idle. Counted are real tokens, never padding. An optimizer step
belongs to 1,600 windows; a round takes fewer, and so much less of the optimizer's time.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WINDOWS_OF_A_STEP = 1_600
STOCK = {
    f"stock {experts} {rows} {precision}": {"experts": experts, "rows": rows, "precision": precision}
    for experts, choices in (("grouped_mm", (32, 128, 256, 512)), ("eager", (32, 256)), ("batched_mm", (32,)))
    for rows in choices
    for precision in ("fp32", "autocast", "bf16")
}
WINDOWS_OF_A_TRIAL = {"grouped_mm": 512, "eager": 256, "batched_mm": 32}
"""`batched_mm` copies an expert's weights for every token: some minutes for more."""
WARM_UP_ROUNDS = 3
"""A product is compiled for each new length of a row, and layers for their first batch; a run has hundreds of steps."""

TUTORIAL = {
    "experts": "grouped_mm",
    "rows": 32,
    "precision": "autocast",
    "attention": "eager",
    "pads_in_thousands": True,
}
TUTORIAL_IN_FP32 = TUTORIAL | {"precision": "fp32"}
PRIMASE = {"rows": 1536, "is_primase": True, "is_compiled": True}
WHOLE = PRIMASE | {"rows": 256}  # four arms of larger batches need more than 24 GB
NOT_COMPILED = WHOLE | {"is_compiled": False}
PIECES = {
    "primase": WHOLE,
    "primase, not compiled": NOT_COMPILED,
    "and stock attention": NOT_COMPILED | {"attention": "sdpa"},
    "and stock experts": NOT_COMPILED | {"attention": "sdpa", "experts": "grouped_mm"},
}
"""Primase with its pieces taken away one after the other; the loss, the order of rows and kept memory are left."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("windows", nargs="*", type=Path)
    parser.add_argument("--tokenizer", help="folder of the tutorial's tokenizer; without it byte pairs are trained")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--windows-per-round", type=int, default=1536)
    parser.add_argument(
        "--bf16", choices=["auto", "yes", "no"], default="auto", help="arms in bf16: auto if in hardware"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    beside = parser.add_mutually_exclusive_group()
    beside.add_argument("--stock", choices=STOCK, help="the best stock arm, where an earlier run has tried them all")
    beside.add_argument("--pieces", action="store_true", help="what each piece of the step brings, instead of stock")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.windows_per_round % PRIMASE["rows"]:
        parser.error(f"--windows-per-round: give a multiple of {PRIMASE['rows']}, Primase's batch")
    if settings.arm:
        from benchmarks.training_speed_arms import run_arm

        return run_arm(json.loads(settings.arm))
    if settings.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # else the arms would take a GPU that is there
    with tempfile.TemporaryDirectory() as folder:
        result = measure(settings, Path(folder))
    print(table(result))
    if settings.json:
        settings.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def measure(settings: argparse.Namespace, folder: Path) -> dict:
    """Prepare the windows once, find the best stock arm, then let tutorial, best stock and Primase alternate.

    With `--pieces` Primase alternates with itself without its pieces instead.
    """
    import torch

    from benchmarks.training_speed_arms import prepare_windows
    from primase import hardware
    from primase.models.build import count_parameters

    device = torch.device(settings.device)
    has_bf16 = hardware.has_bf16(device) if settings.bf16 == "auto" else settings.bf16 == "yes"
    corpus, config = prepare_windows(settings.windows, folder, settings.tokenizer)
    peak = {
        precision: max(hardware.matrix_product_flops(device, precision, size) for size in (1024, 2048, 4096))
        for precision in ("fp32", *(["bf16"] if has_bf16 else []))
    }
    flops_per_token = count_parameters(config).training_flops_per_token
    common = {"corpus": str(corpus), "windows": settings.windows_per_round, "device": settings.device}
    precision = "bf16" if has_bf16 else "fp32"

    trials: dict[str, float] = {}
    best_stock = settings.stock
    if settings.pieces:
        arms = {name: arm | {"precision": precision} for name, arm in PIECES.items()}
    else:
        if not best_stock:
            trials = try_stock(common, has_bf16)
            best_stock = max(trials, key=trials.get)
        arms = {"tutorial": TUTORIAL} if has_bf16 else {"tutorial without bf16": TUTORIAL_IN_FP32}
        arms |= {"best stock": STOCK[best_stock], "primase": PRIMASE | {"precision": precision}}
    speeds, memory = alternate(arms, common, settings.rounds)
    return {
        "machine": hardware.describe(),
        "peak_flops": peak,
        "flops_per_token": flops_per_token,
        "stock_trials": trials,
        "best_stock": best_stock,
        "tokens_per_second": speeds,
        "median": {name: statistics.median(values) for name, values in speeds.items()},
        "mfu": {name: flops_per_token * statistics.median(v) / peak[precision] for name, v in speeds.items()},
        "mfu_of": precision,
        "ratio": {
            name: statistics.median(ours / theirs for ours, theirs in zip(speeds["primase"], values, strict=True))
            for name, values in speeds.items()
        },
        "peak_memory_mb": memory,
    }


def try_stock(common: dict, has_bf16: bool) -> dict[str, float]:
    """Tokens a second of each stock arm, the better of two steps after the first.

    The first collates a batch more than it computes, which later ones find collated, and its collating is not timed.
    """
    trials = {}
    for name, arm in STOCK.items():
        if has_bf16 or arm["precision"] == "fp32":
            with Arm(name, common | arm | {"windows": WINDOWS_OF_A_TRIAL[arm["experts"]]}) as only:
                only.turn()
                trials[name] = max(only.turn() for _ in range(2))
            print(f"{name:<34}{trials[name]:>9,.0f} tokens/s", file=sys.stderr)
    return trials


def alternate(arms: dict, common: dict, rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Tokens a second of each arm in each round, and its peak memory in MB, after rounds that warm up."""
    running = {name: Arm(name, common | arm) for name, arm in arms.items()}
    try:
        for _ in range(WARM_UP_ROUNDS):
            for arm in running.values():
                arm.turn()
        speeds = {name: [] for name in arms}
        for _ in range(rounds):
            for name, arm in running.items():
                speeds[name].append(arm.turn())
        return speeds, {name: arm.peak_memory_mb for name, arm in running.items()}
    finally:
        for arm in running.values():
            arm.stop()


class Arm:
    """A training in another process, one optimizer step a turn."""

    def __init__(self, name: str, settings: dict) -> None:
        self.name, self.peak_memory_mb = name, 0.0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.training_speed", "--arm", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()  # it says that it is ready

    def __enter__(self) -> "Arm":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def turn(self) -> float:
        """Real tokens a second of one step."""
        with contextlib.suppress(BrokenPipeError):  # `_read` says that it ended
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        step = self._read()
        self._read()  # it is ready for the next one, and idle until then
        self.peak_memory_mb = step["peak_memory_mb"]
        seconds = step["batch_seconds"] + step["update_seconds"] * step["windows"] / WINDOWS_OF_A_STEP
        return step["tokens"] / seconds

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _read(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the arm {self.name} ended; its message stands above")
        return json.loads(line)


def table(result: dict) -> str:
    lines = [f"{'':<26}{'tokens/s':>10}{'primase is':>12}{'MFU ' + result['mfu_of']:>10}{'peak memory':>14}"]
    for name, median in result["median"].items():
        lines.append(
            f"{name:<26}{median:>10,.0f}{result['ratio'][name]:>11.2f}x{result['mfu'][name]:>10.2f}"
            f"{result['peak_memory_mb'][name]:>11,.0f} MB"
        )
    peaks = ", ".join(f"{name} {flops / 1e9:,.0f} GFLOP/s" for name, flops in result["peak_flops"].items())
    stock = f"best stock: {result['best_stock']}; " if result["best_stock"] else ""
    return "\n".join([*lines, f"{stock}matrix products here: {peaks}", time.strftime("%Y-%m-%d")])


if __name__ == "__main__":
    main()
