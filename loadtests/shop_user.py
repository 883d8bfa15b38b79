"""A user of the shop, in whatever model: does a journey, and sends each of its requests once."""

from collections.abc import Callable, Generator
from random import Random
from typing import Any, ClassVar

from geventhttpclient.client import HTTPClient, HTTPClientPool
from geventhttpclient.url import URL
from locust import FastHttpUser
from locust.env import Environment
from locust.exception import RescheduleTask

from brownout.journeys import Journey, Request, Response
from target import well

__all__ = ["ANSWER_S", "ShopUser"]

ANSWER_S = 15.0
"""How long an answer is waited for: longer than the 10 s after which a service gives one at the latest (clause 3.1)."""

MOST_CONNECTIONS = 60_000
"""To one address: more than a process has descriptors or a machine ports. Nobody waits for another's connection."""

Send = Callable[[Request], Response]


class _OncePool(HTTPClientPool):
    """A client for each address that sends what it is told to, and not a second time.

    geventhttpclient repeats a GET whose connection was lost by itself, once for every connection that it may have
    open and once more: the system would be asked far more often than the statistics say.
    """

    def __init__(self) -> None:
        super().__init__(concurrency=MOST_CONNECTIONS, connection_timeout=ANSWER_S, network_timeout=ANSWER_S)

    def get_client(self, url: str | URL) -> HTTPClient:
        where = url if isinstance(url, URL) else URL(url)
        key = where.host, where.port
        if key not in self.clients:
            self.clients[key] = _Once.from_url(where, **self.client_args)
        return self.clients[key]


class _Once(HTTPClient):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connection_pool.size = -1  # so often it tries again, and once more; what bounds connections is set


class ShopUser(FastHttpUser):
    """A user who does a journey.

    Attributes:
        journey: what the user does.
    """

    abstract = True
    client_pool = _OncePool()
    journey: ClassVar[Journey]

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._random = Random()  # noqa: S311 - no secret; unseeded, or a second run would register the same users
        self._arranged: Any = None

    def _arrange(self, send: Send) -> None:
        """Do what the journey needs to be there before.

        Raises:
            RescheduleTask: a request of it failed.
        """

        def surely(request: Request) -> Response:
            response = send(request)
            if not well(response.status):
                raise RescheduleTask
            return response

        if self.journey.arrange:
            self._arranged = _through(self.journey.arrange(self._random), surely)

    def _act(self, send: Send) -> None:
        _through(self.journey.act(self._arranged, self._random), send)


def _through(steps: Generator[Request, Response, Any], send: Send) -> Any:
    """Send every request that a journey yields, give it the answer, and return what it returns."""
    try:
        request = next(steps)
        while True:
            request = steps.send(send(request))
    except StopIteration as done:
        return done.value
