"""primase score: variants, or every base of a region, to log-likelihood ratios."""

from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display, duration
from primase.cli.record_names import few, other_names
from primase.cli.writing import writing


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model folder, or a Hub name.")],
    genome: Annotated[
        Path, typer.Option(metavar="FASTA", help="The genome that the variants were called on (.gz too).")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="A .vcf or .vcf.gz; or a .tsv, .csv or .parquet table."),
    ],
    vcf: Annotated[Path | None, typer.Option(metavar="FILE", help="Variants: VCF (.gz too) or BCF.")] = None,
    regions: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REGION", help="In place of a VCF: change each base here. chr1:101-200, or a BED file. Repeatable."
        ),
    ] = None,
    table: Annotated[Path | None, typer.Option(metavar="FILE", help="A table beside the VCF.")] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A .png or .svg of one region: heat map and logo.")
    ] = None,
    context_bases: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="BASES", help="Bases before a variant, at least (1,024, or what fits the context)."
        ),
    ] = None,
    after_bases: Annotated[
        int | None,
        typer.Option(min=1, metavar="BASES", help="Bases priced after it, and the longest allele (64)."),
    ] = None,
    token_scores: Annotated[
        bool, typer.Option("--token-scores", help="Add up whole tokens, not single bases.")
    ] = False,
    indel_nulls: Annotated[
        int,
        typer.Option(min=0, max=1000, metavar="NUMBER", help="Random changes as long as an indel, scored beside it."),
    ] = 20,
    strict_ref: Annotated[
        bool, typer.Option("--strict-ref", help="Stop at a REF that the genome does not have.")
    ] = False,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Score variants, indels too, or each change of a region.

    The log-likelihood ratio (nats) of the alternative against the reference, on both strands and their mean: negative
    where the model finds the alternative less likely. Into the INFO column of the VCF, or a table.
    """
    from primase.variants.score import score

    with writing(output), Display() as display:
        result = score(
            model,
            genome=genome,
            vcf=vcf,
            regions=regions or (),
            output=output,
            table=table,
            picture=picture,
            context_bases=context_bases,
            after_bases=after_bases,
            token_scores=token_scores,
            indel_nulls=indel_nulls,
            strict_ref=strict_ref,
            overwrite=overwrite,
            progress=display.stage,
        )
    typer.echo(result.model_dump_json(indent=2) if as_json else "\n".join(lines(result)))


def lines(result) -> list[str]:
    """A `primase.variants.result.ScoreResult` as text."""
    rate = result.scored / result.seconds if result.seconds else 0.0
    said = [
        f"{result.output}: {result.scored:,} of {result.alternatives:,} alternatives scored, "
        f"{duration(result.seconds)} ({rate:,.0f}/s)"
    ]
    if result.mean_llr_nats is not None:
        said.append(
            f"mean log-likelihood ratio {result.mean_llr_nats:.3f} nats; {result.before_bases:,} bases or more before "
            f"each variant (less at the ends of a record), {result.after_bases:,} after"
        )
    for count, what in (
        (result.symbolic, "not of A, C, G, T (symbolic, *, breakend, N)"),
        (result.ref_mismatch, "with a REF that the genome does not have (PRIMASE_REF_MISMATCH)"),
        (result.past_end, "past the end of their contig"),
        (result.no_contig, f"on contigs that the genome does not have ({few(result.absent_contigs)})"),
        (result.too_long, f"longer than {result.after_bases:,} bases (--after-bases)"),
        (result.no_room, "with too many N before them"),
    ):
        if count:
            said.append(f"not scored: {count:,} {what}")
    if result.without_alternative:
        plural = "s" if result.without_alternative != 1 else ""
        said.append(f"not scored: {result.without_alternative:,} record{plural} without an alternative (ALT is a dot)")
    if result.renamed_contigs:
        said.append(f"contigs by another name in the genome: {other_names(result.renamed_contigs)}")
    if result.no_index:
        said.append(f"no index: {result.no_index}")
    if not result.shares_passes:
        said.append("this model's windows could not be shared by their variants: scored one by one")
    said.extend(f"{file}: written" for file in (result.index, result.table, result.picture) if file)
    return said
