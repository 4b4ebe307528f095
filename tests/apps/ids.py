"""Answers `VERSION BOOT PID`: what the vassal file says, a number that changes with each import, and the worker."""

import os
import time

BOOT = time.time_ns()
VERSION = os.environ.get("VERSION", "none")


def application(environ, start_response):
    body = f"{VERSION} {BOOT} {os.getpid()}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
