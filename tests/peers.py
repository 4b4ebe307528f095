#!/usr/bin/env python3
"""The same hostile app under Empery, uWSGI, gunicorn and granian: which of the faults each of them survives.

    ./dev faults --peers

Each probe starts a server with two workers, lets the app (tests/apps/hostile) do its worst, and looks with the oracles of
docs/faults.md: does it keep serving (K), is everything cleaned up (C), is what must not happen refused (R). The table goes into
docs/faults.md. Every server gets the options its manual names against the fault: a time limit of 3 s for a request, 3 s of mercy.
"""

import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", TREE / "target"))
VENV = TARGET / "venv/bin"
BINARIES = Path(os.environ.get("EMPERY_BINARIES", TARGET / "debug"))
DOCUMENT = TREE / "docs/faults.md"
MARK = "\n## Beside the peers\n"
NEXT = "\n## Long runs\n"
APP = "hostile.app"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


# A group of its own for each server, with so many processes and threads: what a fork bomb may take.
PIDS = Path("/sys/fs/cgroup/pids")
PIDS_MOST = 200

SERVERS = {
    "Empery": lambda port: [BINARIES / "vassal", "--http-socket", f"127.0.0.1:{port}", "--module", APP, "--processes", "2", "--master",
                            "--harakiri", "3", "--worker-reload-mercy", "3", "--boot-deadline", "8"],
    "uWSGI": lambda port: [VENV / "uwsgi", "--http-socket", f"127.0.0.1:{port}", "--module", APP, "--processes", "2", "--master", "--need-app",
                           "--harakiri", "3", "--worker-reload-mercy", "3", "--die-on-term"],
    "gunicorn": lambda port: [VENV / "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "2", "--timeout", "3", "--graceful-timeout", "3", APP],
    "granian": lambda port: [VENV / "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--workers", "2",
                             "--workers-kill-timeout", "3", "--respawn-failed-workers", f"{APP}:application"],
}


# What each manual names against an app that leaks memory. gunicorn looks at requests alone.
AGAINST_LEAKS = {
    "Empery": ["--reload-on-rss", "150", "--min-worker-lifetime", "1"],
    "uWSGI": ["--reload-on-rss", "150", "--min-worker-lifetime", "1"],
    "gunicorn": ["--max-requests", "10"],
    "granian": ["--workers-max-rss", "150", "--rss-sample-interval", "1"],
}


class Fails(Exception):
    """What an oracle saw instead of what must hold."""


class Server:
    def __init__(self, name, directory, more):
        self.port = free_port()
        self.taken = socket.create_server(("127.0.0.1", 0))
        self.group = PIDS / f"{directory.name}-{os.getpid()}"
        self.mode = directory / "mode"
        self.mode.write_text("")
        self.log = open(directory / "log", "w")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "UWSGI_", "EMPERY_"))}
        environment |= {"PYTHONPATH": str(TREE / "tests/apps"), "HOSTILE_IMPORT_FILE": str(self.mode), "HOSTILE_SECONDS": "120",
                        "HOSTILE_DAEMON": str(directory / "daemon"), "PATH": f"{VENV}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= {"HOSTILE_PORT": str(self.taken.getsockname()[1]), "HOSTILE_PACKAGES": str(half_replaced(directory))}
        self.is_bounded = self.bound()
        command, app = [str(word) for word in SERVERS[name](self.port)], []
        if name in ("gunicorn", "granian"):
            app = [command.pop()]

        def few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
            if self.is_bounded:
                (self.group / "cgroup.procs").write_text(str(os.getpid()))

        def start():
            self.process = subprocess.Popen([*command, *more.get(name, []), *app], cwd=directory, env=environment, stdin=subprocess.DEVNULL,
                                            stdout=self.log, stderr=self.log, start_new_session=True, preexec_fn=few)

        self.start = start
        self.start()
        self.until(lambda: self.status("/") == 200, 30, "it never answered")

    def bound(self):
        try:
            self.group.mkdir()
            (self.group / "pids.max").write_text(str(PIDS_MOST))
        except OSError:
            return False
        return True

    @staticmethod
    def until(holds, seconds, what):
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                raise Fails(what)
            time.sleep(0.05)

    def ask(self, path, body=None, seconds=10):
        """Everything that comes back on a connection of its own."""
        head = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        if body:
            head += f"Content-Length: {len(body)}\r\n"
        answer = b""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
                connection.settimeout(seconds)
                try:
                    connection.sendall(head.encode() + b"\r\n" + (body or b""))
                except (BrokenPipeError, ConnectionResetError):
                    pass
                while piece := connection.recv(65536):
                    answer += piece
                    if len(answer) > 50_000_000:
                        break
        except OSError:
            pass
        return answer

    def status(self, path):
        answer = self.ask(path, seconds=3)
        return int(answer[9:12]) if answer[:5] == b"HTTP/" and answer[9:12].isdigit() else None

    def serves(self, after="", patience=10):
        """Twenty answers in a row, some time within the patience."""
        def row():
            return all(self.status("/") == 200 for _ in range(20))
        self.until(row, patience, f"does not serve any more {after}".strip())

    def reload(self, mode):
        self.mode.write_text(mode)
        self.process.send_signal(signal.SIGHUP)

    def family(self):
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    environment = (entry / "environ").read_bytes()
                    if f"HOSTILE_IMPORT_FILE={self.mode}".encode() in environment and (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                        found.append(int(entry.name))
                except OSError:
                    pass
        return found

    def held_kib(self):
        total = 0
        for pid in self.family():
            try:
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        return total

    def stop(self, seconds=20):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Fails(f"does not stop within {seconds} s") from None

    def clear(self):
        for pid in [*self.family(), *([self.process.pid] if self.process.poll() is None else [])]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.log.close()
        self.taken.close()
        end = time.monotonic() + 10
        while self.group.exists() and time.monotonic() < end:
            try:
                self.group.rmdir()
            except OSError:
                time.sleep(0.1)


def half_replaced(directory):
    """A package of which an installer has replaced one file of two."""
    package = directory / "packages/halves"
    package.mkdir(parents=True)
    for name, version_of_it in (("__init__", 1), ("first", 2), ("second", 1)):
        (package / f"{name}.py").write_text(f"VERSION = {version_of_it}\n")
    return package.parent


def broken_reload(mode):
    def probe(server):
        server.reload(mode)
        # Long enough for the new code to be tried and to fail, or to hang for longer than any time limit.
        end = time.monotonic() + 12
        while time.monotonic() < end:
            if server.status("/") != 200:
                raise Fails("the reload ended the service")
            time.sleep(0.2)
    return probe


def good_reload(mode):
    def probe(server):
        server.reload(mode)
        end = time.monotonic() + 15
        while server.ask("/mode", seconds=3).rpartition(b"\r\n\r\n")[2] != mode.partition(" ")[0].encode():
            if server.status("/") != 200:
                raise Fails("requests were lost meanwhile")
            if time.monotonic() > end:
                raise Fails("the new code never served")
            time.sleep(0.1)
        server.serves(f"after a reload to {mode}")
    return probe


def harm(path):
    def probe(server):
        server.ask(path, seconds=8)
        server.serves(f"after {path}", 15)
    return probe


def stops(mode="", path="/"):
    def probe(server):
        if mode:
            server.reload(mode)
            time.sleep(3)
        server.ask(path, seconds=3)
        server.stop()
        server.until(lambda: not server.family(), 5, "processes are left after the stop")
    return probe


def cut(path):
    def probe(server):
        answer = server.ask(path)
        head, _, body = answer.partition(b"\r\n\r\n")
        whole = body.endswith(b"0\r\n\r\n") if b"chunked" in head.lower() else True
        length = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
        if length:
            whole = len(body) >= int(length[0])
        if b" 200 " in head[:20] and whole:
            raise Fails("the client takes the broken answer for a whole one")
        server.serves(f"after {path}")
    return probe


def bomb(server):
    if not server.is_bounded:
        raise Fails("not asked: no group for processes can be made here")
    server.ask("/fork-bomb", seconds=2)
    server.stop(40)
    server.until(lambda: not server.family(), 5, "processes are left after the stop")


def leak(server):
    for number in range(80):
        time.sleep(0.05)
        if server.status("/leak-memory/10") != 200:
            raise Fails(f"request {number} of a row was lost")
    server.until(lambda: server.held_kib() < 600 * 1024, 10, f"{server.held_kib() >> 10} MiB are held")


def replaced_head(server):
    answer = server.ask("/start-response/exc-info")
    if not answer.startswith((b"HTTP/1.1 500 Replaced", b"HTTP/1.0 500 Replaced")):
        raise Fails("`exc_info` does not replace the head")
    if b" 500 " not in server.ask("/start-response/twice")[:20]:
        raise Fails("a second `start_response` without `exc_info` is no error")
    server.serves()


def parent_killed(server):
    """Whoever watches over the server (systemd) starts it again."""
    server.ask("/kill/parent", seconds=3)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if server.process.poll() is not None:
            server.start()
        time.sleep(0.5)
        if server.process.poll() is None and server.status("/") == 200:
            break
    server.serves("after it was started again and again")
    server.stop()
    server.until(lambda: not server.family(), 5, "processes of the first are left after the stop")


def not_split(server):
    head = server.ask("/header/newline").partition(b"\r\n\r\n")[0]
    if b"\r\ninjected:" in head.lower():
        raise Fails("the injected header is on the wire")
    server.serves()


def framing(server):
    answer = server.ask("/long")
    body = answer.partition(b"\r\n\r\n")[2]
    if b" 200 " in answer[:20] and len(body) > 4:
        raise Fails("more than the Content-Length is on the wire")
    server.serves()


def one_answer(server):
    answer = server.ask("/fork/wait", seconds=5)
    if answer.count(b"HTTP/1.") != 1:
        raise Fails(f"{answer.count(b'HTTP/1.')} answers to one request")
    server.serves()


def upload(server):
    if b"unread" not in server.ask("/unread", body=b"x" * 20_000_000):
        raise Fails("the answer does not reach a client that uploads")
    server.serves()


PROBES = [
    ("A1", "K", "a reload to a syntax error", broken_reload("syntax")),
    ("A1", "K", "a reload to an app without a callable", broken_reload("missing")),
    ("A2", "K", "a reload to an import that never ends", broken_reload("hang")),
    ("A3", "K", "a reload to an import of 5 s", good_reload("slow 5")),
    ("A4", "K", "a reload to a segmentation fault at import", broken_reload("segv")),
    ("A4", "K", "a reload to `os._exit(0)` at import", broken_reload("exit")),
    ("A5", "K", "`os._exit(0)` in a request", harm("/exit/0")),
    ("A5", "K", "`sys.exit(1)` in a request", harm("/sys-exit/1")),
    ("A5", "K", "a segmentation fault in a request", harm("/segv")),
    ("A6", "C", "an exit handler that hangs", stops(mode="atexit-hang")),
    ("A7", "C", "signals are blocked", stops(mode="blocks-signals")),
    ("A8", "K", "a C call holds the GIL for two minutes, twice", lambda server: [harm("/gil/120")(server) for _ in range(2)]),
    ("A9", "K", "an endless loop, twice", lambda server: [harm("/loop/120")(server) for _ in range(2)]),
    ("A10", "C", f"a fork bomb, where there may be {PIDS_MOST} processes", bomb),
    ("A11", "C", "a daemon that detaches itself", stops(path="/daemon/dev/null")),
    ("A12", "K", "descriptors leak until none is left", harm("/leak-descriptors")),
    ("A13", "K", "each request leaks 10 MiB, with a limit", leak, AGAINST_LEAKS),
    ("A14", "K", "150 threads are left behind", harm("/leak-threads/150")),
    ("A15", "K", "the app closes all descriptors", harm("/close-descriptors")),
    ("A16", "K", "the app changes directory, mask, limits, handlers", harm("/careless")),
    ("A17", "K", "200 MiB of log without a line's end", harm("/log/line/200")),
    ("A17", "K", "a million lines of log", harm("/log/lines/1000000")),
    ("A18", "K", "the body fails midway", cut("/iterator/raises")),
    ("A19", "K", "the body is shorter than its Content-Length", cut("/short")),
    ("A19", "K", "the body is longer than its Content-Length", framing),
    ("A20", "R", "a header value with a line end", not_split),
    ("A21", "K", "`start_response` twice, with `exc_info` and without", replaced_head),
    ("A22", "K", "an upload of 20 MB that the app does not read", upload),
    ("A23", "K", "a forked child comes back up the stack", one_answer),
    ("A24", "C", "a child of `multiprocessing` outlives its request", stops(path="/children/process")),
    ("A24", "C", "a child of `subprocess` outlives its request", stops(path="/children/popen")),
    ("A25", "K", "a reload to an app that starts threads at import", good_reload("thread")),
    ("A26", "K", "a reload to an app that makes an event loop at import", good_reload("event-loop")),
    ("A26", "K", "a reload to an app that patches with gevent at import", good_reload("monkey-patch")),
    ("A27", "K", "a reload while a package is half replaced", broken_reload("half-installed")),
    ("A29", "K", "a reload to an app that wants a port somebody has", broken_reload("listens")),
    ("A30", "K C", "the app kills its parent, and the server is started again", parent_killed),
]


def told(name, probe, more):
    with tempfile.TemporaryDirectory(prefix="empery-peers-") as directory:
        server = None
        try:
            server = Server(name, Path(directory), more)
            probe(server)
            return "holds"
        except Fails as what:
            return f"**{what}**"
        finally:
            if server is not None:
                server.clear()


def main():
    wanted = sys.argv[1:]
    names = [name for name in SERVERS if Path(SERVERS[name](0)[0]).exists()]
    titles = [name if name == "Empery" else f"{name} {version(name)}" for name in names]
    lines = [f"| fault | must hold | what the app does | {' | '.join(titles)} |", "|---|---|---|" + "---|" * len(names)]
    for fault, oracle, what, probe, *more in PROBES:
        if wanted and fault not in wanted:
            continue
        verdicts = [told(name, probe, *(more or [{}])) for name in names]
        lines.append(f"| {fault} | {oracle} | {what} | {' | '.join(verdicts)} |")
        print(lines[-1], flush=True)
    if wanted:
        return
    text = (f"{MARK}\nThe same app under each, two workers, alone and without a manager above, with a limit of 3 s for a request and 3 s of mercy where"
            "\nthere is an option for it. `./dev faults --peers` asks again.\n\n" + "\n".join(lines) + "\n")
    before = DOCUMENT.read_text() if DOCUMENT.exists() else ""
    after = before.partition(NEXT)
    DOCUMENT.write_text(before.split(MARK)[0] + text + "".join(after[1:]))


if __name__ == "__main__":
    main()
