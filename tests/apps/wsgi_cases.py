"""A route for each way in which a WSGI app may answer, or misbehave. `/closed` tells how often `close()` was called."""

import os
import sys
import tempfile
import threading
import time

closed = {"times": 0}


class Items:
    """An iterable that is closed, and may break."""

    def __init__(self, items, breaks_at=None, close_raises=False):
        self.items, self.breaks_at, self.close_raises = items, breaks_at, close_raises

    def __iter__(self):
        for number, item in enumerate(self.items):
            if number == self.breaks_at:
                raise ValueError("the iterable breaks")
            yield item

    def close(self):
        closed["times"] += 1
        if self.close_raises:
            raise ValueError("close breaks")


def plain(start_response, body=b"plain", headers=(), status="200 OK"):
    start_response(status, [("Content-Type", "text/plain"), *headers])
    return [body]


def application(environ, start_response):
    path = environ["PATH_INFO"]
    query = environ["QUERY_STRING"]
    stream = environ["wsgi.input"]
    if path == "/plain":
        return plain(start_response)
    if path == "/closed":
        return plain(start_response, str(closed["times"]).encode())
    if path == "/items":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Items([b"one", b"", b"two", b"three"])
    if path == "/breaks-first":
        start_response("200 OK", [])
        return Items([b"one"], breaks_at=0)
    if path == "/breaks-midway":
        start_response("200 OK", [])
        return Items([b"one", b"two"], breaks_at=1)
    if path == "/close-raises":
        start_response("200 OK", [])
        return Items([b"one"], close_raises=True)
    if path == "/generator":
        return generator(start_response)
    if path == "/text":
        start_response("200 OK", [])
        return ["text"]
    if path == "/bytes":
        start_response("200 OK", [])
        return b"bytes"
    if path == "/empty":
        start_response("200 OK", [])
        return []
    if path == "/no-start":
        return [b"nothing"]
    if path == "/raise":
        raise RuntimeError("asked for")
    if path == "/exit":
        sys.exit(3)
    if path == "/write":
        write = start_response("200 OK", [("Content-Length", "9")])
        write(b"one")
        write(b"two")
        return [b"end"]
    if path == "/short":
        start_response("200 OK", [("Content-Length", "10")])
        return [b"short"]
    if path == "/long":
        start_response("200 OK", [("Content-Length", "4")])
        return [b"longer than that"]
    if path == "/status":
        start_response(query.replace("+", " "), [])
        return [b"body"]
    if path == "/header":
        name, value = query.split("=", 1)
        unescape = lambda text: text.replace("%0d", "\r").replace("%0a", "\n").replace("%00", "\0").replace("%20", " ")
        start_response("200 OK", [(unescape(name), unescape(value))])
        return [b"body"]
    if path == "/header-type":
        start_response("200 OK", [(b"X-Bytes", b"value")])
        return [b"body"]
    if path == "/headers-tuple":
        start_response("200 OK", (("X-Y", "z"),))
        return [b"body"]
    if path == "/latin":
        start_response("200 OK", [("X-Latin", "\u00e4"), ("X-Back", environ.get("HTTP_X_SENT", ""))])
        return [b"body"]
    if path == "/twice":
        start_response("200 OK", [])
        start_response("201 Created", [])
        return [b"body"]
    if path == "/exc-info":
        start_response("200 OK", [("X-Old", "1")])
        try:
            raise ValueError("replaced")
        except ValueError:
            start_response("500 Oops", [("X-New", "1")], sys.exc_info())
        return [b"replaced"]
    if path == "/exc-info-late":
        return late(start_response)
    if path == "/read":
        body = stream.read(int(query)) if query else stream.read()
        return plain(start_response, body)
    if path == "/lines":
        out = [stream.readline(), stream.readline(3), *stream.readlines(4), *list(stream)]
        return plain(start_response, repr(out).encode())
    if path == "/read-caught":
        try:
            stream.read()
        except OSError as error:
            return plain(start_response, ("OSError: %s" % error).encode())
        return plain(start_response, b"no error")
    if path == "/unread":
        return plain(start_response, b"unread")
    if path == "/file":
        size = int(query or 100000)
        held = tempfile.TemporaryFile()
        held.write(b"0123456789" * (size // 10))
        held.seek(5)
        start_response("200 OK", [("Content-Type", "application/octet-stream")])
        return environ["wsgi.file_wrapper"](held, 4096)
    if path == "/file-like":
        import io

        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"x" * 10000))
    if path == "/big":
        start_response("200 OK", [])
        return Items([b"x" * 65536] * (int(query or 160)))
    if path == "/sleep":
        time.sleep(float(query))
        return plain(start_response, b"slept")
    if path == "/environ":
        wanted = environ.get(query)
        return plain(start_response, repr(wanted).encode())
    if path == "/keys":
        return plain(start_response, repr(sorted(environ)).encode())
    if path == "/thread":
        return plain(start_response, threading.current_thread().name.encode())
    if path == "/pid":
        return plain(start_response, str(os.getpid()).encode())
    if path == "/fork":
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        return plain(start_response, b"forked")
    return plain(start_response, b"not here", status="404 Not Found")


def generator(start_response):
    start_response("200 OK", [("X-Late", "1")])
    yield b""
    yield b"late"


def late(start_response):
    start_response("200 OK", [])
    yield b"begun"
    try:
        raise ValueError("too late")
    except ValueError:
        start_response("500 Oops", [], sys.exc_info())
    yield b"never"
