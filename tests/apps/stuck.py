"""Ways to be stuck and ways to die inside a request; each route says which. `/` answers at once with the pid."""

import atexit
import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import uwsgi

LIBC = ctypes.CDLL(None)
HOLDING = ctypes.PyDLL(None)
LOCK = threading.Lock()
KEPT = []


def sleep_in_python():
    time.sleep(600)


def deadlock():
    LOCK.acquire()
    LOCK.acquire()


def hold_the_lock_of_python():
    mutex = ctypes.create_string_buffer(64)
    HOLDING.pthread_mutex_lock(mutex)
    HOLDING.pthread_mutex_lock(mutex)


def stay_in_c():
    mutex = ctypes.create_string_buffer(64)
    LIBC.pthread_mutex_lock(mutex)
    LIBC.pthread_mutex_lock(mutex)


def sleep_in_c():
    HOLDING.sleep(600)


def compute():
    while True:
        sum(range(1000))


def own_limit():
    uwsgi.set_user_harakiri(1)
    time.sleep(600)


def catch():
    try:
        time.sleep(600)
    except uwsgi.Harakiri:
        KEPT.append("caught")


def crash():
    ctypes.string_at(0)


def abort():
    os.abort()


def leave():
    os._exit(7)


def leave_without_a_word():
    os._exit(0)


def leave_by_exception():
    sys.exit(3)


def close_everything():
    os.closerange(0, 1024)


def leak_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    try:
        while True:
            KEPT.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return str(error).encode()


def hog():
    while True:
        KEPT.append(b"x" * (8 << 20))


def upset_the_process():
    os.chdir("/")
    os.umask(0o777)
    os.setsid() if os.getpid() != os.getsid(0) else None
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for number in range(1, 65):
        if number not in (9, 19, 32, 33):
            signal.signal(number, signal.SIG_DFL if number > 31 else signal.SIG_IGN)


def ignore_the_end():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    LIBC.sleep(600)


def hang_at_exit():
    atexit.register(time.sleep, 600)
    threading.Thread(target=time.sleep, args=(600,)).start()


def start_children():
    KEPT.append(subprocess.Popen(["sleep", "600"]))
    return str(KEPT[-1].pid).encode()


def kill_the_parent():
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


def kill_everybody():
    os.kill(-1, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def wait(path):
    while not os.path.exists(path):
        time.sleep(0.005)


def stream(start_response):
    start_response("200 OK", [("Content-Length", "1000000")])
    yield b"x" * 1000
    time.sleep(600)


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/stream":
        return stream(start_response)
    body = str(os.getpid()).encode()
    if path.startswith("/wait/"):
        wait(path[len("/wait") :])
    elif path != "/":
        print(f"about to {path[1:]}", flush=True)
        body = globals()[path[1:]]() or body
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
