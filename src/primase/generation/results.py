"""What `primase generate` returns: the sequences, and their quality beside that of real DNA and of counting."""

from pydantic import Field

from primase.results import Result


class GeneratedSequence(Result):
    """One sequence, with what it was drawn from and what it is like."""

    name: str
    sequence: str = Field(repr=False)
    """Left flank, prompt, drawn bases, right flank."""
    prompt: str | None
    """Name of the prompt's record, where it came from a file."""
    drawn_start: int
    drawn_end: int
    """0-based half-open place of the drawn bases in the sequence."""
    motif_start: int | None
    """0-based place of the required motif in the sequence."""
    attempts: int
    """Draws that it took to meet the constraints; 1 is the first."""
    gc_share: float
    """Of the whole sequence."""
    bits_per_base: float
    """Of the drawn bases, by the model itself."""
    longest_copy_bases: int | None
    """Longest stretch of the drawn bases that stands letter for letter in the training genome, on either strand."""


class SampleQuality(Result):
    """A set of sequences of the same number and lengths."""

    kind: str
    """generated, held-out or markov."""
    name: str
    sequences: int
    bases: int
    gc_share: float
    bits_per_base: float
    """By the model that generates: mean over all bases."""
    spectrum_divergence_bits: float | None
    """Jensen-Shannon divergence of the k-mer spectrum from the training genome's, 0 to 1 bit."""
    longest_copy_bases: int | None
    """Longest exact copy of the training genome in any of the sequences, on either strand."""
    median_copy_bases: float | None
    """Median over sequences of the longest exact copy in each."""


class Generation(Result):
    """Sequences drawn from a model, and a table of their quality."""

    schema_version: int = 1
    model: str
    output: str | None
    seed: int
    temperature: float
    top_k: int | None
    top_p: float | None
    gc: tuple[float, float] | None
    forbid: list[str]
    motif: str | None
    drawn_bases: int
    retries: int
    """Draws that were thrown away, over all sequences, because no token suited the constraints."""
    seconds: float
    """Of the drawing alone."""
    bases_per_second: float
    compared_with: str | None
    """Where the training genome was read."""
    spectrum_bases: int | None
    """k of the k-mer spectrum."""
    quality: list[SampleQuality]
    """The drawn bases first, then the yardsticks."""
    sequences: list[GeneratedSequence]
