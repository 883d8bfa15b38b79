"""The real servers behind a run: found or made once, started on free ports of 127.0.0.1."""

from brownout.servers.kafka import KafkaAddresses, Listener
from brownout.servers.own import OwnServer
from brownout.servers.program import Finding, Program, Progress
from brownout.servers.provision import NAMES, provide, survey
from brownout.servers.running import Addresses, running

__all__ = [
    "NAMES",
    "Addresses",
    "Finding",
    "KafkaAddresses",
    "Listener",
    "OwnServer",
    "Program",
    "Progress",
    "provide",
    "running",
    "survey",
]
