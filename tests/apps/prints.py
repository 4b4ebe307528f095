"""Prints what the path asks for and answers with `ok`: `/lines/FROM/NUMBER` numbered lines, `/flood/BYTES` no line's end at
all, `/bytes` every byte there is, `/raise` a traceback; else nothing."""

import os
import sys


def application(environ, start_response):
    what, *rest = environ["PATH_INFO"][1:].split("/")
    if what == "lines":
        first, number = map(int, rest)
        for line in range(first, first + number):
            os.write(1, b"line %d of the app\n" % line)
    elif what == "flood":
        for _ in range(int(rest[0]) // 65536):
            os.write(1, b"x" * 65536)
        os.write(1, b"\n")
    elif what == "bytes":
        os.write(2, b"\x1b[31m\x1b]0;title\x07" + bytes(range(256)) + b"\n")
    elif what == "raise":
        raise RuntimeError('asked "for"')
    print("printed", file=sys.stderr, flush=True)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]
