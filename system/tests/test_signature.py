"""Signatures of callbacks: the known answer was made by ``openssl dgst -sha256 -hmac``."""

import pytest
from pydantic import SecretStr

from brownout_shop.settings import Settings, SettingsError
from brownout_shop.signature import Signer

SECRET = b"a secret of thirty-two bytes, yes"
SIGNED_AT_S = 1_700_000_000
BODY = b'{"key":"p1"}'
DIGEST = "be78d0411ef36e326c6d7b7d44a593dd31e15d6df3167634a7c42a4dc9375750"
SIGNATURE = f"t={SIGNED_AT_S},v1={DIGEST}"


def signer(at_s: float = SIGNED_AT_S, secret: bytes = SECRET) -> Signer:
    return Signer(secret, lambda: at_s)


def test_it_is_the_hmac_of_the_time_and_the_body() -> None:
    assert signer(SIGNED_AT_S + 0.9).sign(BODY) == SIGNATURE


@pytest.mark.parametrize(
    ("late_s", "taken"), [(0, True), (299, True), (300, True), (301, False), (-300, True), (-301, False)]
)
def test_it_holds_for_five_minutes(late_s: int, taken: bool) -> None:  # noqa: FBT001 - a table's column
    assert signer(SIGNED_AT_S + late_s).signed(BODY, SIGNATURE) is taken


def test_another_body_time_or_secret_is_not_what_was_signed() -> None:
    assert not signer().signed(BODY + b" ", SIGNATURE)
    assert not signer().signed(BODY, SIGNATURE.replace("t=17", "t=16"))
    assert not signer(SIGNED_AT_S + 1).signed(BODY, SIGNATURE.replace(str(SIGNED_AT_S), str(SIGNED_AT_S + 1)))
    assert not signer(secret=SECRET[::-1]).signed(BODY, SIGNATURE)


@pytest.mark.parametrize(
    "signature",
    [
        "",
        DIGEST,
        f"v1={DIGEST}",
        f"t=,v1={DIGEST}",
        f"t={SIGNED_AT_S}",
        f"t={SIGNED_AT_S},v1=",
        f"t={SIGNED_AT_S},v1={DIGEST[:-1]}",
        f"t={SIGNED_AT_S},v1={DIGEST.upper()}",
        f"t={SIGNED_AT_S},v0={DIGEST}",
        f"{SIGNATURE}\n",
        f"t=-{SIGNED_AT_S},v1={DIGEST}",
        f"t={'9' * 400},v1={DIGEST}",
        f"t=\N{ARABIC-INDIC DIGIT ONE},v1={DIGEST}",
    ],
)
def test_what_has_another_form_is_no_signature(signature: str) -> None:
    assert not signer().signed(BODY, signature)


@pytest.mark.parametrize("secret", ["", "x" * 31])
def test_a_secret_that_is_missing_or_short_is_refused_in_one_line(secret: str) -> None:
    with pytest.raises(SettingsError, match=r"^environment: CALLBACK_SECRET: at least 32 bytes$"):
        _ = settings(secret).callback_key


def test_a_secret_of_32_bytes_is_enough() -> None:
    assert settings("x" * 32).callback_key == b"x" * 32


def settings(secret: str) -> Settings:
    return Settings(
        cell="c1", instance="x-0", listen="127.0.0.1:0", consul_url="", otlp_url="", callback_secret=SecretStr(secret)
    )
