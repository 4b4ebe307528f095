"""Requests of many shapes, one per path: what the bench sends to every server."""

import os
import time

PIECE = b"x" * 65536
MEGABYTES_10 = 160 * len(PIECE)
FILE = os.environ.get("BENCH_FILE")


def answer(start_response, body):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def uploaded(environ):
    """Reads the whole body in pieces; how long it was."""
    left, length, stream = int(environ.get("CONTENT_LENGTH") or 0), 0, environ["wsgi.input"]
    while left:
        piece = stream.read(min(left, len(PIECE)))
        if not piece:
            break
        left -= len(piece)
        length += len(piece)
    return length


def big(start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream"), ("Content-Length", str(MEGABYTES_10))])


def spun():
    """Some milliseconds of nothing but Python, which nobody else's code can run beside."""
    return b"%d" % sum(number * number for number in range(100_000))


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/sleep":
        time.sleep(1)
    elif path == "/spin":
        return answer(start_response, spun())
    elif path in ("/upload", "/form"):
        return answer(start_response, b"%d" % uploaded(environ))
    elif path == "/generator":
        big(start_response)
        return (PIECE for _ in range(160))
    elif path == "/file":
        big(start_response)
        held = open(FILE, "rb")
        wrapper = environ.get("wsgi.file_wrapper")
        return wrapper(held, len(PIECE)) if wrapper else iter(lambda: held.read(len(PIECE)), b"")
    return answer(start_response, b"Hello World\n")
