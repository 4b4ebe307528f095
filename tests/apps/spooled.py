"""Tasks for the spooler, and the decorators: what ran is written down in files of the working directory of the import."""

import os
import sys
import time

# Ours, also where uWSGI's package has brought its own.
hidden = [path for path in sys.path if os.path.exists(os.path.join(path, "uwsgidecorators.py"))]
sys.path[:] = [path for path in sys.path if path not in hidden]
import uwsgidecorators  # noqa: E402
from uwsgidecorators import cron, filemon, mulefunc, postfork, spool, spoolraw, thread, timer  # noqa: E402
sys.path.extend(hidden)

import uwsgi  # noqa: E402

HERE = os.getcwd()


def note(name, text):
    with open(os.path.join(HERE, name), "a") as file:
        file.write(f"{text}\n")


@spool
def plain(task):
    note("plain", f"{task['word']} {task.get('body', '-')} {os.getpid()} {uwsgi.i_am_the_spooler()}")
    return uwsgi.SPOOL_RETRY


@spool(pass_arguments=True)
def arguments(*args, **kwargs):
    note("arguments", f"{args} {kwargs}")


@spoolraw
def again(task):
    note("again", os.getpid())
    if len(open(os.path.join(HERE, "again")).readlines()) < 2:
        raise ValueError("the first time it fails")
    return uwsgi.SPOOL_OK


@spool
def hangs(task):
    note("hangs", os.getpid())
    if len(open(os.path.join(HERE, "hangs")).readlines()) < 2:
        time.sleep(1000)


@spool
def limits_itself(task):
    note("limits-itself", os.getpid())
    uwsgi.set_user_harakiri(1)
    if len(open(os.path.join(HERE, "limits-itself")).readlines()) < 2:
        time.sleep(1000)
    uwsgi.set_user_harakiri(0)


@mulefunc
def in_a_mule(word):
    note("in-a-mule", f"{word} {uwsgi.mule_id()}")


@timer(1)
def every_second(signal):
    note("timer", signal)


@cron(-1, -1, -1, -1, -1)
def every_minute(signal):
    note("cron", signal)


@filemon("watched", target="mule1")
def on_change(signal):
    note("filemon", uwsgi.mule_id())


@postfork
def forked():
    note("postfork", f"{uwsgi.worker_id()} {uwsgi.mule_id()} {uwsgi.i_am_the_spooler()}")


@postfork(2)
def forked_as_second():
    note("postfork2", uwsgi.worker_id())


@thread
def in_a_thread(word):
    note("thread", word)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    verb, _, rest = environ["PATH_INFO"].strip("/").partition("/")
    if verb == "plain":
        return [plain.spool({"word": rest, "body": b"a body"})]
    if verb == "later":
        plain(word=rest, at=str(int(time.time()) + 3600))
    elif verb == "soon":
        plain(word=rest, at=str(time.time() + 2))
    elif verb == "priority":
        plain(word=rest, priority="3")
    elif verb == "arguments":
        arguments(1, rest, key=[2])
    elif verb == "again":
        again({"x": "y"})
    elif verb == "hangs":
        hangs({})
    elif verb == "limits":
        limits_itself({})
    elif verb == "jobs":
        return [b"\n".join(sorted(uwsgi.spooler_jobs()))]
    elif verb == "task":
        return [repr(uwsgi.spooler_get_task(uwsgi.spooler_jobs()[0])).encode()]
    elif verb == "facts":
        return [repr((uwsgi.spoolers, uwsgi.spooler_pids(), uwsgi.SPOOL_OK)).encode()]
    elif verb == "mule":
        in_a_mule(rest)
    elif verb == "thread":
        in_a_thread(rest)
    elif verb == "frequency":
        uwsgi.set_spooler_frequency(int(rest))
    elif verb == "where":
        return [uwsgidecorators.__spec__.origin.encode() if uwsgidecorators.__spec__.origin else b"ours"]
    return [b"done"]
