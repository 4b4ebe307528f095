"""Grows: `/leak/MB` keeps so many megabytes for good, `/hold/MB/FILE` has them while FILE does not exist, `/thread` leaves a thread that waits for
ever, `/raise/NAME` raises that exception, `/stream/N/FILE` sends N numbered lines, the last half of them once FILE exists. Answers with the pid.
With BASE in the environment it has so many megabytes from its import on."""

import builtins
import os
import threading
import time

MEGABYTE = 1024 * 1024
kept = [bytearray(b"x") * (int(os.environ.get("BASE", "0")) * MEGABYTE)]


def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.005)


def lines(count, path):
    for number in range(count):
        if number == count // 2:
            wait_for(path)
        yield b"line %d\n" % number


def application(environ, start_response):
    words = environ["PATH_INFO"][1:].split("/")
    if words[0] == "raise":
        raise getattr(builtins, words[1])("asked for")
    if words[0] == "stream":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return lines(int(words[1]), "/" + "/".join(words[2:]))
    if words[0] == "leak":
        kept.append(bytearray(b"x") * (int(words[1]) * MEGABYTE))
    elif words[0] == "hold":
        held = bytearray(b"x") * (int(words[1]) * MEGABYTE)
        wait_for("/" + "/".join(words[2:]))
        del held
    elif words[0] == "thread":
        threading.Thread(target=threading.Event().wait).start()
    elif words[0] == "body":
        environ["wsgi.input"].read()
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
