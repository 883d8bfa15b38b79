"""What the scenarios know of the provider's callbacks agrees with the topology."""

import json
from pathlib import Path
from random import Random

from brownout.promises.contract import read_journeys
from brownout.topology import read_topology
from brownout_shop.signature import Signer

ROOT = Path(__file__).parents[2]
SIGNED_AT_S = 1_700_000_000


def test_the_old_callback_was_signed_with_the_secret_of_payments_and_the_provider() -> None:
    (sent,) = read_journeys(ROOT / "scenarios/contract.toml")["knock-with-an-old-callback"].act(None, Random(7))
    topology = read_topology(ROOT / "system/topology.toml")
    secret = topology.services["payments"].env["CALLBACK_SECRET"]
    assert secret == topology.services["provider"].env["CALLBACK_SECRET"]
    signer = Signer(secret.encode(), lambda: SIGNED_AT_S)
    assert signer.signed(json.dumps(sent.json).encode(), sent.headers["X-Signature"])
