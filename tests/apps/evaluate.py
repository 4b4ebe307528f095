"""Evaluates the Python expression in the body of a POST, with `uwsgi` at hand: answers with its repr, or with what it
raised. A GET answers with the process and the import."""

import os
import time

import uwsgi

BOOT = time.time_ns()
SCOPE = {"uwsgi": uwsgi, "os": os, "time": time}


def application(environ, start_response):
    if environ["REQUEST_METHOD"] == "GET":
        answer = f"evaluate {BOOT} {os.getpid()}"
    else:
        text = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode()
        SCOPE["environ"] = environ
        try:
            answer = repr(eval(text, SCOPE))
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
    body = answer.encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
