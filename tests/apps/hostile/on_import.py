"""What an app can do while it is imported: each fault is a mode. HOSTILE_SECONDS says how long those take that take long."""

import asyncio
import atexit
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from hostile import harm

SECONDS = float(os.environ.get("HOSTILE_SECONDS", "30"))


def nothing():
    """The fault is in the module itself: no callable, or none that can be called."""


def syntax_error():
    compile("def broken(:\n", "hostile_syntax.py", "exec")


def import_error():
    import no_such_module_anywhere  # noqa: F401


def handle_sigterm():
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def block_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})


def ignore_children():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def reap_children():
    """A handler that waits for whatever child there is, as books on daemons have it."""

    def reap(*_):
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass

    signal.signal(signal.SIGCHLD, reap)


def thread():
    beat = threading.Event()
    threading.Thread(target=beat.wait, name="hostile-thread", daemon=True).start()


def lasting_thread():
    threading.Thread(target=time.sleep, args=(SECONDS,), name="hostile-lasting", daemon=False).start()


def event_loop():
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(asyncio.sleep(0))


def monkey_patch():
    from gevent import monkey

    monkey.patch_all()


def listen():
    global listener
    listener = socket.create_server(("127.0.0.1", int(os.environ["HOSTILE_PORT"])))


def half_installed():
    """A package that an installer is just replacing: some of its files are of the next version already."""
    sys.path.insert(0, os.environ["HOSTILE_PACKAGES"])
    import halves.first
    import halves.second

    if halves.first.VERSION != halves.second.VERSION:
        raise ImportError(f"halves {halves.first.VERSION} and {halves.second.VERSION} do not fit together")


MODES = {
    "missing": nothing,  # A1
    "not-callable": nothing,
    "syntax": syntax_error,
    "import-error": import_error,
    "hang": threading.Event().wait,  # A2
    "slow": lambda: time.sleep(SECONDS),  # A3
    "exit": lambda: os._exit(0),  # A4
    "sys-exit": lambda: sys.exit(0),
    "abort": os.abort,
    "segv": lambda: ctypes.string_at(0),
    "atexit-exit": lambda: atexit.register(os._exit, 3),  # A6
    "atexit-abort": lambda: atexit.register(os.abort),
    "atexit-hang": lambda: atexit.register(time.sleep, SECONDS),
    "lasting-thread": lasting_thread,
    "handles-signals": handle_sigterm,  # A7
    "blocks-signals": block_signals,
    "ignores-children": ignore_children,
    "reaps-children": reap_children,
    "gil": lambda: harm.hold_the_gil(SECONDS),  # A8
    "loop": lambda: harm.spin(SECONDS),  # A9
    "fork-bomb": harm.fork_bomb,  # A10
    "daemon": harm.leave_a_daemon,  # A11
    "leaks-descriptors": harm.leak_descriptors,  # A12
    "leaks-memory": lambda: harm.leak_memory(64),  # A13
    "leaks-threads": lambda: harm.leak_threads(200),  # A14
    "closes-descriptors": lambda: os.closerange(0, 1024),  # A15
    "careless": harm.be_careless,  # A16
    "logs": lambda: harm.log("line", 1),  # A17
    "child": lambda: subprocess.Popen(["sleep", str(SECONDS)]),  # A24
    "thread": thread,  # A25
    "event-loop": event_loop,  # A26
    "monkey-patch": monkey_patch,
    "half-installed": half_installed,  # A27
    "listens": listen,  # A29
    "kills-parent": lambda: os.kill(os.getppid(), signal.SIGKILL),  # A30
}
