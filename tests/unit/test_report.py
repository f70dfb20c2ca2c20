"""report.html: of a run with everything, of one with nothing but its training, and of one that is falling apart."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

import primase
from primase.errors import MissingFileError, RecipeError
from primase.report.gather import gather
from primase.report.page import write_report
from primase.report.sentences import split_in_words
from primase.results import LeakedLoss
from tests import reported_runs

SECTIONS = [
    "What was trained on what",
    "How it learned",
    "The figures",
    "Does it know what it does not know?",
    "Could it have seen the answers?",
    "Self-tests",
    "Along the sequence",
    "Where it comes from",
]
SVG = {"svg": "http://www.w3.org/2000/svg"}


class Reader(HTMLParser):
    """The text that a reader sees, the addresses that a browser would fetch, and whether the tags are balanced."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.fetched, self.open, self.ids = "", [], [], []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "br", "img", "hr", "input"):
            self.open.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "srcset", "data", "poster", "action") or (name == "href" and tag != "a"):
                self.fetched.append(value)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text += data


def page_of(run: Path) -> str:
    file = write_report(run)
    assert file == run / "report.html"
    return file.read_text("utf-8")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reported_runs.measured_run(tmp_path_factory.mktemp("runs"), experts=16)


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return page_of(run)


@pytest.fixture(scope="module")
def text(page: str) -> str:
    return " ".join(Reader(page).text.split())


def test_the_page_is_whole_and_light(page):
    reader = Reader(page)
    assert page.startswith("<!doctype html>") and page.rstrip().endswith("</html>")
    assert reader.open == []
    assert len(set(reader.ids)) == len(reader.ids)
    assert len(page.encode()) < 300_000
    assert page.count("<script>") == 1
    for target in re.findall(r'href="#([^"]*)"', page):
        assert target in reader.ids, target


def test_nothing_is_fetched(page):
    assert Reader(page).fetched == ["data:,"]
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style
    assert not re.search(r"https?://", page.replace("http://www.w3.org/2000/svg", ""))


def test_every_section_and_term_is_there(page, text):
    headings = [unescape(heading) for heading in re.findall(r"<h2>(.*?)</h2>", page)]
    assert [heading for heading in headings if heading != "What the experts do"] == SECTIONS
    assert "What the experts do" in headings
    terms = {unescape(re.sub(r"&nbsp;", " ", term)) for term in re.findall(r"<dfn>(.*?)</dfn>", page)}
    assert terms >= {
        "Bits per base", "Held out", "token", "epoch", "step", "validation part", "strands", "reverse complement",
        "block bootstrap", "millibits", "Soft-masked", "Markov model", "calibrated", "Leakage", "k-mers", "self-test",
        "experts", "router", "surprisal",
    }  # fmt: skip
    assert "Copy mixture" in text


def test_every_figure_of_the_evaluation_is_on_the_page(run, text):
    evaluation = reported_runs.evaluation(experts=16)
    estimates = [evaluation.forward, evaluation.reverse_complement, evaluation.both_strands_mean]
    estimates += [ensemble.figure for ensemble in evaluation.ensembles]
    estimates += [*evaluation.classes.values(), evaluation.leaked.clean, evaluation.leaked.hit]
    bits = [value for one in estimates for value in (one.bits_per_base, one.low, one.high)]
    bits += [rival.bits_per_base for rival in evaluation.rivals] + evaluation.markov_bits_per_base
    bits += [value for rival in evaluation.rivals for value in rival.classes.values()]
    bits += [evaluation.leaked.markov_clean, evaluation.leaked.markov_hit, evaluation.nats_per_token]
    bits += [sum(locus.model_bits) / len(locus.model_bits) for locus in evaluation.loci]
    expected = [f"{value:.4f}" for value in bits]
    in_company = [rival for ensemble in evaluation.ensembles for rival in ensemble.rivals]
    for rival in [*evaluation.rivals, *in_company]:
        expected += [f"{value:+.1f}" for value in (rival.model_advantage_millibits, rival.low, rival.high)]
        expected.append(rival.name)
    for name in ("stretches", "windows", "tokens", "unknown_tokens", "context_tokens", "bootstrap_blocks"):
        expected.append(f"{getattr(evaluation, name):,}")
    expected += [f"{one.bases:,}" for one in estimates]
    expected += [f"{bin_.tokens:,}" for bin_ in evaluation.calibration]
    expected += [
        f"{100 * share:.2f}" for bin_ in evaluation.calibration for share in (bin_.mean_confidence, bin_.accuracy)
    ]
    expected += ["1.23", "50", "1,011", "41"]
    expected += [f"{layer.entropy_bits:.3f}" for layer in evaluation.routing.layers]
    expected += [f"{layer.router_gradient:.5f}"[:6] for layer in evaluation.routing.layers]
    expected += [f"{100 * max(layer.load):.1f}" for layer in evaluation.routing.layers]
    expected += [f"{locus.record}: {locus.start:,} to {locus.start + 1000:,}" for locus in evaluation.loci]
    missing = [figure for figure in expected if figure not in text]
    assert missing == []
    assert evaluation.verdict[1:] in text


def test_self_tests_and_leakage_are_on_the_page(text):
    for check in reported_runs.checks(experts=16).checks:
        assert check.name in text and check.meaning in text
    assert "8 of 8 passed" in text and "3.1·10⁻⁷" in text
    leakage = reported_runs.leakage()
    for share in (leakage.exact_copy_share, leakage.half_kmers_share, leakage.mean_kmer_share):
        assert f"{100 * share:.2f}" in text
    assert all(str(number) in text for number in leakage.kmer_share_histogram)


def test_what_was_trained_on_what(text):
    for fact in (
        "12,157,105 bases in 17 records", "9,870,000 bases to train on", "chrIV and chrXVI", "sacCer3.fa.gz", "ab" * 32,
        "600, 2.00 epochs", "4,896,000 bases", "AMD EPYC 9654", "torch 2.13.0", "5c714df465893860",
        "primase pretrain sacCer3.fa.gz --recipe yeast-small/recipe.toml -o again",
        "primase pretrain sacCer3.fa.gz -o runs/yeast-small --minutes 10", 'preset = "qwen3-small"',
    ):  # fmt: skip
        assert fact in text, fact
    # 2 x 73 x 192 weights and 16 experts of 256 x 256, two of which work on a token.
    assert "1,076,608, of which 159,104 work on a token" in text


@pytest.mark.parametrize(
    ("split", "said"),
    [
        (
            {"strategy": "records", "heldout_records": list("abcdefghijklmn")},
            "out: a, b, c, d, e, f, g, h, i, j, k, l and 2",
        ),
        ({"strategy": "records"}, "Whole records (chromosomes or contigs) were held out."),
        ({"strategy": "regions", "heldout_regions": ["chr2:1-500"], "gap_bases": 7}, "out: chr2:1-500, with 7 unused"),
        ({"strategy": "blocks", "block_bases": 90_000}, "Contiguous stretches of 90,000 bases"),
        ({"strategy": "homology"}, "has no near copy, by that measure"),
        ({"strategy": "random"}, "their neighbours were trained on"),
    ],
)
def test_the_split_in_words(run, split, said):
    assert said in split_in_words(replace(gather(run), corpus={"split": split}))


def test_charts_are_valid_and_speak(page):
    charts = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(charts) == 2 * (1 + 1 + 1 + 1 + 1 + 1 + 2 * 3)
    for chart in charts:
        root = ElementTree.fromstring(chart)
        assert root.get("role") == "img"
        title, description = root.find("svg:title", SVG), root.find("svg:desc", SVG)
        assert len(title.text) > 10 and len(description.text) > 10
        assert root.get("aria-labelledby").split() == [title.get("id"), description.get("id")]
        assert "nan" not in chart and "inf" not in chart
        width, height = map(float, root.get("viewBox").split()[2:])
        for text in root.iter("{http://www.w3.org/2000/svg}text"):
            assert 0 <= float(text.get("x")) <= width and 0 <= float(text.get("y")) <= height, text.text


def test_the_scale_places_predictors_by_their_bits(page):
    chart = ElementTree.fromstring(re.search(r"<svg class=\"chart wide\".*?</svg>", page, flags=re.DOTALL)[0])
    dots = {dot.get("class").split("k-")[1]: float(dot.get("cx")) for dot in chart.iter(f"{{{SVG['svg']}}}circle")}
    expected = {"untrained": 2.0877, "uniform": 2.0, "markov": 1.9245, "copy-mixture": 1.9121, "model": 1.8864}
    scale = (dots["model"] - dots["uniform"]) / (2.0 - 1.8864)
    for kind, bits in expected.items():
        assert dots[kind] == pytest.approx(dots["uniform"] + scale * (2.0 - bits), abs=0.2), kind


def test_a_run_with_nothing_but_its_training(tmp_path):
    run = reported_runs.trained_run(tmp_path)
    page = page_of(run)
    text = " ".join(Reader(page).text.split())
    assert all(section in unescape(page) for section in SECTIONS) and "What the experts do" not in page
    assert f"primase evaluate {run}" in text and f"primase check {run}" in text
    assert "has not been measured on held-out DNA yet" in text and "1.8854" in text
    assert len(re.findall("<svg", page)) == 2
    assert Reader(page).open == []


def test_a_run_that_has_only_begun(tmp_path):
    run = reported_runs.trained_run(tmp_path)
    for name in (
        "metrics.jsonl",
        "environment.json",
        "corpus/corpus.json",
        "final/config.json",
        "final/model.safetensors",
    ):
        (run / name).unlink()
    (run / "final").rmdir()
    text = Reader(page_of(run)).text
    assert "This run has not been trained yet." in text
    assert f"primase pretrain --resume {run}" in text
    assert "The prepared corpus is not there any more" in text


def test_text_of_the_user_is_text(tmp_path):
    run = reported_runs.measured_run(tmp_path, "<script>alert(1)&'\"")
    environment = json.loads((run / "environment.json").read_text())
    environment["command"] = ["primase", "pretrain", "<img src=x onerror=alert(2)>.fa"]
    environment["sources"] = [{"name": "</title><b>", "bytes": "many", "sha256": None}]
    (run / "environment.json").write_text(json.dumps(environment))
    (run / "corpus" / "corpus.json").unlink()
    page = page_of(run)
    assert "<script>alert" not in page and "<img" not in page and "</title><b>" not in page and "chrII <b>" not in page
    assert page.count("<script>") == 1
    text = Reader(page).text
    assert run.name in text and "<img src=x onerror=alert(2)>.fa" in text and "chrII <b>&: 55 to 1,055" in text
    for chart in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL):
        ElementTree.fromstring(chart)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"schema_version": 1, "model": "old"}', "written by an older Primase"),
        ('{"schema_version": 2}', "evaluation.json cannot be read"),
        ('{"schema_vers', "evaluation.json cannot be read"),
        ("[]", "evaluation.json cannot be read"),
        ("", "evaluation.json cannot be read"),
    ],
)
def test_an_evaluation_that_is_not_ours_is_as_good_as_none(tmp_path, content, said):
    run = reported_runs.measured_run(tmp_path)
    (run / "evaluation.json").write_text(content)
    text = Reader(page_of(run)).text
    assert said in text and f"primase evaluate {run}" in text and "has not been measured" in text


@pytest.mark.parametrize("value", ["/etc/passwd", None, [], -4, True, 1e308])
def test_sizes_that_cannot_be_are_left_out(tmp_path, value):
    run = reported_runs.measured_run(tmp_path, experts=8)
    config = json.loads((run / "final" / "config.json").read_text())
    for name in config.keys() - {"model_type"}:
        (run / "final" / "config.json").write_text(json.dumps(config | {name: value}))
        assert "qwen3_moe" in Reader(page_of(run)).text


def test_lines_that_were_cut_off_are_left_out(tmp_path):
    run = reported_runs.trained_run(tmp_path)
    whole = gather(run).course
    with open(run / "metrics.jsonl", "a") as lines:
        lines.write('{"step": 610, "bits_per_base": NaN, "bases": 1, "seconds": 1}\n7\nnull\n{"step": 620, "bas')
    assert gather(run).course == whole
    assert len(whole.training) == 60 and len(whole.validation) == 6


def test_a_run_that_was_shortened_is_not_said_to_be_repeated(tmp_path):
    run = reported_runs.trained_run(tmp_path)
    assert "trains longer" not in Reader(page_of(run)).text
    with open(run / "metrics.jsonl", "a") as lines:
        lines.write('{"step": 300, "epoch": 1.0, "last_step": 450}\n')
    assert gather(run).course.shortened_to == 450
    text = Reader(page_of(run)).text
    assert "was shortened to 450 steps, so this command, whose recipe names 600, trains longer" in text


def test_validation_points_stand_at_the_bases_of_their_step(tmp_path):
    course = gather(reported_runs.trained_run(tmp_path)).course
    assert [(point.step, point.bases) for point in course.validation[:2]] == [(100, 816_000), (200, 1_632_000)]
    assert course.best.step == 600


def test_no_run_and_no_recipe(tmp_path):
    with pytest.raises(MissingFileError, match="no run here"):
        write_report(tmp_path)
    (tmp_path / "recipe.toml").write_text("name = ")
    with pytest.raises(RecipeError, match="not a TOML file"):
        write_report(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["recipe.toml"]


def verdict(tmp_path: Path, **changes) -> str:
    run = reported_runs.trained_run(tmp_path)
    reported_runs.evaluation().model_copy(update=changes).write(run / "evaluation.json")
    return " ".join(Reader(page_of(run)).text.split())


def rival(kind: str, advantage: float, low: float, high: float):
    return next(one for one in reported_runs.evaluation().rivals if one.kind == kind).model_copy(
        update={"model_advantage_millibits": advantage, "low": low, "high": high}
    )


@pytest.mark.parametrize(
    ("advantage", "low", "high", "blocks", "said"),
    [
        (25.7, 19.8, 31.6, 107, "has learned more about this DNA than counting and copying can tell"),
        (25.7, -4.0, 55.0, 107, "25.7 thousandths of a bit per base, but the difference may be chance"),
        (25.7, 19.8, 31.6, 4, "but 4 stretches of the genome are too few to be sure"),
        (-20.0, -25.0, -15.0, 107, "is no better than counting and copying: the copy mixture predicts the same bases"),
        (-20.0, -45.0, 5.0, 107, "has not shown that it is better than counting and copying"),
    ],
)
def test_the_verdict_claims_no_more_than_the_interval(tmp_path, advantage, low, high, blocks, said):
    assert said in verdict(tmp_path, rivals=[rival("copy-mixture", advantage, low, high)], bootstrap_blocks=blocks)


def test_cautions_stand_at_the_top(tmp_path):
    forward = reported_runs.estimate(2.0201)
    text = verdict(
        tmp_path,
        forward=forward,
        part="validation",
        split_strategy="random",
        unknown_tokens=12,
        leaked=LeakedLoss(clean=None, hit=forward, clean_windows=0, hit_windows=9),
        rivals=[rival("markov", -161.5, -173.6, -149.4)],
        markov_bits_per_base=None,
        best_markov_order=None,
        calibration=[],
        loci=[],
        true_entropy_bits_per_base=1.5944,
    )
    top = text[: text.index("What was trained on what")]
    assert "it is even worse than guessing" in top
    assert "The windows were split at random" in top and "Nothing was held out" in top and "12 tokens of" in top
    assert "the model has not left the best counting model (Markov) behind" in top
    assert "1.5944" in text and "No place was picked" in text


def test_a_failed_self_test_is_said_before_the_figures(tmp_path):
    run = reported_runs.measured_run(tmp_path)
    reported_runs.checks(failed=("future", "mates")).write(run / "checks.json")
    text = Reader(page_of(run)).text
    assert text.index("A self-test failed (future and mates)") < text.index("What was trained on what")
    assert "5 of 7 passed" in text


def test_no_file_is_left_beside_it(tmp_path):
    run = reported_runs.measured_run(tmp_path)
    before = {file.name for file in run.iterdir()}
    assert page_of(run) == page_of(run)
    assert {file.name for file in run.iterdir()} == before | {"report.html"}


def test_the_report_needs_no_torch():
    code = (
        "import sys, primase.report.page, primase.report.card;"
        "print(*(sys.modules.keys() & {'torch', 'transformers', 'numba'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == []
    assert primase.write_report is write_report
