"""Answers as PEP 3333 allows, and as it forbids, where what counts is the moment or the ending. A route that waits does
so on the FIFO that the query string names, until somebody opens its other end. `/closed` tells who was closed."""

import gzip
import io
import os
import sys
import tempfile

closed = []
given = 0


class Closing:
    """An iterable that tells when it was closed."""

    def __init__(self, name, items):
        self.name, self.items = name, items

    def __iter__(self):
        yield from self.items

    def close(self):
        closed.append(self.name)


class ClosingFile(io.FileIO):
    """As PEP 3333 has it: the wrapper's `close` is the file's. A class of its own, so it is read in blocks."""

    def close(self):
        if not self.closed:
            closed.append("file-like")
        super().close()


def wait(fifo):
    with open(fifo, "rb") as other_end:
        other_end.read()


def waits_between(fifo):
    yield b"first"
    wait(fifo)
    yield b"second"


def blocks(number):
    global given
    block = b"0123456789abcdef" * 4096
    for _ in range(number):
        given += 1
        yield block


def child_returns():
    """A child that comes back up the stack, and its parent."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return child


def forks_midway():
    yield b"before,"
    yield b"parent" if child_returns() else b"child"


def text_midway():
    yield b"begun"
    yield "text"


def raises_midway():
    yield b"begun"
    raise ValueError("midway")


def file_of(size, start=0):
    held = tempfile.TemporaryFile()
    for _ in range(size // 10_000):
        held.write(b"0123456789" * 1000)
    held.write((b"0123456789" * 1000)[: size % 10_000])
    held.seek(start)
    return held


def application(environ, start_response):
    path, query, stream = environ["PATH_INFO"], environ["QUERY_STRING"], environ["wsgi.input"]
    wrapper = environ["wsgi.file_wrapper"]

    def start(*headers, status="200 OK"):
        return start_response(status, [("Content-Type", "text/plain"), *headers])

    if path == "/":
        start()
        return [b"%d" % os.getpid()]
    if path == "/given":
        start()
        return [b"%d" % given]
    if path == "/writes":
        write = start()
        for block in blocks(int(query)):
            write(block)
        return []
    if path == "/length":
        length = sum(len(part) for part in iter(lambda: stream.read(int(query)), b""))
        start()
        return [b"%d" % length]
    if path == "/closed":
        start()
        return [",".join(closed).encode()]
    if path == "/waits-between":
        start()
        return Closing("waits", waits_between(query))
    if path == "/waits-after-write":
        start()(b"first")
        wait(query)
        return [b"second"]
    if path == "/keeps-writing":
        write = start()
        try:
            while True:
                write(b"x" * 65536)
        except OSError as error:
            closed.append("write: %s" % error)
            raise
    if path == "/endless":
        start()
        return Closing("endless", iter(lambda: b"x" * 65536, b""))
    if path == "/endless-framed":
        start(("Content-Length", "70000"))
        return Closing("endless-framed", iter(lambda: b"x" * 65536, b""))
    if path == "/blocks":
        start()
        return Closing("blocks", blocks(int(query)))
    if path == "/text-midway":
        start()
        return Closing("text", text_midway())
    if path == "/raises-midway":
        start()
        return Closing("raises", raises_midway())
    if path == "/nothing":
        start()
        return Closing("nothing", [b"", b""])
    if path == "/head":
        start(("Content-Length", "12"))
        return Closing("head", [b"head", b"and body"])
    if path == "/status":
        start_response(query.replace("+", " "), [])
        return Closing(query[:3], [b"body"])
    if path == "/fork":
        start()
        return [b"parent" if child_returns() else b"child"]
    if path == "/fork-midway":
        start()
        return forks_midway()
    if path == "/fork-exits":
        if os.fork() == 0:
            sys.exit(7)
        status = os.wait()[1]
        start()
        return [b"exited with %d" % os.WEXITSTATUS(status)]
    if path == "/framed":
        lengths = [part for part in query.split("&") if part]
        start(*[tuple(part.split("=", 1)) for part in lengths])
        return [b"body"]
    if path == "/keyword":
        start()
        try:
            raise ValueError("replaced")
        except ValueError:
            start_response("503 Later", [("Content-Type", "text/plain")], exc_info=sys.exc_info())
        return [b"replaced"]
    if path == "/late-traceback":
        write = start()
        write(b"begun")
        try:
            raise ValueError("the first one")
        except ValueError:
            try:
                start_response("500 Oops", [], sys.exc_info())
            except ValueError as error:
                write(b",%s in %s" % (str(error).encode(), error.__traceback__.tb_frame.f_code.co_name.encode()))
        return []
    if path == "/errors":
        errors = environ["wsgi.errors"]
        errors.write("written\n")
        errors.writelines(["a line\n", "and another\n"])
        errors.flush()
        start()
        return [b"told"]
    if path == "/count":
        step, number, wrong = int(query), 0, 0
        while True:
            part = stream.read(step)
            wrong += part != bytes((number + at) % 251 for at in range(len(part)))
            number += len(part)
            if len(part) < step:
                break
        start()
        return [b"%d bytes, %d wrong, then %r" % (number, wrong, stream.read(1))]
    if path == "/sizes":
        parts = [stream.read(0), stream.readline(0), stream.read(3), stream.readline(2), stream.readline(100)]
        parts += [stream.readlines(1), list(stream), stream.read(), stream.read(5), stream.readline(), stream.readlines()]
        start()
        return [repr(parts).encode()]
    if path == "/read-twice":
        said = []
        for _ in range(2):
            try:
                said.append("%d" % len(stream.read()))
            except OSError as error:
                said.append("OSError: %s" % error)
        start()
        return ["; ".join(said).encode()]
    if path == "/file":
        start(*[("Content-Length", query)] if query else [])
        return wrapper(file_of(100_000, start=5), 4096)
    if path == "/gzip":
        held = tempfile.TemporaryFile()
        with gzip.GzipFile(fileobj=held, mode="wb") as packed:
            packed.write(b"unpacked" * 1000)
        held.seek(0)
        start()
        return wrapper(gzip.GzipFile(fileobj=held))
    if path == "/pipe":
        read, write = os.pipe()
        os.write(write, b"from a pipe")
        os.close(write)
        start()
        return wrapper(open(read, "rb"))
    if path == "/file-like":
        start()
        return wrapper(ClosingFile("/proc/self/comm"))
    if path == "/named":
        held = tempfile.NamedTemporaryFile()
        held.write(b"0123456789")
        held.seek(8)
        start()
        return wrapper(held)
    if path == "/rewritten":
        held = tempfile.TemporaryFile()
        held.write(b"stale")
        held.flush()
        held.seek(0)
        held.write(b"fresh")
        held.seek(0)
        start()
        return wrapper(held)
    if path == "/big-file":
        start()
        return wrapper(file_of(int(query)))
    start(status="404 Not Found")
    return [b"not here"]
