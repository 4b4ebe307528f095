"""Counts in a thread that the first request starts, and answers with the count."""

import threading
import time

count = 0
counter = None


def run():
    global count
    while True:
        count += 1
        time.sleep(0.005)


def application(environ, start_response):
    global counter
    if counter is None:
        counter = threading.Thread(target=run, daemon=True)
        counter.start()
    body = str(count).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
