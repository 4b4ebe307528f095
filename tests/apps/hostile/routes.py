"""What an app can do while it answers: each fault is a path, with what it needs to know behind it."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

from hostile import harm

imported_as = ""


def plain(start_response, body=b"well", headers=(), status="200 OK"):
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *headers])
    return [body]


class Items:
    """An iterable whose `close()` is counted, and may raise."""

    closed = 0

    def __init__(self, items, close_raises=False):
        self.items, self.close_raises = items, close_raises

    def __iter__(self):
        return iter(self.items)

    def close(self):
        Items.closed += 1
        if self.close_raises:
            raise ValueError("close() fails")


def raises_midway():
    yield b"first"
    raise ValueError("the iterable fails")


def endless():
    while True:
        yield b"x" * 1024


def streamed(start_response, items, length=None, close_raises=False):
    headers = [("Content-Type", "text/plain")]
    start_response("200 OK", headers if length is None else [*headers, ("Content-Length", str(length))])
    return Items(items, close_raises)


def iterator(start_response, kind):
    return {
        "raises": lambda: streamed(start_response, raises_midway()),
        "close-raises": lambda: streamed(start_response, [b"all"], close_raises=True),
        "str": lambda: streamed(start_response, ["text"]),
        "empty": lambda: streamed(start_response, [b"", b"", b"well", b""]),
        "endless": lambda: streamed(start_response, endless()),
        "closed": lambda: plain(start_response, str(Items.closed).encode()),
    }[kind]()


def header(start_response, kind):
    name, value = {
        "newline": ("X-Split", "a\r\nInjected: yes"),
        "nul": ("X-Nul", "a\0b"),
        "name": ("X Bad:", "a"),
        "framing": ("Transfer-Encoding", "chunked"),
        "length": ("Content-Length", "3"),
    }[kind]
    return plain(start_response, headers=[(name, value)])


def start_twice(start_response, kind):
    headers = [("Content-Type", "text/plain"), ("Content-Length", "4")]
    start_response("200 OK", headers)
    if kind == "twice":
        start_response("201 Created", headers)
    elif kind == "exc-info":
        try:
            raise ValueError("replaced")
        except ValueError:
            start_response("500 Replaced", headers, sys.exc_info())
    return [b"well"]


def fork(start_response, kind):
    child = os.fork()
    if kind == "wait" and child:
        os.waitpid(child, 0)
    # The child comes back up the stack, too.
    return plain(start_response, b"parent" if child else b"child!")


def children(start_response, kind):
    if kind == "process":
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
        process.start()
        pid = process.pid
    else:
        pid = subprocess.Popen(["sleep", "3600"]).pid
    return plain(start_response, str(pid).encode())


def kill(start_response, whom):
    pid = {"parent": os.getppid, "group": lambda: 0, "all": lambda: -1, "self": os.getpid}[whom]()
    os.kill(pid, signal.SIGKILL)
    return plain(start_response)


def after(start_response, harm_done):
    harm_done()
    return plain(start_response)


def crash_in_thread():
    thread = threading.Thread(target=ctypes.string_at, args=(0,))
    thread.start()
    thread.join()


ROUTES = {
    "": lambda start, rest: plain(start),
    "pid": lambda start, rest: plain(start, str(os.getpid()).encode()),
    "mode": lambda start, rest: plain(start, imported_as.encode()),
    "cwd": lambda start, rest: plain(start, os.getcwd().encode()),
    "exit": lambda start, rest: after(start, lambda: os._exit(int(rest or 0))),  # A5
    "sys-exit": lambda start, rest: after(start, lambda: sys.exit(int(rest or 0))),
    "abort": lambda start, rest: after(start, os.abort),
    "segv": lambda start, rest: after(start, lambda: ctypes.string_at(0)),
    "segv-in-thread": lambda start, rest: after(start, crash_in_thread),
    "raise": lambda start, rest: after(start, lambda: {}["raised"]),
    "sleep": lambda start, rest: after(start, lambda: time.sleep(float(rest))),
    "deadlock": lambda start, rest: after(start, lambda: threading.Lock().acquire() and threading.Event().wait()),
    "gil": lambda start, rest: after(start, lambda: harm.hold_the_gil(float(rest))),  # A8
    "loop": lambda start, rest: after(start, lambda: harm.spin(float(rest))),  # A9
    "fork-bomb": lambda start, rest: after(start, harm.fork_bomb),  # A10
    "daemon": lambda start, rest: after(start, lambda: harm.leave_a_daemon("/" + rest)),  # A11
    "leak-descriptors": lambda start, rest: after(start, harm.leak_descriptors),  # A12
    "leak-memory": lambda start, rest: after(start, lambda: harm.leak_memory(int(rest))),  # A13
    "leak-threads": lambda start, rest: after(start, lambda: harm.leak_threads(int(rest))),  # A14
    "close-descriptors": lambda start, rest: after(start, lambda: os.closerange(0, int(rest or 1024))),  # A15
    "careless": lambda start, rest: after(start, harm.be_careless),  # A16
    "log": lambda start, rest: after(start, lambda: harm.log(rest.split("/")[0], int(rest.split("/")[1]))),  # A17
    "iterator": iterator,  # A18
    "short": lambda start, rest: streamed(start, [b"short"], length=10),  # A19
    "long": lambda start, rest: streamed(start, [b"much longer"], length=4),
    "header": header,  # A20
    "start-response": start_twice,  # A21
    "unread": lambda start, rest: plain(start, b"unread"),  # A22
    "fork": fork,  # A23
    "children": children,  # A24
    "kill": kill,  # A30
}


def answer(environ, start_response):
    first, _, rest = environ["PATH_INFO"][1:].partition("/")
    route = ROUTES.get(first)
    if route is None:
        return plain(start_response, b"no such route", status="404 Not Found")
    return route(start_response, rest)
