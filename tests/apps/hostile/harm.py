"""The harm itself, where both an import and a request can do it."""

import ctypes
import os
import resource
import signal
import sys
import threading
import time

kept = []


def hold_the_gil(seconds):
    # A PyDLL's functions are called without giving the GIL up.
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def fork_bomb():
    """Doubles until there are no processes left; the children stay for a minute."""
    while True:
        try:
            if os.fork() == 0:
                signal.alarm(60)
        except OSError:
            time.sleep(0.1)


def leave_a_daemon(path=None):
    """As daemons are made: two forks and a session of its own. Writes its pid into `path`, or HOSTILE_DAEMON."""
    path = path or os.environ.get("HOSTILE_DAEMON")
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    if path:
        with open(path + ".aside", "w") as file:
            file.write(str(os.getpid()))
        os.rename(path + ".aside", path)
    time.sleep(3600)
    os._exit(0)


def leak_descriptors():
    """Opens until no descriptor is left."""
    try:
        while True:
            kept.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass


def leak_memory(mebibytes):
    kept.append(bytearray(os.urandom(1024)) * (mebibytes * 1024))


def leak_threads(number):
    for _ in range(number):
        thread = threading.Thread(target=time.sleep, args=(3600,), daemon=True)
        try:
            thread.start()
        except RuntimeError:
            break


def be_careless():
    os.chdir("/")
    os.umask(0o777)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.setsid()
    except OSError:
        pass


def log(kind, number):
    if kind == "line":  # one without an end
        for _ in range(number):
            sys.stdout.write("x" * 1024 * 1024)
    elif kind == "lines":
        for line in range(number):
            sys.stdout.write(f"line {line}\n")
    elif kind == "binary":
        sys.stdout.buffer.write(bytes(range(256)) * number + b"\n")
    elif kind == "terminal":
        sys.stdout.write("\x1b[2J\x1b]0;title\x07<script>alert(1)</script>\n" * number)
    sys.stdout.flush()
