"""The clients: wrk and h2load for throughput, and a few of our own for what these cannot do. All run on the other core."""

import os
import re
import ssl
import subprocess
import threading
import time
from pathlib import Path

from process import LOAD_CORE

HERE = Path(__file__).resolve().parent
PINNED = ["taskset", "-c", LOAD_CORE]


def wrk(url, connections, seconds, *, closes=False, upload_bytes=0):
    command = [*PINNED, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "10s", "-s", str(HERE / "report.lua")]
    if closes:
        command += ["-H", "Connection: close"]
    output = subprocess.run([*command, url], capture_output=True, text=True, check=True,
                            env={**os.environ, "BENCH_UPLOAD_BYTES": str(upload_bytes)}).stdout
    found = {name: float(value) for name, value in re.findall(r"(\w+)=([\d.]+)", re.search(r"^bench (.*)$", output, re.MULTILINE)[1])}
    taken_s = found["us"] / 1e6
    received = found["bytes"] + found["requests"] * upload_bytes
    return {"requests": found["requests"], "rate": found["requests"] / taken_s, "mib_s": received / taken_s / 2**20, "p50": found["p50"],
            "p99": found["p99"], "p999": found["p999"], "errors": int(found["errors"])}


def h2load(url, connections, seconds):
    """HTTP/2, with 8 streams at once on each connection."""
    command = [*PINNED, "h2load", "-t1", f"-c{connections}", "-m8", f"-D{seconds}", url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    done, succeeded, failed, errored = (
        int(re.search(rf"(\d+) {word}", output)[1]) for word in ("done", "succeeded", "failed", "errored"))
    if "Application protocol: h2" not in output:
        failed += done
    return {"requests": succeeded, "rate": succeeded / seconds, "errors": failed + errored}


class Sleepers:
    """One request after the other that sleeps in the app, on a connection of its own."""

    def __init__(self, server):
        self.server, self.over, self.slept = server, threading.Event(), 0
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.is_set():
            with self.server.connection(10) as connection:
                connection.sendall(b"GET /sleep HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                while connection.recv(65536):
                    pass
            self.slept += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def idle(server, number):
    """So many connections that have been answered once and say nothing more."""
    request, held = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", []
    try:
        for _ in range(number):
            held.append(server.connection(10))
            held[-1].sendall(request)
            if not held[-1].recv(4096).startswith(b"HTTP/1.1 200"):
                raise OSError("not a 200")
    except OSError as error:
        for connection in held:
            connection.close()
        raise OSError(f"connection {len(held)} of {number}: {error}") from error
    return held


class Attackers:
    """Connections that send a byte of a head, or of a body, each second; one that the server has closed comes again."""

    HEAD = b"GET /form HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
    BODY = b"POST /form HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"

    def __init__(self, server, number, beginning):
        self.server, self.beginning, self.over = server, beginning, threading.Event()
        self.held = [self.begun() for _ in range(number)]
        self.thread = threading.Thread(target=self.run)

    def begun(self):
        connection = self.server.connection(10)
        connection.sendall(self.beginning)
        connection.setblocking(False)
        return connection

    def run(self):
        while not self.over.is_set():
            round_began = time.monotonic()
            for place, connection in enumerate(self.held):
                try:
                    connection.send(b"x")
                except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    pass
                except OSError:
                    connection.close()
                    self.held[place] = self.begun()
            self.over.wait(max(0.0, 1 - (time.monotonic() - round_began)))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        for connection in self.held:
            connection.close()
