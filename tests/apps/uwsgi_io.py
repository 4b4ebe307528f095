"""Talks to its client through the `uwsgi` module: WebSockets, chunked bodies, raw answers, files."""

import os

import uwsgi


def websocket():
    uwsgi.websocket_handshake()
    while True:
        message = uwsgi.websocket_recv()
        if message == b"leave":
            return
        if message.startswith(b"bytes "):
            uwsgi.websocket_send_binary(message)
        else:
            uwsgi.websocket_send("echo " + message.decode())


def waited():
    reading, writing = os.pipe()
    try:
        nothing = uwsgi.wait_fd_read(reading, 1), uwsgi.ready_fd()
        os.write(writing, b"x")
        there = uwsgi.wait_fd_read(reading, 1), uwsgi.ready_fd() == reading, uwsgi.recv(reading)
        return repr((nothing, there, uwsgi.wait_fd_write(writing), uwsgi.send(writing, b"y"), uwsgi.recv(reading, 9)))
    finally:
        uwsgi.close(reading)
        uwsgi.close(writing)


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/ws":
        websocket()
        return []
    if path == "/raw":
        uwsgi.send(b"HTTP/1.0 203 Raw\r\nX-Raw: yes\r\n\r\n")
        uwsgi.send(b"sent as it is")
        return []
    if path == "/disconnect":
        write = start_response("200 OK", [("Content-Length", "2")])
        write(b"ok")
        uwsgi.disconnect()
        with open(environ["QUERY_STRING"], "w") as done:
            done.write("after the answer")
        return []
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/sendfile":
        return uwsgi.sendfile(environ["QUERY_STRING"], 0, 2, 5)
    if path == "/chunked":
        pieces = []
        while piece := uwsgi.chunked_read():
            pieces.append(piece)
        return [b"".join(pieces), b"|" + (uwsgi.chunked_read_nb() or b"")]
    if path == "/wait":
        return [waited().encode()]
    return [b"ok"]
