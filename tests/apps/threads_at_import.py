"""Starts a thread while it is imported, as some agents and metrics libraries do."""

import threading

beat = threading.Event()
threading.Thread(target=beat.wait, name="heart-of-the-agent", daemon=True).start()


def application(environ, start_response):
    names = sorted(thread.name for thread in threading.enumerate())
    body = ",".join(names).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
