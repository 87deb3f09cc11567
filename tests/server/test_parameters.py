"""Typed values of forms and queries."""

import pytest

from wheatear.server.api_errors import ApiError
from wheatear.server.parameters import Parameters, nearest

GIVEN = [
    ("model", " small "), ("stream", "True"), ("rate", "16000"), ("pause", "true"), ("gap", "250"),
    ("terms[]", "one"), ("terms[1]", "two"), ("terms", ""), ("heat", ".5"), ("rules[ms]", "3"),
    ("twice", "a"), ("twice", "b"), ("same", "a"), ("same", "a"), ("zero", "0"), ("off", "false"),
    ("long", "60001"), ("kind", "Word"),
]  # fmt: skip


def test_values_are_read_by_type():
    given = Parameters(GIVEN)
    assert (given.text("model"), given.text("none"), given.text("same")) == ("small", None, "a")
    assert (given.flag("stream"), given.flag("none")) == (True, False)
    assert (given.number("rate"), given.number("none"), given.share("heat")) == (16000, None, 0.5)
    assert given.texts("terms") == ["one", "two"]
    assert given.fields("rules") == {"ms": "3"}
    assert given.choices("kind", ("word", "segment")) == ["word"]
    assert given.lists()["terms"] == ["one"]


@pytest.mark.parametrize(
    ("name", "usual", "expected"),
    [
        ("pause", 10, 10),
        ("none", 10, 10),
        ("gap", 10, 250),
        ("off", 10, None),
        ("none", None, None),
    ],
)
def test_milliseconds_are_a_number_or_a_flag(name, usual, expected):
    assert Parameters(GIVEN).milliseconds(name, usual) == expected


@pytest.mark.parametrize(
    ("reader", "name"),
    [
        ("text", "twice"), ("flag", "model"), ("number", "model"), ("number", "zero"),
        ("share", "rate"), ("milliseconds", "pause"), ("milliseconds", "long"), ("file", "model"),
        ("file", "none"),
    ],
)  # fmt: skip
def test_wrong_value_is_rejected_by_its_name(reader, name):
    with pytest.raises(ApiError) as caught:
        getattr(Parameters(GIVEN), reader)(name)
    assert (caught.value.status, caught.value.param) == (400, name)


def test_unknown_name_is_rejected_with_the_nearest_one():
    given = Parameters([("responseFormat", "json")])
    with pytest.raises(ApiError, match="did you mean 'response_format'"):
        given.check_names(["response_format"], "in this form")
    Parameters([("list[0]", "")]).check_names(["list"], "here", lists=["list"])
    with pytest.raises(ApiError, match=r"list\[0\]"):
        Parameters([("list[0]", "")]).check_names(["list"], "here")
    assert nearest("language", ["latency"]) is None
