"""A bigWig as JBrowse reads it, against pyBigWig: each value, and the summaries of each zoom level. Prints JSON.

    npm install --prefix FOLDER @gmod/bbi
    python -m benchmarks.jbrowse_round_trip TRACK.bw --packages FOLDER

@gmod/bbi, run by node, is the reader of JBrowse. A summary is compared with the mean, the lowest and the highest of the
values that it stands for.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pyBigWig

READER = """
const {createRequire} = require('module'), fs = require('fs')
const [packages, track, questions, answers] = process.argv.slice(2)
const load = createRequire(packages + '/package.json')
const {BigWig} = load('@gmod/bbi'), {LocalFile} = load('generic-filehandle2')
async function main() {
  const file = new BigWig({filehandle: new LocalFile(track)})
  const header = await file.getHeader()
  const spans = [0, ...header.zoomLevels.map(level => level.reductionLevel)]
  const found = []
  for (const [record, bases] of JSON.parse(fs.readFileSync(questions)))
    for (const span of spans)
      if (span < bases)
        found.push({record, span, items: await file.getFeatures(record, 0, bases, span ? {basesPerSpan: span} : {})})
  fs.writeFileSync(answers, JSON.stringify(found))
}
main().catch(error => { console.error(error); process.exit(1) })
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("track", type=Path)
    parser.add_argument("--packages", type=Path, required=True, help="Where npm put @gmod/bbi.")
    settings = parser.parse_args()
    with pyBigWig.open(str(settings.track)) as track:
        values = {name: np.array(track.values(name, 0, bases)) for name, bases in track.chroms().items()}
    print(json.dumps(compare(values, answers(settings.track, settings.packages, values)), indent=1))


def answers(track: Path, packages: Path, values: dict[str, np.ndarray]) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        script, questions, found = (Path(folder) / name for name in ("reader.cjs", "questions.json", "answers.json"))
        script.write_text(READER)
        questions.write_text(json.dumps([(name, len(each)) for name, each in values.items()]))
        subprocess.run(["node", script, packages.resolve(), track.resolve(), questions, found], check=True)
        return json.loads(found.read_text())


def compare(values: dict[str, np.ndarray], found: list[dict]) -> dict:
    of_values, of_summaries, bases, summaries = 0.0, 0.0, 0, 0
    for answer in found:
        expected = values[answer["record"]]
        if not answer["span"]:
            read = np.full(len(expected), np.nan)
            for item in answer["items"]:
                read[item["start"] : item["end"]] = item["score"]
            assert (np.isnan(read) == np.isnan(expected)).all(), answer["record"]
            there = np.isfinite(expected)
            of_values = max(of_values, np.abs(read - expected)[there].max(initial=0.0))
            bases += int(there.sum())
            continue
        for item in answer["items"]:
            part = expected[item["start"] : item["end"]]
            part = part[np.isfinite(part)]
            for name, value in (("score", part.mean()), ("minScore", part.min()), ("maxScore", part.max())):
                of_summaries = max(of_summaries, abs(item[name] - value))
        summaries += len(answer["items"])
    return {
        "values": bases,
        "values_largest_difference": float(of_values),
        "zoom_levels": len({answer["span"] for answer in found} - {0}),
        "summaries": summaries,
        "summaries_largest_difference": float(of_summaries),
    }


if __name__ == "__main__":
    main()
