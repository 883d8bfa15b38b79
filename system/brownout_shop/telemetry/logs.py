"""Logs as JSON lines on stderr, each with the trace it belongs to."""

import json
import logging
import sys
import time

from opentelemetry import trace

__all__ = ["log_as_json"]


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object.

    Args:
        always: what every line carries, such as the service's name.
    """

    def __init__(self, always: dict[str, str]) -> None:
        super().__init__()
        self._always = always

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
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_as_json(**always: str) -> None:
    """Send all logs from INFO upwards to stderr; libraries only from WARNING."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(always))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("brownout_shop").setLevel(logging.INFO)
