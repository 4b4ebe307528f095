"""uWSGI signals: who runs what, written down in files of the working directory."""

import os
import time

import uwsgi


def note(name, text):
    with open(name, "a") as file:
        file.write(f"{text}\n")


def whoami():
    return f"{uwsgi.worker_id()} {os.getpid()} {uwsgi.mule_id()}"


def noted(name):
    def function(signal):
        note(name, f"{signal} {whoami()}")
    return function


def fails(signal):
    note("failed", signal)
    raise RuntimeError("a function of a signal fails")


def hangs(signal):
    note("hangs", os.getpid())
    try:
        time.sleep(1000)
    except uwsgi.Harakiri:
        note("ended", os.getpid())
        raise


uwsgi.register_signal(10, "worker", hangs)
uwsgi.register_signal(1, "workers", noted("all"))
uwsgi.register_signal(2, "worker", noted("any"))
uwsgi.register_signal(3, "worker2", noted("second"))
uwsgi.register_signal(4, "", fails)
uwsgi.register_signal(5, "", noted("timer"))
uwsgi.register_signal(6, "", noted("rb"))
uwsgi.register_signal(7, "", noted("cron"))
uwsgi.register_signal(8, "", noted("file"))
uwsgi.register_signal(9, "", noted("touch"))
uwsgi.register_signal(11, "", noted("options"))
uwsgi.add_ms_timer(5, 50)
uwsgi.add_rb_timer(6, 1, 2)
assert uwsgi.add_cron(7, -1, -1, -1, -1, -1) is True
uwsgi.add_file_monitor(8, "watched")


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    verb, _, rest = environ["PATH_INFO"].strip("/").partition("/")
    if verb == "raise":
        uwsgi.signal(int(rest))
    elif verb == "hold":
        for _ in range(3):
            uwsgi.signal(int(rest))
        note("held", os.getpid())
        while not os.path.exists("go-on"):
            time.sleep(0.02)
    elif verb == "wait":
        note("waits", whoami())
        got = uwsgi.signal_wait(int(rest)) if rest else uwsgi.signal_wait()
        return [f"{got} {uwsgi.signal_received()}".encode()]
    elif verb == "register":
        uwsgi.register_signal(int(rest), "worker", noted("late"))
    elif verb == "refused":
        refused = []
        for call in (lambda: uwsgi.register_signal(60, "nobody", print), lambda: uwsgi.signal(1, "127.0.0.1:9")):
            try:
                call()
            except (ValueError, OSError) as error:
                refused.append(type(error).__name__)
        return [" ".join(refused).encode()]
    elif verb == "registered":
        return [str(uwsgi.signal_registered(int(rest))).encode()]
    return [whoami().encode()]
