"""Calls the `uwsgi` module: `/reload`, `/stop`, `/opt`, and `/` for the rest."""

import json
import time

import uwsgi

BOOT = time.time_ns()


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/reload":
        uwsgi.reload()
    elif path == "/stop":
        uwsgi.stop()
    shown = {
        "boot": BOOT,
        "version": uwsgi.version if isinstance(uwsgi.version, str) else uwsgi.version.decode(),
        "numproc": uwsgi.numproc,
        "worker_id": uwsgi.worker_id(),
        "masterpid": uwsgi.masterpid(),
        "workers": len(uwsgi.workers()),
        "total_requests": uwsgi.total_requests(),
        "opt": sorted(key if isinstance(key, str) else key.decode() for key in uwsgi.opt),
    }
    try:
        uwsgi.i_am_the_lord("x")
    except AttributeError:
        shown["absent"] = "AttributeError"
    body = json.dumps(shown).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
