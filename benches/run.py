#!/usr/bin/env python3
"""Hello world against an epoll server without Python, bjoern, granian, gunicorn and uWSGI, in one interleaved run.

The server is pinned to core 0 and wrk to core 1; all servers run at once and the load goes round them, so that whatever
else the machine does hits all alike. What counts is CPU time per request (user and system of all of a server's
processes, from /proc/PID/schedstat): it hardly moves with the machine's other load, where requests per second do.

    ./dev bench [--rounds 5] [--seconds 3] [--close] [--only empery,floor] [--into target/bench.md]

Servers that are not installed are left out and named.
"""

import argparse
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", TREE / "target"))
VENV = TARGET / "venv/bin"
APPS = TREE / "tests/apps"
SERVER_CORE, LOAD_CORE = "0", "1"

BJOERN = "import sys, bjoern, hello; bjoern.run(hello.application, '127.0.0.1', int(sys.argv[1]))"


def servers():
    """Name and command line of each; `{port}` is filled in."""
    release = TARGET / "release"
    apps = str(APPS)
    quiet = ["--chdir", apps, "--pythonpath", ".", "--module", "hello", "--disable-logging", "--listen", "1024"]
    return {
        "floor (no Python)": [str(release / "examples/floor"), "{port}"],
        "empery": [str(release / "vassal"), "--http-socket", "127.0.0.1:{port}", "--master", *quiet],
        "empery, 4 threads": [str(release / "vassal"), "--http-socket", "127.0.0.1:{port}", "--master", "--threads", "4", *quiet],
        "bjoern": [str(VENV / "python"), "-c", BJOERN, "{port}"],
        "granian": [str(VENV / "granian"), "--interface", "wsgi", "--http", "1", "--host", "127.0.0.1", "--port", "{port}",
                    "--workers", "1", "--no-ws", "--log-level", "warning", "--working-dir", apps, "hello:application"],
        "gunicorn": [str(VENV / "gunicorn"), "-k", "gthread", "--threads", "4", "-w", "1", "--keep-alive", "75", "-b", "127.0.0.1:{port}",
                     "--chdir", apps, "--log-level", "warning", "hello:application"],
        "uWSGI http-socket": [str(VENV / "uwsgi"), "--http-socket", "127.0.0.1:{port}", "--add-header", "Connection: close", "--master",
                              "--need-app", "--die-on-term", *quiet],
        "uWSGI http11-socket": [str(VENV / "uwsgi"), "--http11-socket", "127.0.0.1:{port}", "--master", "--need-app", "--die-on-term", *quiet],
    }


def installed(command):
    if not Path(command[0]).exists():
        return False
    if "bjoern" in " ".join(command):
        return subprocess.run([command[0], "-c", "import bjoern"], capture_output=True).returncode == 0
    return True


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def family(pid):
    """A process and everything below it."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                pass
    return found


def cpu_seconds(pid):
    total = 0
    for member in family(pid):
        for task in Path(f"/proc/{member}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except (OSError, IndexError, ValueError):
                pass
    return total / 1e9


class Server:
    def __init__(self, name, command, logs):
        self.name, self.port = name, free_port()
        command = ["taskset", "-c", SERVER_CORE] + [word.replace("{port}", str(self.port)) for word in command]
        self.log = logs / (re.sub(r"\W+", "-", name) + ".log")
        environment = {**os.environ, "PATH": f"{VENV}:{os.environ['PATH']}"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=APPS, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)

    def ready(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                    connection.settimeout(2)
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    if connection.recv(15).startswith(b"HTTP/1.1 200"):
                        return True
            except OSError:
                pass
            time.sleep(0.02)
        return False

    def stop(self):
        members = family(self.process.pid)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            for member in members:
                try:
                    os.kill(member, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.process.wait()


def load(server, given):
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{given.connections}", f"-d{given.seconds}s", "--latency"]
    if given.close:
        command += ["-H", "Connection: close"]
    before = cpu_seconds(server.process.pid)
    output = subprocess.run([*command, f"http://127.0.0.1:{server.port}/"], capture_output=True, text=True, check=True).stdout
    spent = cpu_seconds(server.process.pid) - before
    requests = int(re.search(r"(\d+) requests in", output)[1])
    failed = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", output)
    return {
        "us": spent / max(requests, 1) * 1e6,
        "rps": float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1]),
        "p99": re.search(r"99%\s+(\S+)", output)[1],
        "errors": sum(map(int, failed.groups())) if failed else 0,
        "bad": int(bad[1]) if bad else 0,
    }


def table(results, given):
    floor = statistics.median(run["us"] for run in results["floor (no Python)"]) if "floor (no Python)" in results else None
    kind = "one connection per request" if given.close else "keep-alive"
    lines = [
        f"Hello world, {kind}, {given.connections} connections, one process, server and load on a core each, "
        f"request logging off; median of {given.rounds} interleaved rounds of {given.seconds} s, (least - most).",
        "",
        "| server | CPU per request, us | above the floor | requests/s | p99 | errors |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, runs in results.items():
        micros = [run["us"] for run in runs]
        middle = statistics.median(micros)
        ratio = f"{middle / floor:.2f} x" if floor else ""
        rate = statistics.median(run["rps"] for run in runs)
        errors = sum(run["errors"] + run["bad"] for run in runs)
        lines.append(f"| {name} | {middle:.1f} ({min(micros):.1f} - {max(micros):.1f}) | {ratio} | {rate:,.0f} | {runs[-1]['p99']} | {errors} |")
    return "\n".join(lines) + "\n"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--connections", type=int, default=32)
    arguments.add_argument("--close", action="store_true", help="a new connection for every request")
    arguments.add_argument("--only", help="names that begin so, with commas between")
    arguments.add_argument("--into", type=Path, default=TARGET / "bench.md")
    given = arguments.parse_args()
    if not shutil.which("wrk") or (os.cpu_count() or 1) < 2:
        sys.exit("bench: needs wrk (`./dev setup` installs it) and two cores")

    wanted = {
        name: command for name, command in servers().items()
        if not given.only or any(name.startswith(part) for part in given.only.split(","))
    }
    results = {}
    with tempfile.TemporaryDirectory(prefix="empery-bench-") as logs:
        running = []
        try:
            for name, command in wanted.items():
                if not installed(command):
                    print(f"left out, not installed: {name}", file=sys.stderr)
                    continue
                server = Server(name, command, Path(logs))
                running.append(server)
                if not server.ready():
                    print(f"left out, does not answer: {name}\n{server.log.read_text(errors='replace')[-2000:]}", file=sys.stderr)
                    running.remove(server)
                    server.stop()
            for _ in range(given.rounds):
                for server in running:
                    results.setdefault(server.name, []).append(load(server, given))
                    print(f"{server.name}: {results[server.name][-1]['us']:.1f} us", file=sys.stderr)
        finally:
            for server in running:
                server.stop()
    text = table(results, given)
    given.into.parent.mkdir(parents=True, exist_ok=True)
    given.into.write_text(text)
    print(text)


main()
