"""What Locust's web page shows of a run of the open model: a tab with what became of arrivals, and the same as JSON."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import msgspec
from flask import Response, jsonify, request
from locust.web import WebUI

from brownout.errors import BrownoutError
from load_run import LoadRun
from tally import Tally, quantile

__all__ = ["show"]

TAB = "arrivals"
COLUMNS = {
    "name": "Generator",
    "taken": "# Taken",
    "ended": "# Ended",
    "dropped": "# Dropped",
    "cut": "# Cut",
    "returned": "# Returned",
    "lost": "# Lost",
    "late_p50": "Late p50 (ms)",
    "late_p99": "Late p99 (ms)",
}


def show(web_ui: WebUI, load: LoadRun) -> None:
    """Show what became of arrivals.

    Raises:
        BrownoutError: the page's port is taken.
    """
    assert web_ui.app  # noqa: S101 - it has one from its beginning to its end
    _refuse_taken(web_ui.host, web_ui.port)
    structure = [{"key": key, "title": title} for key, title in COLUMNS.items()]
    web_ui.template_args["extended_tabs"] = [{"key": TAB, "title": "Arrivals"}]
    web_ui.template_args["extended_tables"] = [{"key": TAB, "structure": structure}]

    def tell() -> Response:
        return jsonify(load.summary())

    def extend(response: Response) -> Response:
        """Add the tab's rows to what the page asks for every other second; so does Locust's own example."""
        if request.path.endswith("/stats/requests") and response.is_json:
            table = {"key": TAB, "data": [*_rows(load)]}
            response.set_data(jsonify({**(response.json or {}), "extended_stats": [table]}).data)
        return response

    web_ui.app.add_url_rule("/arrivals", view_func=tell)
    web_ui.app.after_request(extend)


def _rows(load: LoadRun) -> Iterator[dict[str, Any]]:
    result = load.result()
    yield {**_row(f"All {result.arrivals} arrivals", result.tally), "lost": result.lost}
    for name, tally in load.dispatcher.tallies().items():
        yield _row(name, tally)


def _row(name: str, tally: Tally) -> dict[str, Any]:
    late_ms = {f"late_p{100 * share:g}": quantile(tally.late_ms, share) for share in (0.5, 0.99)}
    return {**msgspec.structs.asdict(tally), **late_ms, "name": name}


def _refuse_taken(host: str, port: int) -> None:
    """Refuse a port that another has: Locust would tell it by a traceback, and end as if a run had failed."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        told = f"cannot be listened at: {os.strerror(error.errno)}" if error.errno else str(error)
        raise BrownoutError(f"{host or '0.0.0.0'}:{port}", told, "--web-port names another") from None
