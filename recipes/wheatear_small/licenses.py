"""List of licenses of training data; all other licenses are refused.

The weights are shipped, so the training data must permit it: no NC, no ND, and no recordings under
the GPL (a diphone or unit-selection voice replays its recordings).  The license of a clip is that
of a recording with its text, or `<speech>; text <text>` of a synthetic clip.
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
        # Formants are computed from rules and tables, without recordings.
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


def unlisted_license(license: str) -> str | None:
    """Returns the part of a clip's license that is not on the list, or None."""
    speech, mark, text = license.partition("; text ")
    if speech not in (VOICES if mark else RECORDINGS):
        return speech or "no license"
    return text if mark and text not in TEXTS else None
