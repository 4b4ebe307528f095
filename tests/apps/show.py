"""Answers with the WSGI environment and the process as JSON; `/read` with what `wsgi.input` holds; `/raise` not at all."""

import json
import os
import sys


def application(environ, start_response):
    if environ["PATH_INFO"] == "/raise":
        raise RuntimeError("asked for")
    if environ["PATH_INFO"] == "/read":
        body = environ["wsgi.input"].read()
    else:
        shown = {key: value for key, value in environ.items() if isinstance(value, (str, bool, int, tuple))}
        shown["process"] = {
            "pid": os.getpid(),
            "uid": os.getuid(),
            "gid": os.getgid(),
            "groups": os.getgroups(),
            "cwd": os.getcwd(),
            "python": ".".join(map(str, sys.version_info[:3])),
            "prefix": sys.prefix,
            "environment": dict(os.environ),
        }
        body = json.dumps(shown).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
