"""Bases to tokens: base, k-mer and byte-pair tokenizers as ordinary fast tokenizers of transformers.

A saved folder loads with plain `AutoTokenizer.from_pretrained`; nothing of Primase is needed to read it.
Case, U and ambiguity codes are folded inside the tokenizer. `primase.sequence_encoder` is the fast way to use one.
"""

import itertools
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from primase.dna import AMBIGUITY_CODES
from primase.errors import InputError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = ("[UNK]", "[BOS]", "[EOS]", "[PAD]")
BASE_TOKENS = ("A", "C", "G", "T", "N")
LARGEST_ID = 1 << 22
"""Of a tokenizer made elsewhere; the library reserves memory up to the largest."""

LARGEST_K = 8

# Letters that are read as another one; whatever is neither here nor a base token becomes [UNK].
_AMBIGUOUS = AMBIGUITY_CODES.decode()
FOLDED_LETTERS = {
    "a": "A",
    "c": "C",
    "g": "G",
    "tuU": "T",
    _AMBIGUOUS.replace("N", "") + _AMBIGUOUS.lower(): "N",
}

# The longest word that byte pairs are merged in. Longer ones are slow (encoding took seven times as long with
# a megabase as one word, training three times with 20,000 bases); shorter ones cut more tokens at their ends.
WORD_BASES = 1_000
# Training reads and samples the corpus in blocks of this length.
BLOCK_BASES = 10_000


def base_tokenizer() -> "PreTrainedTokenizerFast":
    """One token a base.

    Ids: [UNK] 0, [BOS] 1, [EOS] 2, [PAD] 3, A 4, C 5, G 6, T 7, N 8. Encoding puts [BOS] in front and
    nothing at the end, for a window cut from a genome has no natural end. Lower case is folded, U is read as T
    and the ambiguity codes of IUPAC as N; any other letter is [UNK].
    """
    return _as_transformers(fixed_length_backend(1))


def kmer_tokenizer(k: int) -> "PreTrainedTokenizerFast":
    """Non-overlapping k-mers, counted from the first base and anew after each N; 2 <= k <= 8.

    What is left before an N or the end, fewer than k bases, is spelled in single bases, so that no sequence
    of bases is unknown. Ids: the nine of `base_tokenizer`, then the 4**k k-mers in lexicographic order (id =
    9 + the k-mer read as a number of base 4).

    Raises ModelError where k is out of range.
    """
    if not 2 <= k <= LARGEST_K:
        raise ModelError(f"no k-mer tokenizer for k = {k}: choose a k of 2 to {LARGEST_K}")
    return _as_transformers(fixed_length_backend(k))


def train_byte_pair_tokenizer(
    sequences: Iterable[str | bytes],
    *,
    vocab_size: int = 4096,
    max_token_bases: int = 16,
    max_training_bases: int = 4_000_000,
    seed: int = 0,
) -> "PreTrainedTokenizerFast":
    """A byte-pair vocabulary learnt from the sequences (Sennrich et al. 2016, doi:10.18653/v1/P16-1162).

    sequences: records of any length, read once; case and IUPAC codes are folded as in `base_tokenizer`.
    vocab_size: tokens at most, the four special ones included; a small corpus may yield fewer.
    max_token_bases: longest token, so that a repeat does not become one.
    max_training_bases: where the sequences hold more, blocks of 10,000 bases drawn evenly with `seed` are
        trained on; this bounds time and memory (about 60 bytes a base).

    A token never spans an N or a multiple of 1,000 bases counted from the start of the window or the last N.
    The first nine ids are those of `base_tokenizer`.

    Raises ModelError where vocab_size leaves no room for a merge, InputError where there are no bases.
    """
    first_merge = len(SPECIAL_TOKENS) + len(BASE_TOKENS)
    if vocab_size <= first_merge:
        raise ModelError(f"a byte-pair vocabulary of {vocab_size} tokens is too small: give {first_merge + 1} or more")
    blocks = _sample(_blocks(sequences), max(1, max_training_bases // BLOCK_BASES), random.Random(seed))
    if not any(base in block for block in blocks for base in "ACGTUacgtu"):
        raise InputError("the sequences to train the tokenizer on hold no A, C, G or T: give it sequences with bases")
    backend = byte_pair_backend()
    backend.train_from_iterator(
        blocks,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=list(BASE_TOKENS),
            limit_alphabet=len(BASE_TOKENS),
            max_token_length=max_token_bases,
            min_frequency=2,
            show_progress=False,
        ),
    )
    merges = [tuple(pair) for pair in json.loads(backend.to_str())["model"]["merges"]]
    # The trainer numbers the single bases alphabetically; ours are A, C, G, T, N in every vocabulary. Two
    # merges may spell the same token, which then has one id.
    spelled = dict.fromkeys((*SPECIAL_TOKENS, *BASE_TOKENS, *(left + right for left, right in merges)))
    backend.model = models.BPE({token: i for i, token in enumerate(spelled)}, merges, unk_token="[UNK]")
    return _as_transformers(backend)


def load_tokenizer(name_or_folder: str | Path) -> "PreTrainedTokenizerFast":
    """The fast tokenizer in a folder, or of that name on the Hub; a folder is read without the network.

    `tokenizer.json` is taken as it is. `AutoTokenizer` may put another one in its place, silently: for a
    folder whose config.json has the model type qwen2 it keeps the vocabulary and replaces the rest
    (transformers 5.23). No code from the folder or the Hub is run.

    Raises ModelError where there is none, where it is broken, and where it needs code of its own.
    """
    from transformers import PreTrainedTokenizerFast

    folder = Path(name_or_folder)
    is_folder = folder.is_dir()
    if is_folder and not (folder / "tokenizer.json").is_file():
        raise ModelError(
            f"{folder}: no tokenizer.json in this folder: write one with save_pretrained of a fast tokenizer"
        )
    if not is_folder and (folder.exists() or not _may_be_hub_name(name_or_folder)):
        raise ModelError(f"{folder}: no such tokenizer folder: give the folder that holds tokenizer.json")
    if is_folder:
        _refuse_harmful(folder / "tokenizer.json")
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(str(name_or_folder), local_files_only=is_folder)
    except Exception as error:  # the Rust library raises plain Exception for a malformed file
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        remedy = "save or download it again" if is_folder else "check the name, the network, or give a folder"
        raise ModelError(f"{name_or_folder}: cannot load a fast tokenizer ({reason}): {remedy}") from error
    if "AutoTokenizer" in (tokenizer.init_kwargs.get("auto_map") or {}):
        raise ModelError(
            f"{name_or_folder}: the tokenizer needs code of its own (auto_map), which Primase does not run: "
            "give one that is complete in tokenizer.json"
        )
    return tokenizer


def _refuse_harmful(file: Path) -> None:
    """Raises ModelError for what would end the program within the Rust library: ids that would fill the memory, and a
    template with a special token that it does not define. All else that is wrong with the file is told by that library.
    """
    try:
        values = json.loads(file.read_text("utf-8"))
        vocabulary, added = values["model"].get("vocab"), values.get("added_tokens") or []
        ids = [*(vocabulary.values() if isinstance(vocabulary, dict) else ()), *(token["id"] for token in added)]
        if max(ids, default=0) > LARGEST_ID:
            raise ModelError(f"{file}: a token with the id {max(ids)}, more than any vocabulary has; save it again")
        processor = values["post_processor"]
        parts = [processor, *processor.get("processors", [])]
        for part in (part for part in parts if part.get("type") == "TemplateProcessing"):
            names = {piece["SpecialToken"]["id"] for piece in part["single"] + part["pair"] if "SpecialToken" in piece}
            if unknown := sorted(names - part["special_tokens"].keys()):
                raise ModelError(f"{file}: the template names {unknown[0]}, which it does not define; save it again")
    except ModelError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return


def _may_be_hub_name(name: str | Path) -> bool:
    return isinstance(name, str) and not name.startswith((".", "/", "~"))


def fixed_length_backend(k: int) -> Tokenizer:
    """The library's tokenizer behind `base_tokenizer` (k = 1) and `kmer_tokenizer` (k >= 2)."""
    kmers = ("".join(bases) for bases in itertools.product("ACGT", repeat=k)) if k > 1 else ()
    vocabulary = {token: i for i, token in enumerate((*SPECIAL_TOKENS, *BASE_TOKENS, *kmers))}
    return _backend(models.WordLevel(vocabulary, unk_token="[UNK]"), f"[ACGT]{{{k}}}")


def byte_pair_backend() -> Tokenizer:
    """The library's tokenizer behind `train_byte_pair_tokenizer`, without a vocabulary."""
    return _backend(models.BPE(unk_token="[UNK]"), f"[ACGT]{{1,{WORD_BASES}}}")


def _backend(model: models.Model, word: str) -> Tokenizer:
    """A tokenizer that folds letters, cuts text into words of that pattern and single letters, adds [BOS]."""
    backend = Tokenizer(model)
    backend.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(f"[{letters}]"), base) for letters, base in FOLDED_LETTERS.items()]
    )
    # [\s\S] and not a dot, which would leave out the line feed.
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(rf"{word}|[\s\S]"), "isolated")
    backend.post_processor = processors.TemplateProcessing(
        single="[BOS] $A",
        pair="[BOS] $A [BOS]:1 $B:1",
        special_tokens=[("[BOS]", SPECIAL_TOKENS.index("[BOS]"))],
    )
    backend.decoder = decoders.Fuse()
    return backend


def _as_transformers(backend: Tokenizer) -> "PreTrainedTokenizerFast":
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        bos_token="[BOS]",
        eos_token="[EOS]",
        pad_token="[PAD]",
        # The causal models of transformers refuse token_type_ids.
        model_input_names=["input_ids", "attention_mask"],
    )


def _blocks(sequences: Iterable[str | bytes]) -> Iterator[str]:
    """The sequences end to end, an N between two, in pieces of BLOCK_BASES letters (the last one shorter)."""
    pending = ""
    for sequence in sequences:
        text = sequence.decode("latin-1") if isinstance(sequence, bytes) else sequence
        pending = f"{pending}N{text}" if pending else text
        whole = len(pending) - len(pending) % BLOCK_BASES
        for start in range(0, whole, BLOCK_BASES):
            yield pending[start : start + BLOCK_BASES]
        pending = pending[whole:]
    if pending:
        yield pending


def _sample(blocks: Iterable[str], count: int, generator: random.Random) -> list[str]:
    """At most `count` of the blocks, each with the same chance, in one pass (algorithm R in Vitter 1985)."""
    kept: list[str] = []
    for seen, block in enumerate(blocks):
        if seen < count:
            kept.append(block)
        elif (place := generator.randrange(seen + 1)) < count:
            kept[place] = block
    return kept
