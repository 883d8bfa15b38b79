"""Connections over which a request is sent once."""

from typing import Any

from geventhttpclient.client import HTTPClient, HTTPClientPool
from geventhttpclient.url import URL

__all__ = ["OncePool"]

MOST_CONNECTIONS = 60_000
"""To one address: more than a process has descriptors or a machine ports. Nobody waits for another's connection."""


class OncePool(HTTPClientPool):
    """A client for each address that sends what it is told to, and not a second time.

    geventhttpclient repeats a GET whose connection was lost by itself, once for every connection that it may have
    open and once more: the system would be asked far more often than the statistics say.

    Args:
        timeout_s: how long a connection, and each part of an answer, is waited for.
    """

    def __init__(self, timeout_s: float) -> None:
        super().__init__(concurrency=MOST_CONNECTIONS, connection_timeout=timeout_s, network_timeout=timeout_s)

    def get_client(self, url: str | URL) -> HTTPClient:
        """The client of an address."""
        where = url if isinstance(url, URL) else URL(url)
        key = where.host, where.port
        if key not in self.clients:
            self.clients[key] = _Once.from_url(where, **self.client_args)
        return self.clients[key]


class _Once(HTTPClient):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connection_pool.size = -1  # so often it tries again, and once more; what bounds connections is set
