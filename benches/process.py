"""A server under measurement: its processes, the CPU time they have used, and their memory."""

import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path

SERVER_CORE, LOAD_CORE = "0", "1"
DESCRIPTORS = 12_000
READY_S, STOPPED_S = 20, 10


# Certificates are the bench's own.
TLS = ssl.create_default_context()
TLS.check_hostname, TLS.verify_mode = False, ssl.CERT_NONE


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


def cpu_seconds(pids):
    """User and system time of all their threads, to the nanosecond (proc(5), schedstat)."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                total += int(task.read_text().split()[0])
            except (OSError, IndexError, ValueError):
                pass
    return total / 1e9


def kib(pids, file, field):
    """A field of proc(5) files, added up."""
    total = 0
    for pid in pids:
        try:
            total += int(re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/{file}").read_text(), re.MULTILINE)[1])
        except (OSError, TypeError):
            pass
    return total


def machine_busy_seconds():
    """CPU time of everything on this machine, and what the hypervisor took."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def raise_descriptors():
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, most), most))


class Server:
    """The processes of one row: one command, or a proxy and what is behind it."""

    def __init__(self, row, environment, directory):
        self.name, self.is_tls, self.port = row.name, row.is_tls, free_port()
        self.log = directory / (re.sub(r"\W+", "-", row.name) + f"-{self.port}.log")
        self.processes = []
        self.words = {"port": str(self.port), "socket": str(directory / f"{self.port}.sock"), "directory": str(directory)}
        for command in row.commands:
            command = ["taskset", "-c", SERVER_CORE, *(self.filled(word) for word in command)]
            with self.log.open("ab") as log:
                self.processes.append(subprocess.Popen(command, cwd=row.directory, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                                       stderr=log, start_new_session=True, preexec_fn=raise_descriptors))

    def filled(self, word):
        for name, value in self.words.items():
            word = word.replace("{" + name + "}", value)
        return word

    def url(self, path):
        return f"{'https' if self.is_tls else 'http'}://127.0.0.1:{self.port}{path}"

    def connection(self, timeout_s=5):
        plain = socket.create_connection(("127.0.0.1", self.port), timeout_s)
        return TLS.wrap_socket(plain) if self.is_tls else plain

    def is_ready(self, path):
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and all(process.poll() is None for process in self.processes):
            try:
                with self.connection() as connection:
                    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                    if connection.recv(15).startswith(b"HTTP/1.1 200"):
                        return True
            except OSError:
                pass
            time.sleep(0.02)
        return False

    def pids(self):
        return [pid for process in self.processes for pid in family(process.pid)]

    def cpu_seconds(self):
        return cpu_seconds(self.pids())

    def pss_kib(self):
        return kib(self.pids(), "smaps_rollup", "Pss")

    def rss_kib(self):
        return kib(self.pids(), "status", "VmRSS")

    def forget_peak(self):
        """From now on the peak is what is used from now on (proc(5), clear_refs)."""
        for pid in self.pids():
            try:
                Path(f"/proc/{pid}/clear_refs").write_text("5")
            except OSError:
                pass

    def peak_kib(self):
        return kib(self.pids(), "status", "VmHWM")

    def stop(self):
        members = self.pids()
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(STOPPED_S)
            except subprocess.TimeoutExpired:
                pass
        for member in members:
            # Of the same session still: the number has not been given to a stranger.
            try:
                if os.getsid(member) in [process.pid for process in self.processes]:
                    os.kill(member, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for process in self.processes:
            process.wait()
