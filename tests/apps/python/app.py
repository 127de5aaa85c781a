"""Counts its visits in a file of its workspace, and leaves last words on TERM."""

import os
import signal
import sys
import time
from pathlib import Path
from wsgiref.simple_server import make_server

import bottle

BEGAN = time.monotonic()
VISITS = Path("visits.txt")


def visits() -> int:
    return len(VISITS.read_text().splitlines()) if VISITS.exists() else 0


@bottle.get("/")
def index():
    bottle.response.content_type = "text/plain; charset=utf-8"
    return f"visits: {visits()}\n"


@bottle.get("/visit")
def visit():
    with VISITS.open("a") as file:
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} python\n")
    return index()


def leave(_signal, _frame):
    lived = time.monotonic() - BEGAN
    Path("last-words.txt").write_text(f"python lived for {lived:.0f}s and saw {visits()} visits\n")
    sys.exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, leave)
    server = make_server("0.0.0.0", int(os.environ.get("PORT", "8000")), bottle.default_app())
    print(f"listening on {server.server_port}", flush=True)
    server.serve_forever()
