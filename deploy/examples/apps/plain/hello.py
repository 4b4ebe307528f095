"""The smallest WSGI application: one function, called for each request (PEP 3333)."""


def application(environ, start_response):
    body = b"Hello from plain WSGI\n"
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
