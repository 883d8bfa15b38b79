"""A system of two small services, soon up: to be broken, and its runs to be killed."""

from pathlib import Path

__all__ = ["EDGE", "SERVERS", "SERVICE", "TOPOLOGY", "write_system"]

EDGE = "front -> back"
SERVICE = """
import json, os, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/relay":
            urllib.request.urlopen(os.environ["BACK"] + "/health", timeout=10).read()
        body = json.dumps({"status": "UP", "disk": "UP"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

host, port = os.environ["LISTEN"].split(":")
ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
"""
TOPOLOGY = """
entry = "front"
[env]
LISTEN = "{{listen}}"
[services.front]
command = ["{{python}}", "{service}"]
env = {{ BACK = "http://{{back}}"{servers} }}
[services.back]
command = ["{{python}}", "{service}"]
"""


SERVERS = ', SERVERS = "{postgres} {consul} {otlp}"'
"""Names them, so that they are started; nobody uses them."""


def write_system(folder: Path, servers: str = "") -> None:
    """Write the system's program and its topology below a folder, where they are looked for.

    Args:
        folder: where.
        servers: `SERVERS`, where the real servers shall run besides Toxiproxy.
    """
    (folder / "system").mkdir()
    (folder / "service.py").write_text(SERVICE)
    (folder / "system" / "topology.toml").write_text(TOPOLOGY.format(service=folder / "service.py", servers=servers))
