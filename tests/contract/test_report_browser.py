"""report.html in a real browser: nothing is wider than the screen, nothing is wrong, dark is dark, print is light."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from primase.report.page import write_report
from tests import reported_runs

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium: apt-get install chromium")

MEASURE = """<script>
const errors = [];
addEventListener("error", event => errors.push(String(event.message)));
addEventListener("load", () => {
  const shown = element => element.checkVisibility() && getComputedStyle(element).visibility === "visible";
  const charts = [...document.querySelectorAll("svg")].filter(shown);
  const outside = box => box.left < -0.5 || box.right > innerWidth + 0.5;
  const luminance = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(value => value / 255)
      .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = luminance(getComputedStyle(document.body).backgroundColor);
  const contrast = colour => {
    const pair = [luminance(colour), paper].sort();
    return (pair[1] + 0.05) / (pair[0] + 0.05);
  };
  const kinds = "p, th, td, dd, dt, li, a, summary, h1, h2, h3, figcaption, span";
  const texts = [...document.querySelectorAll(kinds)].filter(shown);
  const letters = charts.flatMap(chart => [...chart.querySelectorAll("text")]);
  const result = {
    width: innerWidth,
    scroll: document.documentElement.scrollWidth,
    charts: charts.length,
    lettersOutside: letters.filter(text => outside(text.getBoundingClientRect())).map(text => text.textContent),
    smallestLetter: Math.min(...letters.map(text => text.getBoundingClientRect().height)),
    textsOutside: texts.filter(text => !text.closest(".scroll, pre") && outside(text.getBoundingClientRect()))
      .map(text => text.textContent.slice(0, 60)),
    paper: paper,
    faintest: Math.min(...texts.map(text => contrast(getComputedStyle(text).color)),
      ...letters.map(text => contrast(getComputedStyle(text).fill))),
    headings: [...document.querySelectorAll("h2")].filter(shown).map(heading => heading.textContent),
    requests: performance.getEntriesByType("resource").map(entry => entry.name),
    errors: errors,
  };
  const place = document.createElement("pre");
  place.id = "measured";
  place.textContent = JSON.stringify(result);
  document.body.append(place);
});
</script>"""


def chromium(profile: Path, *arguments: str, dark: bool = False) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            BROWSER,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            f"--user-data-dir={profile}",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            "--enable-logging=stderr",
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=90,
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """full.html and bare.html, both with a script that measures them."""
    folder = tmp_path_factory.mktemp("pages")
    runs = {
        "full": reported_runs.measured_run(folder, "a_long_name_without_any_place_to_break_a_line_in_it", experts=64),
        "bare": reported_runs.trained_run(folder, "bare"),
    }
    for name, run in runs.items():
        page = write_report(run).read_text("utf-8")
        (folder / f"{name}.html").write_text(page.replace("<head>", "<head>" + MEASURE, 1), "utf-8")
    return folder


def measure(pages: Path, profile: Path, name: str, width: int, dark: bool = False) -> dict:
    """What the script saw. Headless chromium has no window narrower than 500, so narrow pages are put into a frame."""
    file = pages / f"{name}.html"
    if width < 500:
        frame = pages / f"frame-{name}-{width}.html"
        frame.write_text(
            f'<iframe id="page" src="{file.name}" style="width:{width}px;height:800px;border:0"></iframe><script>'
            "const page = document.getElementById('page');"
            "onload = () => document.body.append(page.contentDocument.getElementById('measured'))"
            "</script>"
        )
        file = frame
    said = chromium(
        profile, f"--window-size={width},900", "--allow-file-access-from-files", "--dump-dom", file.as_uri(), dark=dark
    )
    found = re.search(r'<pre id="measured">(.*?)</pre>', said.stdout, flags=re.DOTALL)
    assert found, said.stdout[-500:] + said.stderr[-2000:]
    assert "CONSOLE" not in said.stderr, said.stderr
    return json.loads(unescape(found[1]))


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [("full", 360, False), ("full", 400, True), ("full", 1280, False), ("full", 1280, True), ("bare", 400, False)],
)
def test_the_page_fits_and_can_be_read(name, width, dark, pages, tmp_path):
    seen = measure(pages, tmp_path, name, width, dark)
    assert seen["width"] == width
    assert seen["scroll"] <= width
    assert seen["textsOutside"] == [] and seen["lettersOutside"] == []
    assert seen["smallestLetter"] > 10
    assert (seen["paper"] < 0.05) == dark
    assert seen["faintest"] >= 4.5, "WCAG AA asks for a contrast of 4.5"
    assert seen["errors"] == [] and seen["requests"] == []
    assert seen["charts"] == (12 if name == "full" else 1)
    headings = ["What was trained on what", "How it learned", "The figures", "Self-tests", "Where it comes from"]
    assert [heading for heading in seen["headings"] if heading in headings] == headings
    assert ("What the experts do" in seen["headings"]) == (name == "full")


def test_it_prints(pages, tmp_path):
    file = tmp_path / "page.pdf"
    chromium(tmp_path / "profile", f"--print-to-pdf={file}", (pages / "full.html").as_uri(), dark=True)
    data = file.read_bytes()
    assert data.startswith(b"%PDF") and 5 <= len(re.findall(rb"/Type\s*/Page\b", data)) <= 20
