"""What a service is told by its environment."""

import json
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from brownout_shop.resilience.balancer import Balance

__all__ = ["Settings", "SettingsError", "read_settings"]

KEY_BYTES = 32


class SettingsError(Exception):
    """The environment lacks a variable or has a wrong one; told in one line, without its value."""


class Settings(BaseSettings):
    """A process's settings, one environment variable each, in capitals.

    Args:
        cell: the system's environment; it is in the registry's metadata, service ids and traces.
        instance: this process's name in the cell, such as ``users-0``.
        listen: ``host:port`` to bind.
        advertise: Consul tagged addresses, ``via-<caller>`` to its Address and Port.
        consul_url: base address of Consul's HTTP API.
        otlp_url: base address for OTLP over HTTP.
        database_url: ``postgresql://…``; empty for a service without one.
        rate_limit_rps: how many GetUser calls pass per second, and at once (clause 6.3), until the configuration
            has the key ``users/rate_limit_rps`` (clause 5).
        token_secret: what tokens are signed with.
        kafka: ``host:port`` of a broker; empty for a service without events.
        grpc_listen: ``host:port`` to bind for gRPC; empty for a service without it.
        provider: ``host:port`` of the payment provider.
        balancer: how one of a callee's instances is chosen (clause 4.2).
        admin_email: whose the first admin is; without it there is none.
        admin_password: what it logs in with at first.
        callback: ``host:port`` of the gateway, where the provider tells of its charges; empty: it tells nobody.
        callback_secret: what it signs them with.
        smtp: ``host:port`` of the server that takes our e-mails; empty: they are kept, and not sent.
        email_from: the address that they are from.
        sms: ``host:port`` of the gateway for SMS; empty as for `smtp`.
        push: ``host:port`` of the gateway for push messages; the same.
    """

    model_config = SettingsConfigDict(frozen=True)

    cell: str
    instance: str
    listen: str = Field(pattern=r"^[^:]+:\d+$")
    advertise: dict[str, dict[str, str | int]] = {}
    consul_url: str
    otlp_url: str
    database_url: SecretStr = SecretStr("")
    rate_limit_rps: int = Field(default=200, gt=0)
    token_secret: SecretStr = SecretStr("")
    kafka: str = ""
    grpc_listen: str = Field(default="", pattern=r"^([^:]+:\d+)?$")
    provider: str = ""
    balancer: Balance = "round-robin"
    admin_email: str = ""
    admin_password: SecretStr = SecretStr("")
    callback: str = ""
    callback_secret: SecretStr = SecretStr("")
    smtp: str = Field(default="", pattern=r"^([^:]+:\d+)?$")
    email_from: str = Field(default="shop@example.org", pattern=r"^[^@\s]+@[^@\s]+$")
    sms: str = ""
    push: str = ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What nobody may be told: all that is kept as a secret, and the database's password by itself."""
        kept = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        return *kept, urlsplit(self.database_url.get_secret_value()).password or ""

    @property
    def host(self) -> str:
        """The address to bind."""
        return self.listen.rpartition(":")[0]

    @property
    def port(self) -> int:
        """The port to bind."""
        return int(self.listen.rpartition(":")[2])

    @property
    def callback_key(self) -> bytes:
        """The callback's secret, as long as the digest at least (RFC 2104).

        Raises:
            SettingsError: it is missing or shorter, and anybody could sign.
        """
        key = self.callback_secret.get_secret_value().encode()
        if len(key) < KEY_BYTES:
            raise SettingsError(f"environment: CALLBACK_SECRET: at least {KEY_BYTES} bytes")
        return key

    def topic(self, name: str) -> str:
        """The name of a topic in this cell: all cells share a broker."""
        return f"{self.cell}.{name}"


def read_settings() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: a variable is missing or wrong.
    """
    try:
        return Settings()  # type: ignore[call-arg]  # the environment brings the arguments
    except ValidationError as error:
        wrong = "; ".join(f"{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_input=False))
        raise SettingsError(f"environment: {wrong}") from error
    except (json.JSONDecodeError, ValueError) as error:
        raise SettingsError(f"environment: {error}") from error
