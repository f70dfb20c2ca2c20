"""What `primase embed` reports."""

from pydantic import Field

from primase.results import Result


class EmbedResult(Result):
    """The vectors of a file."""

    schema_version: int = 1
    model: str
    output: str
    shape: list[int]
    """[sequences, width]; with layer `all` [sequences, layers + 1, width]."""
    layer: int | str
    pooling: str
    both_strands: bool
    precision: str
    """fp32, or bf16 where it was asked for."""
    unknown_tokens: int
    """Tokens that the tokenizer could not spell, of the sequences that were embedded in this start."""
    renamed_records: dict[str, str] = Field(default={})
    """Records of the regions that the genome has by another name, as 1 and chr1."""
    seconds: float

    @property
    def sequences(self) -> int:
        return self.shape[0]
