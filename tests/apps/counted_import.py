"""Writes a line to the file named by IMPORTS each time it is imported."""

import os

with open(os.environ["IMPORTS"], "a") as ledger:
    ledger.write(f"{os.getpid()}\n")


def application(environ, start_response):
    body = os.environ.get("VERSION", "none").encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
