"""A request whose connection is lost is sent once, and reported once: by both models."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from shop_stand_in import begun, locust, written_down


class Cutting:
    """A server that reads each request and hangs up."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.requests = 0

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                self.requests += connection.recv(65_536).startswith(b"GET ")


@contextmanager
def cutting() -> Iterator[Cutting]:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        server = Cutting(listener)
        thread = Thread(target=server.serve)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("file", "arguments"),
    [("open_model.py", ("--rate", "20", "OpenMe")), ("locustfile.py", ("ClosedMe",))],
)
def test_a_lost_request_is_sent_and_counted_once(tmp_path: Path, file: str, arguments: tuple[str, ...]) -> None:
    with begun() as stand_in, cutting() as gateway:
        address = f"http://127.0.0.1:{gateway.listener.getsockname()[1]}"
        written_down(tmp_path, {**stand_in.addresses, "gateway": address})
        told = locust(tmp_path, "-u", "4", "-r", "4", "-t", "3s", *arguments, file=file)
        row = told.statistics["GET gateway /api/users/me"]
        assert row["num_requests"] == row["num_failures"] > 0
        assert gateway.requests - row["num_requests"] in range(5)  # a user each may just be asking as the run ends
