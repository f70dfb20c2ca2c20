"""primase doctor: what this machine and this installation can do."""

import json

import typer

from primase.cli import options


def command(as_json: options.AsJson = False) -> None:
    """Show what this machine and this installation can do.

    Hardware, library versions, number formats and the measured speed of a matrix product.
    """
    from importlib.metadata import version

    from primase import hardware

    facts = hardware.describe()
    device = hardware.best_device()
    precision = hardware.resolve_precision("auto", device)
    for name in ("torch", "transformers", "accelerate", "numpy"):
        facts[name] = version(name)
    facts["precision"] = precision
    for kind in dict.fromkeys(("fp32", precision)):
        facts[f"{kind}_matrix_product_gflops"] = round(hardware.matrix_product_flops(device, kind) / 1e9)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        typer.echo(f"  {name.replace('_', ' '):<28} {value}")
