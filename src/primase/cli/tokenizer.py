"""primase tokenizer: write a tokenizer folder without training a model."""

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.writing import writing
from primase.errors import InputError, OutputExistsError


def command(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="base, kmer or byte-pair.")],
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="GENOME", help="The sequences that byte-pair is trained on.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="The tokenizer folder to write.")
    ] = Path("tokenizer"),
    k: Annotated[int, typer.Option(min=2, max=8, metavar="BASES", help="Bases a token (kmer).")] = 3,
    vocabulary_tokens: Annotated[
        int, typer.Option(min=32, max=65_536, metavar="TOKENS", help="Size of the vocabulary (byte-pair).")
    ] = 4096,
    max_token_bases: Annotated[int, typer.Option(min=2, metavar="BASES", help="Longest token (byte-pair).")] = 16,
    column: options.Column = None,
) -> None:
    """Write a tokenizer without training a model.

    AutoTokenizer of transformers loads the folder without Primase.
    """
    if output.exists():
        raise OutputExistsError(f"{output}: already exists; choose another folder")
    if kind not in ("base", "kmer", "byte-pair"):
        raise InputError(f"no tokenizer of kind {kind}; choose base, kmer or byte-pair")
    if (kind == "byte-pair") == (not sources):
        raise InputError("a byte-pair tokenizer is trained: give it a genome; base and kmer take none")
    from primase import tokenizers
    from primase.formats import read_pieces

    if kind == "base":
        made = tokenizers.base_tokenizer()
    elif kind == "kmer":
        made = tokenizers.kmer_tokenizer(k)
    else:
        pieces = (piece.bases.tobytes() for piece in read_pieces(sources, column=column))
        made = tokenizers.train_byte_pair_tokenizer(
            pieces, vocab_size=vocabulary_tokens, max_token_bases=max_token_bases
        )
    partial = output.with_name(f".{os.getpid()}.partial.{output.name}")
    with writing(output):
        try:
            made.save_pretrained(partial)
            try:
                partial.rename(output)
            except OSError as error:
                if output.exists():  # another process was quicker
                    raise OutputExistsError(f"{output}: already exists; choose another folder") from error
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    typer.echo(
        f"{output}: {len(made):,} tokens; to train with it, add "
        f"--set tokenizer.kind=pretrained --set tokenizer.name={output}"
    )
