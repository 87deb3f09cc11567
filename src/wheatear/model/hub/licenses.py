"""Licenses: what is said before weights are fetched, and what is written beside them.

OpenMDW-1.1 wants a copy of itself and the notices of origin with whatever is passed on; the NVIDIA
Open Model License a copy of itself and one sentence in a notice.  A bundle that was pulled has
both, so that it may be passed on as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from wheatear import __version__
from wheatear.model.published import License


@dataclass(frozen=True)
class Origin:
    """Where weights come from and what is known of their terms."""

    label: str
    """Hub id or URL."""
    revision: str | None
    page: str
    licenses: tuple[License, ...]
    """Of the weights, and of those that they were made from."""
    gated: bool = False

    def __str__(self) -> str:
        return f"{self.label}@{self.revision}" if self.revision else self.label

    @property
    def terms(self) -> str:
        """One line for people."""
        return "; ".join(
            f"{license.name} ({license.link})" if license.link else license.name
            for license in self.licenses
        )


UNSTATED = License("no license stated: find out before you pass it on", "")


def agreement(license: License) -> str | None:
    """The text of a license that comes with Wheatear."""
    if license.text is None:
        return None
    return (files("wheatear") / "data" / "licenses" / license.text).read_text(encoding="utf-8")


def license_files(
    origin: Origin, hashes: Mapping[str, str], change: str, brought: Mapping[str, str]
) -> dict[str, str]:
    """License and notice texts by file name.

    hashes: SHA-256 of the files that were fetched, by name.  change: what was done to the weights.
    brought: the texts that came with them, which stay as they are.
    """
    fetched = [f"  {name}  SHA-256 {digest}" for name, digest in sorted(hashes.items())]
    lines = [
        f"Weights from {origin.page}",
        *([f"revision {origin.revision}"] if origin.revision else []),
        *fetched,
        f"{change} by Wheatear {__version__}.",
        f"License: {origin.terms}",
        *(license.notice for license in origin.licenses if license.notice),
    ]
    texts = dict(brought)
    notice = "\n".join(lines) + "\n"
    name = next((n for n in brought if n.upper().startswith("NOTICE")), "NOTICE")
    texts[name] = f"{notice}\n{brought[name]}" if name in brought else notice
    if not any(n.upper().startswith("LICEN") for n in brought):
        agreements = [text for license in origin.licenses if (text := agreement(license))]
        if agreements:
            texts["LICENSE"] = "\n\n".join(agreements)
    return texts
