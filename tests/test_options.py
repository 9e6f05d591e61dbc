"""Kinds of options: what each accepts, what the plug-in gets, and the messages."""

from pathlib import Path

import pytest

from rclicks.errors import ProtocolError
from rclicks.options import Choice, Number, Numbers, PathOption, Text, read_options
from rclicks.specs import parse

KNOWN = {
    "size": Number(128, 16, 1024, whole=True),
    "patch": Number(None, 16, 64, whole=True),
    "beta": Number(1.0, 0, 2),
    "mixed": Choice(True, (True, False)),
    "features": Numbers((8, 16), 1, 99, 2, 3),
    "licence": Text("CC0"),
    "clicks": PathOption(None),
}


def read(spec: str) -> dict[str, object]:
    return read_options("net", KNOWN, parse(f"net:{spec}").options)


def test_defaults() -> None:
    found = read("")
    assert found == {
        "size": 128,
        "patch": None,
        "beta": 1.0,
        "mixed": True,
        "features": (8, 16),
        "licence": "CC0",
        "clicks": None,
    }


@pytest.mark.parametrize(
    ("spec", "value"),
    [
        ("size=64", 64),
        ("patch=16", 16),
        ("patch=null", None),
        ("beta=1", 1),
        ("mixed=false", False),
        ("features=[4 8 16]", (4, 8, 16)),
        ("features=[4, 8]", (4, 8)),
        ("licence=CC BY 4.0", "CC BY 4.0"),
        ("clicks=a/b.csv", Path("a/b.csv")),
    ],
)
def test_values_of_a_spec(spec: str, value: object) -> None:
    assert read(spec)[spec.partition("=")[0]] == value


def test_home_is_replaced() -> None:
    assert read("clicks=~/x.csv")["clicks"] == Path.home() / "x.csv"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("size=8", "an integer from 16 to 1024"),
        ("size=64.0", "an integer"),
        ("size=true", "an integer"),
        ("size=null", "an integer"),
        ("beta=.nan", "a number from 0 to 2"),
        ("mixed=maybe", "one of true, false"),
        ("mixed=1", "one of true, false"),
        ("features=[8]", "2 to 3 integers from 1 to 99 in brackets, such as \\[8 16\\]"),
        ("features=[8 16 32 64]", "2 to 3 integers"),
        ("features=[8 x]", "2 to 3 integers"),
        ("features=[8 1.5]", "2 to 3 integers"),
        ("features=[8, true]", "2 to 3 integers"),
        ("features=[]", "2 to 3 integers"),
        ("features=8", "2 to 3 integers"),
        ("features=8 16", "2 to 3 integers"),
        ("licence=1.0", "a text"),
        ("clicks=7", "the path"),
        ("sizes=64", "Did you mean size"),
    ],
)
def test_what_is_not_allowed_is_named(spec: str, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        read(spec)


def test_the_message_says_whose_option_it_is() -> None:
    with pytest.raises(ProtocolError, match="^training of net: option 'beta' is 3; allowed is"):
        read_options("net", KNOWN, {"beta": 3}, kind="training of")
