"""`primase generate`: constraints, drawing, the quality table, and a FASTA file."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from primase.errors import InputError
from primase.formats import read_records
from primase.formats.bgzip import write_output
from primase.generation.constraints import Constraints, only_bases
from primase.generation.draw import Drawer, Drawn
from primase.generation.quality import Measured, quality_table, training_genome
from primase.generation.results import GeneratedSequence, Generation
from primase.generation.sampling import Sampling
from primase.generation.yardsticks import SPECTRUM_BASES
from primase.scoring import LoadedModel, load_model
from primase.whole_files import refuse_existing, refuse_unwritable

LINE_BASES = 80
BATCH_SEQUENCES = 64


def generate(
    model: str | Path | LoadedModel,
    output: str | Path | None = None,
    *,
    bases: int,
    count: int = 1,
    prompt: str | None = None,
    prompts: str | Path | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    gc: tuple[float, float] | None = None,
    forbid: Sequence[str] = (),
    motif: str | None = None,
    motif_at: int | None = None,
    left_flank: str = "",
    right_flank: str = "",
    seed: int = 0,
    compare_with: Sequence[str | Path] = (),
    batch_sequences: int = BATCH_SEQUENCES,
    overwrite: bool = False,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> Generation:
    """Draw `count` sequences of `bases` new bases from a model, and write them to `output`, if given: FASTA, .gz too.

    `model`: a run, a folder, a Hub name, or a model already loaded. A sequence is left flank, prompt, drawn bases,
    right flank; the model reads what stands on the left. `prompts`: a file of prompts, `count` sequences for each.
    `gc`: range of the share of G and C in the whole sequence. `forbid`: names of restriction enzymes, or sites in IUPAC
    codes, that stand nowhere in a sequence on either strand. `motif` (IUPAC codes) stands at `motif_at`, counted from
    the first drawn base, or at a place that is drawn. Tokens that spell anything but A, C, G, T are never drawn.

    The table of quality compares with the run's training part, or with the files of `compare_with`. The same seed gives
    the same sequences whatever `batch_sequences` is, but for rounding: where logits of another batch differ in
    their last bits, about one draw in a million may fall to the other side.

    Raises InputError where a value cannot be used or constraints exclude each other, ModelError, OutputExistsError.
    """
    output = _checked_output(output, overwrite=overwrite)
    if count < 1 or batch_sequences < 1:
        raise InputError(f"count {count}, batch_sequences {batch_sequences}: must be 1 or more")
    if seed < 0:
        raise InputError(f"seed {seed}: must be 0 or more")
    sampling = Sampling(temperature, top_k, top_p)
    constraints = Constraints.checked(
        bases,
        gc=gc,
        forbid=tuple(forbid),
        motif=motif,
        motif_at=motif_at,
        left_flank=left_flank,
        right_flank=right_flank,
    )
    named = _prompts(prompt, prompts)
    for name, text in named:
        _checked_prompt(constraints, name, text)
    genome = training_genome(model, compare_with)
    loaded = model if isinstance(model, LoadedModel) else load_model(model)
    loaded.refuse_rounding("generation")
    drawer = Drawer(loaded, constraints, sampling, seed)
    if output is not None:
        refuse_unwritable(output)
    wanted = [(name, text) for name, text in named for _ in range(count)]
    begun = time.perf_counter()
    drawn = drawer.draw(
        [text for _, text in wanted], batch_sequences, lambda done: progress("drawing", done / len(wanted))
    )
    seconds = time.perf_counter() - begun
    places = [_drawn_place(one) for one in drawn]
    quality, figures = quality_table(loaded, [one.text for one in drawn], places, genome, seed, progress)
    result = Generation(
        model="(in memory)" if isinstance(model, LoadedModel) else str(model),
        output=None if output is None else str(output),
        seed=seed,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        gc=gc,
        forbid=list(forbid),
        motif=motif,
        drawn_bases=bases * len(drawn),
        retries=sum(one.attempts - 1 for one in drawn),
        seconds=seconds,
        bases_per_second=bases * len(drawn) / seconds,
        compared_with=None if genome is None else genome.name,
        spectrum_bases=None if genome is None else SPECTRUM_BASES,
        quality=quality,
        sequences=_sequences(drawn, [name for name, _ in wanted], figures),
    )
    if output is not None:
        write_output(output, fasta(result))
    return result


def fasta(result: Generation) -> bytes:
    """The sequences as FASTA; a header has the name, and behind it the settings and figures as key=value."""
    settings = {"model": result.model.replace(" ", "_"), "seed": result.seed, "temperature": f"{result.temperature:g}"}
    settings |= {"top_k": result.top_k, "top_p": result.top_p, "motif": result.motif}
    if result.gc:
        settings["gc_range"] = f"{result.gc[0]:g}-{result.gc[1]:g}"
    settings["forbid"] = ",".join(result.forbid) or None
    lines = []
    for one in result.sequences:
        figures = {
            "prompt": one.prompt and "_".join(one.prompt.split()),
            "drawn": f"{one.drawn_start}-{one.drawn_end}",
            "motif_start": one.motif_start,
            "attempts": one.attempts,
            "gc": f"{one.gc_share:.4f}",
            "bits_per_base": f"{one.bits_per_base:.4f}",
            "longest_copy": one.longest_copy_bases,
        }
        said = " ".join(f"{key}={value}" for key, value in (settings | figures).items() if value is not None)
        lines.append(f">{one.name} {said}")
        lines.extend(one.sequence[start : start + LINE_BASES] for start in range(0, len(one.sequence), LINE_BASES))
    return ("\n".join(lines) + "\n").encode()


def _checked_output(output: str | Path | None, *, overwrite: bool) -> Path | None:
    if output is None:
        return None
    output = Path(output)
    refuse_existing(output, overwrite=overwrite)
    return output


def _prompts(prompt: str | None, prompts: str | Path | None) -> list[tuple[str | None, bytes]]:
    """Name and bases of each prompt; one without a name where no file was given."""
    if prompt is not None and prompts is not None:
        raise InputError("a prompt and a file of prompts: give one of them")
    if prompts is None:
        return [(None, only_bases(prompt or "", "prompt"))]
    records = read_records([prompts])
    return [(record.name, only_bases(record.sequence, f"{prompts}: record {record.name}")) for record in records]


def _checked_prompt(constraints: Constraints, name: str | None, text: bytes) -> None:
    try:
        constraints.check_prompt(text)
    except InputError as error:
        raise error if name is None else InputError(f"prompt {name}: {error}") from None


def _drawn_place(drawn: Drawn) -> tuple[int, int]:
    plan = drawn.plan
    return len(plan.given) + plan.first_drawn, len(plan.given) + plan.end


def _sequences(drawn: list[Drawn], prompt_names: list[str | None], figures: Measured) -> list[GeneratedSequence]:
    """Numbered by the name of their prompt, which several prompts may have."""
    sequences = []
    numbers: Counter[str] = Counter()
    for number, (one, prompt) in enumerate(zip(drawn, prompt_names, strict=True)):
        start, end = _drawn_place(one)
        name = "_".join((prompt or "generated").split())
        numbers[name] += 1
        sequences.append(
            GeneratedSequence(
                name=f"{name}_{numbers[name]}",
                sequence=one.text.decode(),
                prompt=prompt,
                drawn_start=start,
                drawn_end=end,
                motif_start=one.plan.motif_start,
                attempts=one.attempts,
                gc_share=float(figures.gc_share[number]),
                bits_per_base=float(figures.bits[number]) / (end - start),
                longest_copy_bases=None if figures.copies is None else int(figures.copies[number]),
            )
        )
    return sequences
