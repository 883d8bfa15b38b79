"""The signature of a message between two who share a secret: when it was signed, and who signed it.

It is written ``t=<seconds since 1970>,v1=<HMAC-SHA256 of "t.body" in hex>`` (RFC 2104). The time is signed with the
body, so that what somebody has overheard cannot be sent again later on.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Callable

__all__ = ["HEADER", "Signer"]

HEADER = "X-Signature"
TOLERANCE_S = 300
"""How far the two clocks, and the way between them, may be apart."""

_FORM = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")


class Signer:
    """Signs messages, and tells which ones were signed with the same secret a short while ago.

    Args:
        secret: what both sides know.
        clock: seconds since 1970.
    """

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._clock = clock

    def sign(self, body: bytes) -> str:
        """Return the signature of a message that is sent now."""
        at_s = str(int(self._clock()))
        return f"t={at_s},v1={self._digest(at_s, body)}"

    def signed(self, body: bytes, signature: str) -> bool:
        """Return whether the signature is that of the message, and at most 5 minutes old, or ahead of our clock."""
        form = _FORM.fullmatch(signature)
        if form is None or abs(self._clock() - int(form[1])) > TOLERANCE_S:
            return False
        return hmac.compare_digest(self._digest(form[1], body), form[2])  # how long it takes tells nothing

    def _digest(self, at_s: str, body: bytes) -> str:
        return hmac.new(self._secret, at_s.encode() + b"." + body, hashlib.sha256).hexdigest()
