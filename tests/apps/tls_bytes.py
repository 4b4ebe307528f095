"""Sends bytes over TLS, each input whole, byte by byte and in random pieces, and tells what came of it: `tls_bytes.py PORT RECORD`
reads one JSON object a line, `{"what": name, "bytes": text in latin-1}`, and prints one for each way: what came back, and what
the app (`recorder.py`, which writes to RECORD) saw of it. Each `@` in the bytes becomes a number that no other input has, by
which what the app saw is known."""

import json
import random
import socket
import ssl
import sys

PORT, RECORD = int(sys.argv[1]), sys.argv[2]
CONTEXT = ssl.create_default_context()
CONTEXT.check_hostname = False
CONTEXT.verify_mode = ssl.CERT_NONE


def exchange(pieces):
    stream = socket.create_connection(("127.0.0.1", PORT), 20)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream = CONTEXT.wrap_socket(stream, server_hostname="localhost")
    heard = b""
    try:
        for piece in pieces:
            stream.sendall(piece)
    except OSError:
        pass  # it has heard enough
    try:
        while more := stream.recv(65536):
            heard += more
    except OSError as error:
        heard += f"<{type(error).__name__}>".encode()
    return heard.decode("latin-1")


def split(bytes_, choice):
    pieces = []
    while bytes_:
        length = choice.randint(1, max(1, len(bytes_) // 3))
        pieces.append(bytes_[:length])
        bytes_ = bytes_[length:]
    return pieces


outcomes = []
for line in sys.stdin:
    given = json.loads(line)
    for way in ("whole", "byte by byte", "split with seed 1", "split with seed 2"):
        number = 1000 + len(outcomes)
        sent = given["bytes"].replace("@", str(number)).encode("latin-1")
        if way == "whole":
            pieces = [sent]
        elif way == "byte by byte":
            pieces = [bytes([byte]) for byte in sent]
        else:
            pieces = split(sent, random.Random(way))
        outcomes.append({"what": given["what"], "way": way, "heard": exchange(pieces), "seen": []})
# What comes last was seen last: the app has one thread.
exchange([b"GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"])
with open(RECORD) as record:
    for request in map(json.loads, record):
        name, number = request["PATH_INFO"][:-4], request["PATH_INFO"][-4:]
        if number.isdigit():
            body = "<error>" if "body_error" in request else request.get("body", "")
            outcomes[int(number) - 1000]["seen"].append(f"{request['REQUEST_METHOD']} {name} {body}".rstrip())
for outcome in outcomes:
    print(json.dumps(outcome))
