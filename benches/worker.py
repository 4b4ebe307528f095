"""What is asked one request at a time while its instructions are counted: one worker of a standalone `vassal`, and the floor."""

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

APPS = [Path(__file__).resolve().parent.parent / "tests/apps", Path(__file__).resolve().parent / "apps"]
DEADLINE_S = 60


class Worker:
    def __init__(self, vassal, module, python, directory, how="--http-socket"):
        self.log, self.path = directory / "vassal.log", directory / "socket"
        words = [str(vassal), how, str(self.path), "--master", "--disable-logging", "--module", module, "--python", str(python)]
        for apps in APPS:
            words += ["--pythonpath", str(apps)]
        # Hashes decide how often a dict looks twice; a clock that must not differ decides nothing here.
        surroundings = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(words, env=surroundings, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.pid, self.processors = None, os.sched_getaffinity(0)

    def __enter__(self):
        return self

    def said(self):
        return self.log.read_text(errors="replace")

    def connection(self):
        if self.pid is None:
            self.wait()
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(DEADLINE_S)
        connection.connect(str(self.path))
        return connection

    def wait(self):
        deadline = time.monotonic() + DEADLINE_S
        while "generation 1 serves" not in self.said():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SystemExit(f"the vassal does not serve:\n{self.said()}")
            time.sleep(0.02)
        self.pid = int(re.search(r"spawned worker 1 \(pid: (\d+)", self.said())[1])
        self.takes_turns()

    def takes_turns(self):
        """Has the worker run when its client waits, and never between two calls of it: a request is there with its connection,
        on a busy machine too. A SCHED_BATCH process does not preempt whoever wakes it (sched(7)); on one processor, it waits."""
        processor = {min(self.processors)}
        os.sched_setaffinity(self.pid, processor)
        os.sched_setscheduler(self.pid, os.SCHED_BATCH, os.sched_param(0))
        os.sched_setaffinity(0, processor)

    def rests(self):
        """Returns when the worker sleeps, which it does nowhere but in `epoll_wait`."""
        deadline = time.monotonic() + DEADLINE_S
        while Path(f"/proc/{self.pid}/stat").read_text(errors="replace").rpartition(") ")[2][0] != "S":
            if time.monotonic() > deadline:
                raise SystemExit(f"the worker does not come to rest:\n{self.said()}")
            time.sleep(0.0001)

    def asks(self, request, times):
        """The request so often on one connection, each after the answer to the one before."""
        with self.connection() as connection:
            for _ in range(times):
                connection.sendall(request)
                self.judge(connection.recv(65536))

    def asks_anew(self, request, times):
        """The same on a connection for each, which ends with its answer. The worker accepts the next as long as one is there:
        each comes when it has gone back to `epoll_wait`, not sometimes before."""
        if self.pid is None:
            self.wait()
        for _ in range(times):
            self.rests()
            with self.connection() as connection:
                connection.sendall(request)
                self.judge(b"".join(iter(lambda: connection.recv(65536), b"")))

    def judge(self, answer):
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"not a 200: {answer!r}\n{self.said()}")

    def __exit__(self, *_):
        os.sched_setaffinity(0, self.processors)
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(DEADLINE_S)


class Floor:
    """The epoll server without Python, given as the command to which its port is added."""

    def __init__(self, command):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.process = subprocess.Popen([*command, str(self.port)], stdin=subprocess.DEVNULL)
        # What the command runs, it becomes.
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def connection(self):
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port), DEADLINE_S)
            except ConnectionRefusedError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise SystemExit("the floor does not serve") from None
                time.sleep(0.02)

    def asks(self, request, times):
        """The request so often on one connection, each after the answer to the one before."""
        with self.connection() as connection:
            for _ in range(times):
                connection.sendall(request)
                if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
                    raise SystemExit("the floor answers with something else than a 200")

    def __exit__(self, *_):
        # Callgrind writes its counts when a signal ends the process.
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(DEADLINE_S)
