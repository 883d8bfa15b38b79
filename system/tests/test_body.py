"""How a body is read: as I-JSON (RFC 7493)."""

import pytest

from brownout_shop.body import read_json


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": [1, null, "\\ud83e\\udd86", "\xf0\x9f\xa6\x86"]}', {"a": [1, None, "🦆", "🦆"]}),
        (b'{"a": {"b": 1}, "c": {"b": 2}}', {"a": {"b": 1}, "c": {"b": 2}}),
        (b'"\\u0000"', "\0"),
    ],
    ids=["text", "a key in two objects", "a NUL"],
)
def test_what_has_one_meaning_is_read(body: bytes, value: object) -> None:
    assert read_json(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{} {}",
        b'{"a": 1, "a": 2}',
        b'[{"a": 1, "\\u0061": 2}]',
        b'"\\ud800"',
        b'{"\\udc00": 1}',
        b'"\xed\xa0\x80"',
        b'"\xff"',
        b"\xef\xbb\xbf{}",
        b"NaN",
        b"[-Infinity]",
        b"9" * 5000,
    ],
)
def test_what_has_none_or_two_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of whichever kind
        read_json(body)


@pytest.mark.parametrize("opens", [b"[", b'{"a":'])
def test_what_is_nested_too_deeply_is_refused(opens: bytes) -> None:
    with pytest.raises((RecursionError, ValueError)):
        read_json(opens * 100_000)
