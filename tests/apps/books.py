"""Keeps books: writes the number of every request (its query) into a file of this process in the directory that BOOKS names, and answers with it and its body; a request
without one is not written down."""

import os

book = None


def application(environ, start_response):
    global book
    number = environ["QUERY_STRING"].encode()
    body = number + b" " + environ["wsgi.input"].read()
    if number and "BOOKS" in os.environ:
        if book is None or book[0] != os.getpid():
            path = os.path.join(os.environ["BOOKS"], str(os.getpid()))
            book = os.getpid(), os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(book[1], number + b"\n")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
