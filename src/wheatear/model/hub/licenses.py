"""Licenses of fetched weights: displayed terms and written texts.

OpenMDW-1.1 requires a copy of itself and the notices of origin with copies of the weights. The
NVIDIA Open Model License requires a copy of itself and one sentence in a notice. A pulled model has
both, so that its folder may be passed on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files

from wheatear.model.published import License


@dataclass(frozen=True)
class Origin:
    """Source of weights, and their license if known."""

    label: str
    """Hub id or URL."""
    revision: str | None
    page: str
    licenses: tuple[License, ...]
    """Licenses of the weights, and of the weights that they were made from."""

    def __str__(self) -> str:
        return f"{self.label}@{self.revision}" if self.revision else self.label

    @property
    def terms(self) -> str:
        """Names and links of the licenses, in one line."""
        return "; ".join(
            f"{license.name} ({license.link})" if license.link else license.name
            for license in self.licenses
        )


UNSTATED = License("no license stated: find out before you pass it on", "")


def license_files(
    origin: Origin, hashes: Mapping[str, str], change: str, fetched: Mapping[str, str]
) -> dict[str, str]:
    """Returns license and notice texts by file name; texts that came with the weights are kept.

    hashes: SHA-256 of the fetched files by name.  change: description of changes to the weights.
    """
    notice = "".join(
        f"{line}\n"
        for line in (
            f"Weights from {origin.page}",
            *([f"revision {origin.revision}"] if origin.revision else []),
            *(f"  {name}  SHA-256 {digest}" for name, digest in sorted(hashes.items())),
            f"{change} by Wheatear {version('wheatear')}.",
            f"License: {origin.terms}",
            *(license.notice for license in origin.licenses if license.notice),
        )
    )
    texts = dict(fetched)
    name = next((n for n in fetched if n.upper().startswith("NOTICE")), "NOTICE")
    texts[name] = f"{notice}\n{fetched[name]}" if name in fetched else notice
    if not any(n.upper().startswith("LICEN") for n in fetched):
        folder = files("wheatear") / "data" / "licenses"
        agreements = [
            (folder / license.text).read_text(encoding="utf-8")
            for license in origin.licenses
            if license.text is not None
        ]
        if agreements:
            texts["LICENSE"] = "\n\n".join(agreements)
    return texts
