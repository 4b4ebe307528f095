"""Clients that hold on to their connections: `holds_on.py PORT TLS_PORT` brings each into a state of its own, says that all are
there, and then reads nothing before the first of them has been ended; says when all have been."""

import socket
import ssl
import sys

PORT, TLS_PORT = int(sys.argv[1]), int(sys.argv[2])
HEAD = b" HTTP/1.1\r\nHost: localhost\r\n"
WEBSOCKET = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
# RFC 9113, sections 3.4 and 4.1: SETTINGS, and a HEADERS that is a whole GET.
HTTP2 = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
    + b"\0\0\6\1\5\0\0\0\1" + b"\x82\x87\x84\x01\x01a"
)

held = []


def plain():
    return socket.create_connection(("127.0.0.1", PORT), 60)


def tls(protocol="http/1.1"):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    return context.wrap_socket(socket.create_connection(("127.0.0.1", TLS_PORT), 60), server_hostname="localhost")


def hold(stream, says, until):
    stream.sendall(says)
    heard = b""
    while until not in heard:
        more = stream.recv(65536)
        assert more, (says, heard)
        heard += more
    held.append(stream)


for connect in (plain, tls):
    hold(connect(), b"GET /idle" + HEAD + b"\r\n", b"\r\n\r\nok")
    hold(connect(), b"GET /half" + HEAD + b"X", b"")
    hold(connect(), b"POST /read" + HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 70000, b"")
    hold(connect(), b"GET /endless" + HEAD + b"\r\n", b"xxx")
    hold(connect(), b"GET /ws" + HEAD + WEBSOCKET, b" 101 ")
hold(tls("h2"), HTTP2, b"ok")
print("all are there", flush=True)
for stream in held:
    try:
        while stream.recv(65536):
            pass
    except TimeoutError:
        raise
    except OSError:
        pass
print("all have ended", flush=True)
