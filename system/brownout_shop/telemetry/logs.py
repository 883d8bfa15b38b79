"""Logs as JSON lines on stderr, each with the trace and span it belongs to, and none with a secret."""

import json
import logging
import sys
import time
from collections.abc import Iterable

from opentelemetry import trace

__all__ = ["JsonFormatter", "log_as_json"]


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object.

    Args:
        always: what every line carries, such as the service's name.
        secrets: what no line tells, whoever wrote it.
    """

    def __init__(self, always: dict[str, str], secrets: Iterable[str] = ()) -> None:
        super().__init__()
        self._always = always
        self._secrets = [json.dumps(secret)[1:-1] for secret in secrets if secret]

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "at": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            **self._always,
            "logger": record.name,
            "message": record.getMessage(),
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            line["trace_id"] = trace.format_trace_id(span.trace_id)
            line["span_id"] = trace.format_span_id(span.span_id)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        text = json.dumps(line)
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def log_as_json(*, secrets: Iterable[str] = (), **always: str) -> None:
    """Send all logs from INFO upwards to stderr, without the secrets; libraries only from WARNING."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(always, secrets))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("brownout_shop").setLevel(logging.INFO)
