"""Slow clients over TLS: `slow_tls.py PORT NUMBER` opens so many that send a head, and so many that send a body, a byte
each half second, until each is hung up on or 20 s have passed; then says how many were."""

import socket
import ssl
import sys
import time

PORT, NUMBER = int(sys.argv[1]), int(sys.argv[2])
CONTEXT = ssl.create_default_context()
CONTEXT.check_hostname = False
CONTEXT.verify_mode = ssl.CERT_NONE

HEAD = b"GET / HTTP/1.1\r\nHost: h\r\nX: "
BODY = b"POST /read HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n"


def client(beginning):
    stream = CONTEXT.wrap_socket(socket.create_connection(("127.0.0.1", PORT)), server_hostname="localhost")
    stream.sendall(beginning)
    stream.setblocking(False)
    return stream


def is_there(stream):
    """Whether it can still be talked to, after one byte more."""
    try:
        stream.send(b"a")
        return stream.recv(65536) != b""
    except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return True
    except OSError:
        return False


heads = [client(HEAD) for _ in range(NUMBER)]
bodies = [client(BODY) for _ in range(NUMBER)]
print("all are there", flush=True)
deadline = time.monotonic() + 20
while (heads or bodies) and time.monotonic() < deadline:
    heads = [stream for stream in heads if is_there(stream)]
    bodies = [stream for stream in bodies if is_there(stream)]
    time.sleep(0.5)
print(f"ended: heads {NUMBER - len(heads)} of {NUMBER}, bodies {NUMBER - len(bodies)} of {NUMBER}", flush=True)
