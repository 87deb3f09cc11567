"""Which licences the training data may be under: an explicit list, everything else is refused.

The weights are shipped, so what they are fitted to must allow that: nothing NC or ND, and no
recordings under the GPL (a diphone or unit-selection voice replays its recordings).  A manifest's
licence is that of a recording with its text, or `<speech>; text <text>` of a synthetic clip.
"""

from __future__ import annotations

RECORDINGS = frozenset({"CC-BY-3.0", "CC-BY-SA-3.0"})
VOICES = frozenset(
    {
        "Apache-2.0 (Kokoro-82M)",
        "Apache-2.0 (SVOX Pico)",
        "BSD-like (CMU flite)",
        "CC-BY-SA-4.0 (RHVoice Leticia-F123, F. H. F. Botelho)",
        "CC0-1.0 (voice), MIT (weights)",
        "LGPL-2.1 (RHVoice)",
        "LGPL-2.1 (RHVoice, CMU ARCTIC)",
        # Formants are computed from rules and tables; there are no recordings in them.
        "espeak-ng (GPL-3.0-or-later program, output unrestricted)",
    }
)
TEXTS = RECORDINGS | {
    "Apache-2.0",
    "Apache-2.0 (templates of this project)",
    "BSD-3",
    "UN text, free reuse",
    "Unicode-3.0",
}


def refused(licence: str) -> str | None:
    """The part of a manifest's licence that is not on the list, or None."""
    speech, mark, text = licence.partition("; text ")
    if speech not in (VOICES if mark else RECORDINGS):
        return speech or "no licence"
    return text if mark and text not in TEXTS else None
