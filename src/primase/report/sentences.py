"""What the figures mean, in sentences for a biologist: the verdict, what to beware of, the split, the tokenizer."""

from typing import Any

from primase.report import figures
from primase.report.figures import bits, count, percent, plural
from primase.report.gather import Findings
from primase.report.predictors import GUESSING_BITS, excludes_zero, is_certain, short_name, strongest
from primase.results import FEWEST_BLOCKS, MUCH_LEAKAGE, Evaluation, Leakage, Rival, Routing


def headline(findings: Findings) -> str:
    """The verdict in one sentence without a technical word that is not explained beside it."""
    evaluation = findings.evaluation
    if evaluation is not None:
        return _verdict(evaluation)
    best = findings.course.best
    if not findings.course.training:
        return "This run has not been trained yet."
    if best is None:
        return "This model was trained and has not been measured: what it is worth is not known yet."
    return (
        f"This model was trained and has not been measured on held-out DNA yet; on the validation part, which the "
        f"training itself looks at, it reached {bits(best.bits_per_base)} bits per base."
    )


def _verdict(evaluation: Evaluation) -> str:
    rival = strongest(evaluation)
    if rival is None:
        return f"This model needs {bits(evaluation.forward.bits_per_base)} bits for each base it has not seen."
    name = _with_article(evaluation, rival)
    margin = f"{abs(rival.model_advantage_millibits):,.1f} thousandths of a bit per base"
    better = rival.model_advantage_millibits > 0
    if better and rival.kind == "uniform":
        said = f"This model predicts DNA better than guessing, by {margin}; no stronger rival was measured"
    elif better and is_certain(evaluation, rival):
        said = (
            f"This model has learned more about this DNA than {_deed(rival)} can tell: it is better than {name}, its "
            f"strongest rival, by {margin}, and chance does not explain the difference"
        )
    elif better:
        said = f"This model did better than {name}, its strongest rival, by {margin}, but {_doubt(evaluation)}"
    elif is_certain(evaluation, rival):
        said = f"This model is no better than {_deed(rival)}: {name} predicts the same bases better, by {margin}"
    else:
        said = f"This model has not shown that it is better than {_deed(rival)}: {name} is ahead by {margin}, but "
        said += _doubt(evaluation)
    if evaluation.forward.bits_per_base > GUESSING_BITS:
        said += "; it is even worse than guessing"
    return said + "."


def _doubt(evaluation: Evaluation) -> str:
    if evaluation.bootstrap_blocks < FEWEST_BLOCKS:
        return f"{plural(evaluation.bootstrap_blocks, 'stretch', 'stretches')} of the genome are too few to be sure"
    return "the difference may be chance"


def _with_article(evaluation: Evaluation, rival: Rival) -> str:
    name = short_name(evaluation, rival.kind)
    return {"markov": f"the best counting model ({name})", "copy-mixture": "the copy mixture"}.get(rival.kind, name)


def _deed(rival: Rival) -> str:
    """What a rival does, as a verb."""
    return {"markov": "counting short words", "copy-mixture": "counting and copying"}.get(rival.kind, "guessing")


def way_to_the_best(evaluation: Evaluation) -> str | None:
    """For a simulated genome: the share of the way from the strongest rival to the best possible."""
    rival, source = strongest(evaluation), evaluation.rival("source")
    best = source.bits_per_base if source else evaluation.true_entropy_bits_per_base
    if rival is None or best is None or rival.bits_per_base <= best:
        return None
    share = (rival.bits_per_base - evaluation.forward.bits_per_base) / (rival.bits_per_base - best)
    name = _with_article(evaluation, rival)
    if share <= 0:
        return f"The best possible is {bits(best)}; the model has not left {name} behind on the way there."
    return f"The best possible is {bits(best)}: the model went {share:.0%} of the way there from {name}."


def cautions(findings: Findings) -> list[str]:
    """What to know before the headline is quoted."""
    said: list[str] = []
    evaluation, leakage, checks = findings.evaluation, findings.leakage, findings.checks
    if checks is not None and not checks.passed:
        failed = figures.listed([check.name for check in checks.checks if not check.passed])
        said.append(
            f"A self-test failed ({failed}). Until the reason is known, the figures on this page prove nothing."
        )
    if evaluation is not None:
        said += _cautions_of_the_measurement(evaluation)
        if evaluation.routing is not None and not evaluation.routing.learns:
            said.append(
                "A router gets no gradient: it sends tokens to experts as it did before the training, and the model "
                "cannot use its experts for different kinds of DNA."
            )
    if leakage is not None and leakage.half_kmers_share > MUCH_LEAKAGE:
        said.append(
            f"{percent(leakage.half_kmers_share)} of the held-out windows have at least half of their words in the "
            "training part too, so a good figure can come from memory."
        )
    return said


def _cautions_of_the_measurement(evaluation: Evaluation) -> list[str]:
    said: list[str] = []
    if evaluation.split_strategy == "random":
        said.append(
            "The windows were split at random, so the neighbours of a held-out window were trained on. The figures of "
            "all predictors are too good."
        )
    if evaluation.part == "validation":
        said.append(
            "Nothing was held out: these figures are of the validation part, which also chose the moment at which the "
            "model was kept. They are a little too good."
        )
    if evaluation.bootstrap_blocks < FEWEST_BLOCKS:
        said.append(
            f"The intervals come from {plural(evaluation.bootstrap_blocks, 'stretch', 'stretches')} of the genome; "
            f"with fewer than {FEWEST_BLOCKS} they say little."
        )
    if evaluation.unknown_tokens:
        said.append(
            f"{plural(evaluation.unknown_tokens, 'token')} of {count(evaluation.tokens)} could not be spelled by the "
            "tokenizer."
        )
    return said


def split_in_words(findings: Findings) -> str:
    """What was held out, and how."""
    split = (findings.corpus or {}).get("split") or findings.recipe.split.model_dump()
    strategy = split.get("strategy")
    if strategy == "records":
        return f"Whole records (chromosomes or contigs) were held out{_some_of(split.get('heldout_records'))}."
    if strategy == "blocks":
        return (
            f"Contiguous stretches of {count(split.get('block_bases', 0))} bases were held out, with at least "
            f"{count(split.get('gap_bases', 0))} unused bases between them and what was trained on."
        )
    if strategy == "regions":
        return (
            f"Regions that were named were held out{_some_of(split.get('heldout_regions'))}, with "
            f"{count(split.get('gap_bases', 0))} unused bases around them."
        )
    if strategy == "homology":
        return (
            "Stretches of the genome that resemble each other were kept together, and whole groups of them were held "
            "out, so that what was held out has no near copy, by that measure, in what was trained on."
        )
    if strategy == "random":
        return "Single windows were held out at random; their neighbours were trained on, so the figures are too good."
    return "The split was left to the program (auto)."


def _some_of(names: Any) -> str:
    """': chrIV and chrXVI', the first dozen of many; nothing where no name is known."""
    if not isinstance(names, list | tuple) or not names:
        return ""
    more = [f"{len(names) - 12} more"] if len(names) > 12 else []
    return f": {figures.listed([*map(str, names[:12]), *more])}"


def tokenizer_in_words(findings: Findings) -> str:
    settings = findings.recipe.tokenizer
    vocabulary = findings.config.get("vocab_size")
    size = f" ({count(vocabulary)} different tokens)" if isinstance(vocabulary, int) else ""
    return {
        "base": f"Each base is a token{size}.",
        "kmer": f"Each {settings.k} neighbouring bases are a token{size}; they do not overlap.",
        "byte-pair": f"Byte pairs{size}: frequent stretches of DNA, up to {settings.max_token_bases} bases.",
        "pretrained": f"The tokenizer {settings.name}{size}, which was made elsewhere.",
    }[settings.kind]


def architecture_in_words(findings: Findings) -> str:
    """Layers, width and experts from the configuration; the recipe's name for it where there is no final model."""
    config, settings = findings.config, findings.recipe.model
    if not config:
        return settings.preset or settings.config or "not known"
    said = f"{config.get('model_type', 'unknown')}, {plural(config.get('num_hidden_layers', 0), 'layer')} of width "
    said += f"{count(config.get('hidden_size', 0))}, {plural(config.get('num_attention_heads', 0), 'attention head')}"
    experts = config.get("num_local_experts") or config.get("num_experts")
    if experts:
        said += f", {plural(experts, 'expert')} a layer, {config.get('num_experts_per_tok', '?')} for each token"
    return said


def leakage_in_words(leakage: Leakage) -> str:
    if leakage.half_kmers_share == 0 and leakage.exact_copy_share == 0:
        return "No window that was looked at stands in the training part, and none shares half of its words with it."
    return (
        f"{percent(leakage.exact_copy_share)} of the windows stand letter for letter in the training part, and "
        f"{percent(leakage.half_kmers_share)} share at least half of their words with it."
    )


def routing_in_words(routing: Routing) -> str:
    dead = sum(layer.dead_experts for layer in routing.layers)
    total = routing.experts * len(routing.layers)
    said = (
        f"Each token is sent to {routing.experts_per_token} of {count(routing.experts)} experts in each of "
        f"{plural(len(routing.layers), 'layer')}. "
    )
    said += f"{count(dead)} of {count(total)} experts received no token. " if dead else "Every expert received tokens. "
    said += (
        "Every router receives a gradient, so it learns where to send a token."
        if routing.learns
        else "At least one router receives no gradient: it cannot learn where to send a token."
    )
    return said


def certainty(evaluation: Evaluation, rival: Rival) -> str:
    """Whether the interval of an advantage excludes zero, for a cell of a table."""
    if evaluation.bootstrap_blocks < FEWEST_BLOCKS:
        return "too few stretches"
    if not excludes_zero(rival):
        return "no: may be chance"
    return "yes: model better" if rival.model_advantage_millibits > 0 else "yes: rival better"
