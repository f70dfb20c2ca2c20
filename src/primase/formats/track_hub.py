"""What shows tracks in a browser: a UCSC track hub (hub.txt, genomes.txt, trackDb.txt) and an IGV session.

Formats: UCSC Track Data Hubs; IGV session XML version 8. The files name the tracks by their paths beside them.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from primase.errors import InputError

HUB_FILES = ("hub.txt", "genomes.txt", "trackDb.txt", "igv_session.xml")


class HubTrack(NamedTuple):
    """A bigWig in the folder of the hub."""

    file: str
    label: str
    low: float
    high: float


def require_assembly(name: str) -> None:
    """Raises InputError for a name that could be no assembly of a browser, as hg38 is."""
    if not re.fullmatch(r"[A-Za-z0-9_.\-]+", name):
        raise InputError(f"--hub {name!r}: give the assembly's name in the browser, as hg38: letters, digits, _ . -")


def hub_texts(assembly: str, title: str, tracks: Sequence[HubTrack]) -> dict[str, str]:
    """The text of each file of `HUB_FILES`, by its name."""
    short, title = "Primase", " ".join(title.split())
    stanzas = [
        f"track primase_{number}_{re.sub(r'[^A-Za-z0-9]+', '_', track.label)}\n"
        f"bigDataUrl {quote(track.file)}\nshortLabel {track.label[:17]}\nlongLabel {track.label}: {title}\n"
        f"type bigWig {track.low:g} {track.high:g}\nvisibility full\nautoScale off\n"
        f"viewLimits {track.low:g}:{track.high:g}\n"
        for number, track in enumerate(tracks, 1)
    ]
    resources = "".join(f'        <Resource path={quoteattr(track.file)} type="bw"/>\n' for track in tracks)
    return {
        "hub.txt": f"hub primase\nshortLabel {short}\nlongLabel {title}\ngenomesFile genomes.txt\n"
        "email nobody@example.org\n",
        "genomes.txt": f"genome {assembly}\ntrackDb trackDb.txt\n",
        "trackDb.txt": "\n".join(stanzas),
        "igv_session.xml": '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n'
        f'<Session genome={quoteattr(assembly)} version="8">\n'
        f"    <Resources>\n{resources}    </Resources>\n</Session>\n",
    }
