"""What `primase score` returns: counts and units; the scores themselves are in the files it writes."""

from pydantic import Field

from primase.results import Result


class ScoreResult(Result):
    """Scores are natural-log likelihood ratios (nats), alternative against reference: negative is less likely."""

    schema_version: int = 1
    model: str
    output: str | None
    table: str | None
    picture: str | None = None
    index: str | None = None
    """The .tbi or .csi file; None for text, or where there is a `no_index`."""
    no_index: str | None = None
    """Why a .vcf.gz has none."""
    records: int
    """Of the VCF; in saturation mutagenesis, bases that were changed."""
    alternatives: int
    scored: int
    without_alternative: int = 0
    """Records whose ALT is a dot."""
    symbolic: int = 0
    """Alternatives that are no A, C, G, T: <DEL>, *, breakends."""
    ref_mismatch: int = 0
    """Alternatives of records whose REF is not what the genome has there."""
    no_contig: int = 0
    past_end: int = 0
    too_long: int = 0
    """Alternatives with an allele of more than `after_bases`."""
    no_room: int = 0
    """Alternatives whose context is full of N."""
    renamed_contigs: dict[str, str] = Field(default={})
    """Contigs of the VCF that the genome has under another name, as 1 for chr1."""
    absent_contigs: list[str] = Field(default=[])
    indels_with_z: int = 0
    token_scores: bool
    shares_passes: bool
    """Whether the windows were read once for all their changes."""
    before_bases: int
    after_bases: int
    cell_bases: int
    mean_llr_nats: float | None
    """Over all alternatives scored, mean of the strands."""
    seconds: float
    """Of the scoring alone."""
