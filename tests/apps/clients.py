"""Answers with the worker's pid, after what the path asks for: `/sleep/MS`, `/hold/FILE` (makes FILE.begun, waits until FILE exists), `/read` (the
body's length first), `/sized/BYTES`, `/tasks` (the number of the process's threads), `/fork` (through a child of its own)."""

import os
import time


def application(environ, start_response):
    first, _, rest = environ["PATH_INFO"][1:].partition("/")
    body = str(os.getpid()).encode()
    if first == "sleep":
        began = time.monotonic()
        time.sleep(int(rest) / 1000)
        assert time.monotonic() - began >= int(rest) / 1000, "the sleep was cut short"
    elif first == "hold":
        open("/" + rest + ".begun", "w").close()
        while not os.path.exists("/" + rest):
            time.sleep(0.002)
    elif first == "read":
        body = str(len(environ["wsgi.input"].read())).encode()
    elif first == "sized":
        body = b"x" * int(rest)
    elif first == "tasks":
        body = str(len(os.listdir("/proc/self/task"))).encode()
    elif first == "fork":
        child = os.fork()
        if child == 0:
            time.sleep(0.1)
            os._exit(7)
        body = str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
