"""Writes down every request it gets, one line of JSON each, into the file that `pyargv` names, and answers with how many."""

import json
import sys

requests = 0


def application(environ, start_response):
    global requests
    requests += 1
    seen = {key: value for key, value in environ.items() if isinstance(value, str)}
    try:
        if environ["PATH_INFO"] != "/unread":
            seen["body"] = environ["wsgi.input"].read().decode("latin-1")
    except OSError as error:
        seen["body_error"] = str(error)
    with open(sys.argv[1], "a") as file:
        file.write(json.dumps(seen) + "\n")
    answer = f"request {requests}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(answer)))])
    return [answer]
