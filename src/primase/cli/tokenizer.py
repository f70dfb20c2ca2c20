"""primase tokenizer: write a tokenizer folder without training a model."""

from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.errors import InputError, OutputExistsError


def command(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="base, kmer or byte-pair.")],
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="[GENOME...]", help="What byte-pair is trained on.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")] = Path("tokenizer"),
    k: Annotated[int, typer.Option(min=2, max=8, help="Bases a token (kmer).")] = 3,
    vocabulary_tokens: Annotated[
        int, typer.Option(min=32, max=65_536, help="Size of the vocabulary (byte-pair).")
    ] = 4096,
    max_token_bases: Annotated[int, typer.Option(min=2, help="Longest token (byte-pair).")] = 16,
    column: options.Column = None,
) -> None:
    """Write a tokenizer that AutoTokenizer loads without this package."""
    from primase import tokenizers
    from primase.formats import read_pieces

    if output.exists():
        raise OutputExistsError(f"{output}: already exists; choose another folder")
    if kind == "base":
        made = tokenizers.base_tokenizer()
    elif kind == "kmer":
        made = tokenizers.kmer_tokenizer(k)
    elif kind == "byte-pair" and sources:
        pieces = (piece.bases.tobytes() for piece in read_pieces(sources, column=column))
        made = tokenizers.train_byte_pair_tokenizer(
            pieces, vocab_size=vocabulary_tokens, max_token_bases=max_token_bases
        )
    else:
        raise InputError("the kinds are base, kmer, and byte-pair, which needs sequences to be trained on")
    made.save_pretrained(output)
    typer.echo(
        f"{output}: {len(made):,} tokens; set tokenizer.kind=pretrained tokenizer.name={output} to train with it"
    )
