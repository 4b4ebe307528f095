"""`/` answers at once; `/wait/FILE` answers when FILE exists, so that a story decides how long a request takes."""

import os
import time


def application(environ, start_response):
    path = environ["PATH_INFO"]
    body = b"at once"
    if path.startswith("/wait/"):
        while not os.path.exists(path[len("/wait") :]):
            time.sleep(0.005)
        body = b"waited"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
