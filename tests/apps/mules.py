"""Mules: what they get and who they are, written down in files of the working directory."""

import os
import sys
import time

import uwsgi


def note(name, text):
    with open(name, "a") as file:
        file.write(f"{text}\n")


def hook(message):
    note("messages", f"{uwsgi.mule_id()} {message.decode()} {os.getpid()}")
    if message == b"die":
        os._exit(3)
    if message == b"workers":
        running = sum(worker["pid"] > 0 for worker in uwsgi.workers())
        note("workers", f"{running} {uwsgi.total_requests()} {uwsgi.listen_queue()} {uwsgi.metric_get('worker.0.requests')}")
    if message == b"exit":
        sys.exit(1)
    if message == b"hang":
        time.sleep(1000)
    if message == b"finish":
        note("begun", os.getpid())
        while not os.path.exists("go-on"):
            time.sleep(0.02)
        note("finished", os.getpid())


def in_a_signal(signal):
    note("signal-begun", os.getpid())
    while not os.path.exists("go-on"):
        time.sleep(0.02)
    note("signal-over", os.getpid())


def ended():
    if uwsgi.mule_id():
        note("atexit", f"{uwsgi.mule_id()} {os.getpid()}")


uwsgi.install_mule_msg_hook(hook)
uwsgi.atexit = ended
uwsgi.register_signal(1, "mules", lambda signal: note("mules", uwsgi.mule_id()))
uwsgi.register_signal(2, "mule2", lambda signal: note("mule2", uwsgi.mule_id()))
uwsgi.register_signal(3, "farm_team", lambda signal: note("team", uwsgi.mule_id()))
uwsgi.register_signal(4, "mule1", in_a_signal)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    verb, _, rest = environ["PATH_INFO"].strip("/").partition("/")
    if verb == "raise":
        uwsgi.signal(int(rest))
    elif verb == "any":
        return [str(uwsgi.mule_msg(rest)).encode()]
    elif verb == "to":
        number, _, text = rest.partition("/")
        try:
            return [str(uwsgi.mule_msg(text.encode(), int(number) if number.isdigit() else number)).encode()]
        except ValueError as error:
            return [str(error).encode()]
    elif verb == "team":
        return [str(uwsgi.mule_msg(rest.encode(), b"team")).encode()]
    elif verb == "alarm":
        name, _, text = rest.partition("/")
        return [str(uwsgi.alarm(name, text)).encode()]
    elif verb == "farm":
        uwsgi.farm_msg("team", rest)
    elif verb == "get":
        try:
            uwsgi.mule_get_msg()
        except ValueError as error:
            return [str(error).encode()]
    return [b"hello"]
