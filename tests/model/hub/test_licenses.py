"""The texts beside weights have what their licenses require."""

import wheatear
from wheatear.model.hub.licenses import UNSTATED, Origin, license_files
from wheatear.model.published import NVIDIA_OPEN_MODEL, OPENMDW, License


def texts(*licenses: License, **fetched: str) -> dict[str, str]:
    origin = Origin("me/mine", "c0ffee", "https://hub/me/mine", licenses)
    return license_files(origin, {"x.nemo": "abcd"}, "Converted", fetched)


def test_agreement_and_origin_are_written() -> None:
    found = texts(OPENMDW)
    assert found["LICENSE"].startswith("OpenMDW License Agreement, version 1.1")
    assert "retain in your\ndistribution (1) a copy of this agreement" in found["LICENSE"]
    assert found["NOTICE"].splitlines()[:4] == [
        "Weights from https://hub/me/mine",
        "revision c0ffee",
        "  x.nemo  SHA-256 abcd",
        f"Converted by Wheatear {wheatear.__version__}.",
    ]
    assert "OpenMDW-1.1" in found["NOTICE"]


def test_notice_has_the_sentence_that_nvidia_requires() -> None:
    found = texts(NVIDIA_OPEN_MODEL)
    assert "Licensed by NVIDIA Corporation under the NVIDIA Open Model License" in found["NOTICE"]
    assert found["LICENSE"].startswith("NVIDIA Open Model License Agreement")
    assert "3. Redistribution." in found["LICENSE"]


def test_fetched_texts_are_kept() -> None:
    found = texts(OPENMDW, LICENSE="Mine.\n", NOTICE="By me.")
    assert found["LICENSE"] == "Mine.\n"
    assert found["NOTICE"].endswith("\nBy me.")


def test_unstated_license_has_a_notice_only() -> None:
    found = texts(UNSTATED)
    assert list(found) == ["NOTICE"]
    assert "no license stated" in found["NOTICE"]
