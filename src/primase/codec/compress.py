"""`primase compress` and `primase decompress`: a FASTA file to a .prm file and back, byte for byte."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import constriction
import numpy as np
import torch

from primase.codec.container import Container, Header, read_container
from primase.codec.fingerprint import machine_facts, model_sha256, tokenizer_sha256
from primase.codec.passes import Coded, code_lanes
from primase.codec.schedule import STRIDE_FRACTION, choose_lanes, cut_lanes, tokens_of_lanes
from primase.errors import InputError, ModelError
from primase.formats import join_fasta, read_fasta_text, split_fasta
from primase.formats.bgzip import write_output
from primase.results import CompressionResult, DecompressionResult
from primase.scoring import LoadedModel, load_model, score_windows
from primase.version import __version__
from primase.whole_files import refuse_existing, refuse_unwritable, write_whole

AGREEMENT = 0.005
"""Payload and parallel pass may differ by so much of the latter; a pass that sees future bases differs by far more."""
CODER_BITS = 64
"""The range coder writes whole words: so much is lost once a file."""

Progress = Callable[[str, float], None]


def compress(
    model: str | Path | LoadedModel,
    source: str | Path,
    output: str | Path,
    *,
    lanes: int | None = None,
    overwrite: bool = False,
    progress: Progress = lambda what, share: None,
) -> CompressionResult:
    """Compress a FASTA file (.gz too) with an arithmetic coder that the model drives, and score it beside.

    `model`: a run, a folder, a Hub name, or a model already loaded. The A, C, G and T of all records, joined, are cut
    into `lanes` parts that are coded side by side (by default as many as the length allows); fewer lanes take less
    space and more time. Everything else goes into a side stream. Range coding is by the library constriction
    (Bamler 2022, arXiv:2201.01741) after Martin (1979).

    Only the same model, versions, device and processor decode the file (see `fingerprint`).

    Raises MissingFileError or InputError for a source that cannot be read or holds no base, OutputExistsError,
    ModelError where the tokenizer cannot spell the bases or the logits are not finite.
    """
    refuse_existing(Path(output), overwrite=overwrite)
    if lanes is not None and lanes < 1:
        raise InputError(f"lanes {lanes}: must be 1 or more")
    text, was_gzip = read_fasta_text(source)
    letters, side = split_fasta(text)
    if not len(letters):
        raise InputError(f"{source}: no A, C, G or T in it, so there is nothing that a model could predict")
    loaded = model if isinstance(model, LoadedModel) else load_model(model)
    loaded.refuse_rounding("compression")
    refuse_unwritable(Path(output))
    windows = cut_lanes(loaded, letters, lanes or choose_lanes(loaded, letters))
    ids = tokens_of_lanes(loaded, windows)
    scored_bits = _scored_bits(loaded, windows, ids, progress)
    begun = time.perf_counter()
    payload, coded = _encode(loaded, ids, progress)
    seconds = time.perf_counter() - begun
    header = _header(loaded, text, letters, ids, coded, len(side), len(payload))
    content = Container(header, side, payload).to_bytes()
    write_whole(Path(output), content)
    difference = 8 * len(payload) - scored_bits
    return CompressionResult(
        model="(in memory)" if isinstance(model, LoadedModel) else str(model),
        source=str(source),
        output=str(output),
        was_gzip=was_gzip,
        text_bytes=len(text),
        bases=len(letters),
        tokens=sum(header.token_counts),
        lanes=len(windows),
        payload_bytes=len(payload),
        side_bytes=len(side),
        total_bytes=len(content),
        payload_bits_per_base=8 * len(payload) / len(letters),
        scored_bits_per_base=scored_bits / len(letters),
        relative_difference=difference / max(scored_bits, 1.0),  # a model may be sure of every token
        agrees=abs(difference) <= AGREEMENT * scored_bits + CODER_BITS,
        proves=abs(difference) <= AGREEMENT * scored_bits,
        two_bit_bytes=-(-len(letters) // 4),
        seconds=seconds,
    )


def decompress(
    model: str | Path | LoadedModel,
    source: str | Path,
    output: str | Path,
    *,
    overwrite: bool = False,
    other_machine: bool = False,
    progress: Progress = lambda what, share: None,
) -> DecompressionResult:
    """Write the FASTA text that `compress` read, or nothing: its SHA-256 is compared before anything is written.

    An `output` that ends in .gz holds the text in gzip.

    The number of threads is that of the encoder meanwhile. `other_machine` tries even where a version or the hardware
    differs; the checksum still guards what is written.

    Raises MissingFileError or InputError for a damaged file, ModelError for another model, tokenizer, version or
    machine, each with both values; OutputExistsError.
    """
    refuse_existing(Path(output), overwrite=overwrite)
    container = read_container(source)
    loaded = model if isinstance(model, LoadedModel) else load_model(model)
    loaded.refuse_rounding("compression")
    header = container.header
    _refuse_other_model(source, header, loaded)
    if not other_machine:
        _refuse_other_machine(source, header, machine_facts(loaded))
    refuse_unwritable(Path(output))
    begun = time.perf_counter()
    with _threads(header.threads):
        ids = _decode(source, loaded, container, progress)
    seconds = time.perf_counter() - begun
    lanes = [loaded.encoder.decode(ids[lane, :count]) for lane, count in enumerate(header.token_counts)]
    letters = np.frombuffer(b"".join(lanes), np.uint8)
    text = join_fasta(letters, container.side) if len(letters) == header.bases else b""
    if hashlib.sha256(text).hexdigest() != header.text_sha256:
        raise _astray(source)
    write_output(Path(output), text)
    return DecompressionResult(output=str(output), text_bytes=len(text), bases=len(letters), seconds=seconds)


def _astray(source: str | Path) -> ModelError:
    return ModelError(
        f"{source}: decoding went astray, and nothing was written: this machine does not compute the same "
        "probabilities as the one that wrote the file; decompress it there"
    )


def _header(
    loaded: LoadedModel,
    text: bytes,
    letters: np.ndarray,
    ids: list[np.ndarray],
    coded: Coded,
    side_bytes: int,
    payload_bytes: int,
) -> Header:
    return Header(
        primase=__version__,
        machine=machine_facts(loaded),
        threads=torch.get_num_threads(),
        model_sha256=model_sha256(loaded),
        tokenizer_sha256=tokenizer_sha256(loaded),
        context_tokens=loaded.context_tokens,
        stride_fraction=STRIDE_FRACTION,
        bases=len(letters),
        text_bytes=len(text),
        text_sha256=hashlib.sha256(text).hexdigest(),
        token_counts=[len(lane_ids) for lane_ids in ids],
        block_checks=coded.checks,
        expected_bits=coded.bits,
        side_bytes=side_bytes,
        payload_bytes=payload_bytes,
    )


def _scored_bits(loaded: LoadedModel, lanes: list[np.ndarray], ids: list[np.ndarray], progress: Progress) -> float:
    """Bits of the tokens of all lanes by the parallel pass, end tokens left out."""
    nats = 0.0
    scores = score_windows(loaded, lanes, stride_fraction=STRIDE_FRACTION)
    progress("scoring in parallel", 0.0)
    for done, (score, lane_ids) in enumerate(zip(scores, ids, strict=True)):
        nats += float(score.nats[: len(lane_ids)].sum())
        progress("scoring in parallel", (done + 1) / len(lanes))
    return nats / math.log(2)


def _encode(loaded: LoadedModel, ids: list[np.ndarray], progress: Progress) -> tuple[bytes, Coded]:
    encoder, family = constriction.stream.queue.RangeEncoder(), _family()
    counts = np.array([len(lane_ids) for lane_ids in ids])
    known = np.zeros((len(ids), counts.max()), np.int32)
    for lane, lane_ids in enumerate(ids):
        known[lane, : len(lane_ids)] = lane_ids

    def choose(probabilities: np.ndarray, lanes: np.ndarray, place: int) -> np.ndarray:
        symbols = known[lanes, place]
        encoder.encode(symbols, family, probabilities)
        return symbols

    coded = code_lanes(
        loaded, counts, STRIDE_FRACTION, choose, on_block=lambda share, check: progress("compressing", share)
    )
    return encoder.get_compressed().astype("<u4").tobytes(), coded


def _decode(source: str | Path, loaded: LoadedModel, container: Container, progress: Progress) -> np.ndarray:
    """Token ids int64 [lanes, longest lane]."""
    header = container.header
    decoder = constriction.stream.queue.RangeDecoder(np.frombuffer(container.payload, "<u4").astype(np.uint32))
    family, checks = _family(), iter(header.block_checks)

    def choose(probabilities: np.ndarray, lanes: np.ndarray, place: int) -> np.ndarray:
        try:
            return decoder.decode(family, probabilities)
        except AssertionError:  # so constriction says that no symbol could have led here
            raise _astray(source) from None

    def on_block(share: float, check: int) -> None:
        progress("decompressing", share)
        if check != next(checks, None):
            raise _astray(source)

    return code_lanes(loaded, np.array(header.token_counts), header.stride_fraction, choose, on_block=on_block).ids


def _family():
    return constriction.stream.model.Categorical(perfect=False)


def _refuse_other_model(source: str | Path, header: Header, loaded: LoadedModel) -> None:
    for name, theirs, ours in (
        ("model", header.model_sha256, model_sha256(loaded)),
        ("tokenizer", header.tokenizer_sha256, tokenizer_sha256(loaded)),
        ("context in tokens", header.context_tokens, loaded.context_tokens),
    ):
        if theirs != ours:
            theirs, ours = (str(value)[:12] for value in (theirs, ours))
            raise ModelError(
                f"{source}: compressed with another model ({name} {theirs}, not {ours}); give the model that made it"
            )


def _refuse_other_machine(source: str | Path, header: Header, machine: dict[str, str]) -> None:
    for name, ours in machine.items():
        theirs = header.machine.get(name)
        if theirs != ours:
            raise ModelError(
                f"{source}: compressed with {name} {theirs}, and here it is {ours}, which changes the last bits of "
                "probabilities; decompress it where they agree, or pass --other-machine to try (a checksum guards it)"
            )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
