"""`primase score`: variants of a VCF, or every base of some regions to each other one, to log-likelihood ratios."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from primase import processes
from primase.errors import InputError
from primase.formats import Genome, Region, VariantFile, read_regions
from primase.formats.bgzip import GZIP_SUFFIXES
from primase.formats.output_tables import TABLE_SUFFIXES, require_table_name, writing_table
from primase.formats.variants import index_variants, writing_variants
from primase.scoring import LoadedModel, load_model
from primase.variants.alleles import SCORED
from primase.variants.annotate import COLUMNS, INDEL_Z, Progress, annotate, info_fields
from primase.variants.layout import layout_for
from primase.variants.picture import require_picture, write_picture
from primase.variants.result import ScoreResult
from primase.variants.saturation import SATURATION_COLUMNS, saturate
from primase.variants.strands import StrandScorer
from primase.variants.survey import Survey
from primase.whole_files import refuse_existing, refuse_unwritable, written_whole

VARIANT_SUFFIXES = (".vcf", ".vcf.gz", ".vcf.bgz")
INDEL_NULLS = 20

UNSORTED = "the records are not sorted by contig and position"
TOO_FAR = "htslib could make none; a record may end farther than an index reaches"
"""Why a bgzip VCF has no index."""


def score(
    model: str | Path | LoadedModel,
    *,
    genome: str | Path | Sequence[str | Path],
    vcf: str | Path | None = None,
    regions: str | Path | Sequence[str | Path] = (),
    output: str | Path | None = None,
    table: str | Path | None = None,
    picture: str | Path | None = None,
    context_bases: int | None = None,
    after_bases: int | None = None,
    token_scores: bool = False,
    indel_nulls: int = INDEL_NULLS,
    strict_ref: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda what, share: None,
) -> ScoreResult:
    """Score the variants of `vcf`, or every change of one base in `regions`, and write the scores.

    A score is ln p(window with the alternative) - ln p(window), summed over the bases from the window's begin to
    `after_bases` behind the variant, on the forward strand, the reverse complement, and the mean of the two. `model`: a
    run, a folder, a Hub name, or a model already loaded. `output` is a .vcf or .vcf.gz (then with an index, where it is
    sorted), or a table (.tsv, .csv, .parquet); `table` is a further one. `regions` are in the notation of samtools, or
    BED files; of one region `picture` draws the scores (.png, .svg). `token_scores` adds up whole tokens of one reading
    in place of single bases. `indel_nulls` random changes of the same lengths are scored beside each indel.

    Several processes share the work and write the bytes of one. Nothing is left at the outputs unless all went well.
    Raises InputError for files that cannot be used or do not belong together, OutputExistsError, ModelError.
    """
    processes.start()
    regions = [regions] if isinstance(regions, str | Path) else list(regions)
    if (vcf is None) == (not regions):
        raise InputError("give either the variants (--vcf) or the regions to change base by base (--regions)")
    outputs = _Outputs.of(output, table, picture, has_vcf=vcf is not None)
    for file in outputs.files:
        refuse_existing(file, overwrite=overwrite)
    variants = VariantFile(vcf) if vcf is not None else None
    named = read_regions(regions) if variants is None else []
    if outputs.picture:
        require_picture(outputs.picture, named)
    with Genome(genome, progress=lambda bases: progress("reading the genome", 0.0)) as opened:
        survey = Survey(variants, opened, strict_ref=strict_ref) if variants else None
        named = [opened.place(region) for region in named]
        loaded = model if isinstance(model, LoadedModel) else load_model(model)
        loaded.refuse_rounding("the score of a variant")
        layout = layout_for(loaded, context_bases, after_bases)
        for file in outputs.files:
            processes.by_main(lambda file=file: refuse_unwritable(file))
        scorer = StrandScorer(loaded, opened, layout, token_scores=token_scores)
        task = _Task("(in memory)" if isinstance(model, LoadedModel) else str(model), opened, scorer, outputs, progress)
        if survey:
            return task.variants(survey, token_scores, indel_nulls)
        return task.regions(named, token_scores)


@dataclass(frozen=True)
class _Outputs:
    """The files to write, by what they hold."""

    vcf: Path | None
    tables: list[Path]
    picture: Path | None

    @classmethod
    def of(
        cls, output: str | Path | None, table: str | Path | None, picture: str | Path | None, *, has_vcf: bool
    ) -> "_Outputs":
        """Raises InputError for a name that stands for nothing that could be written."""
        vcf, tables = None, []
        if output is not None and str(output).endswith(VARIANT_SUFFIXES):
            vcf = Path(output)
            if not has_vcf:
                raise InputError(f"{output}: regions become a table; choose {', '.join(TABLE_SUFFIXES)}")
        elif output is not None:
            if Path(output).suffix not in TABLE_SUFFIXES and has_vcf:
                names = ", ".join((*VARIANT_SUFFIXES, *TABLE_SUFFIXES))
                raise InputError(f"{output}: scores are written as {names}; choose one of these endings")
            tables.append(Path(output))
        if table is not None:
            tables.append(Path(table))
        for file in tables:
            require_table_name(file)
        if vcf is None and not tables:
            raise InputError("nothing to write; give --output, or --table")
        if len({os.path.abspath(file) for file in tables}) < len(tables):
            raise InputError(f"{tables[0]}: named twice; --table is a further file")
        if picture is not None and has_vcf:
            raise InputError(f"{picture}: the picture is of a region; give --regions in place of --vcf")
        return cls(vcf, tables, Path(picture) if picture is not None else None)

    @property
    def files(self) -> list[Path]:
        return [file for file in (self.vcf, *self.tables, self.picture) if file is not None]


@dataclass(frozen=True)
class _Task:
    model: str
    genome: Genome
    scorer: StrandScorer
    outputs: _Outputs
    progress: Progress

    def variants(self, survey: Survey, token_scores: bool, likes: int) -> ScoreResult:
        begun = time.perf_counter()
        fields = info_fields(self.model, self.scorer.layout, token_scores, likes)
        with ExitStack() as stack:
            writer = index = no_index = None
            files = self._tables(stack)
            if self.outputs.vcf and processes.is_main():
                partial = stack.enter_context(written_whole(self.outputs.vcf))
            with ExitStack() as writing:  # all files are complete when it ends, and then take their places
                if self.outputs.vcf and processes.is_main():
                    header = survey.variants.header
                    writer = writing.enter_context(writing_variants(partial, header, fields, replaced=[INDEL_Z]))
                tally = annotate(
                    survey.variants,
                    self.genome,
                    self.scorer,
                    likes=likes,
                    alternatives=survey.alternatives,
                    writer=writer,
                    tables=[writing.enter_context(writing_table(file, COLUMNS)) for file in files],
                    progress=self.progress,
                )
            if writer:
                index, no_index = stack.enter_context(_indexed(partial, self.outputs.vcf, writer.is_sorted))
        tally = processes.by_main(lambda: tally)
        counts = {status: count for status, count in tally.statuses.items() if status != SCORED}
        scored = tally.statuses[SCORED]
        return self._result(
            token_scores,
            begun,
            index=str(index) if index else None,
            no_index=no_index,
            records=survey.records,
            alternatives=survey.alternatives,
            without_alternative=survey.without_alternative,
            scored=scored,
            **counts,
            renamed_contigs=survey.renamed,
            absent_contigs=list(survey.absent),
            indels_with_z=tally.indels_with_z,
            mean_llr_nats=tally.total_nats / scored if scored else None,
        )

    def regions(self, regions: list[Region], token_scores: bool) -> ScoreResult:
        begun = time.perf_counter()
        with ExitStack() as stack:
            files, picture = self._tables(stack), None
            if self.outputs.picture and processes.is_main():
                picture = stack.enter_context(written_whole(self.outputs.picture))
            with ExitStack() as writing:  # all files are complete when it ends, and then take their places
                tables = [writing.enter_context(writing_table(file, SATURATION_COLUMNS)) for file in files]
                found = saturate(self.genome, self.scorer, regions, tables=tables, progress=self.progress)
                found = processes.by_main(lambda: found)
                if not found.alternatives:
                    raise InputError("no A, C, G or T in the regions; nothing to change")
                if picture:
                    write_picture(picture, regions[0], found.letters, found.nats, self.model)
        return self._result(
            token_scores,
            begun,
            picture=str(self.outputs.picture) if self.outputs.picture else None,
            records=found.bases,
            alternatives=found.alternatives,
            scored=found.scored,
            no_room=found.alternatives - found.scored,
            mean_llr_nats=found.total_nats / found.scored if found.scored else None,
        )

    def _tables(self, stack: ExitStack) -> list[Path]:
        """What to write the tables to; they take their places as the stack ends."""
        return [
            stack.enter_context(written_whole(file)) for file in (self.outputs.tables if processes.is_main() else ())
        ]

    def _result(self, token_scores: bool, begun: float, **counts) -> ScoreResult:
        layout, tables = self.scorer.layout, list(self.outputs.tables)
        output = self.outputs.vcf or tables.pop(0)
        return ScoreResult(
            model=self.model,
            output=str(output),
            table=str(tables[0]) if tables else None,
            token_scores=token_scores,
            shares_passes=self.scorer.shares_passes,
            before_bases=layout.before_bases,
            after_bases=layout.after_bases,
            cell_bases=layout.cell_bases,
            seconds=time.perf_counter() - begun,
            **counts,
        )


@contextmanager
def _indexed(partial: Path, vcf: Path, is_sorted: bool) -> Iterator[tuple[Path | None, str | None]]:
    """Where the index of a bgzip VCF will be, or why it has none; an index of what was there before is removed."""
    old = [vcf.with_name(f"{vcf.name}{suffix}") for suffix in (".tbi", ".csi")]
    made = why_not = None
    if partial.suffix in GZIP_SUFFIXES:
        made = index_variants(partial) if is_sorted else None
        if not made:
            why_not = TOO_FAR if is_sorted else UNSORTED
    final = vcf.with_name(f"{vcf.name}{made.suffix}") if made else None
    try:
        yield final, why_not
        for file in old:
            file.unlink(missing_ok=True)
        if made:
            made.replace(final)
    finally:
        if made:
            made.unlink(missing_ok=True)
