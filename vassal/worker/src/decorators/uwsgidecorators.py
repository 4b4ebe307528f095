"""Decorators for what uWSGI runs beside requests, under the names of uWSGI's own module.

Found by `import uwsgidecorators` when no package of that name is installed.
"""

import functools
import pickle
import sys
import threading

import uwsgi

spooler_functions = {}
mule_functions = {}
postfork_chain = []


def get_free_signal():
    """The first signal without a function."""
    for number in range(256):
        if not uwsgi.signal_registered(number):
            return number
    raise Exception("No free uwsgi signal available")


# After a fork -----------------------------------------------------------------------------------------------------------


def postfork_chain_hook():
    for function in postfork_chain:
        function()


uwsgi.post_fork_hook = postfork_chain_hook


def postfork(function_or_worker):
    """Runs the function in each new worker, mule and spooler, or in the worker of this number only."""
    if callable(function_or_worker):
        postfork_chain.append(function_or_worker)
        return function_or_worker

    def register(function):
        def in_that_worker():
            if function_or_worker in (0, uwsgi.worker_id()):
                return function()
        postfork_chain.append(in_that_worker)
        return function
    return register


# The spooler ------------------------------------------------------------------------------------------------------------


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def _bytes(value):
    return value if isinstance(value, bytes) else str(value).encode()


def manage_spool_request(task):
    """What the spooler calls: finds the function that the task names."""
    told = {_text(name): value for name, value in task.items()}
    pickled = [told.pop(name) for name in ("args", "kwargs") if "args" in task or b"args" in task]
    function = spooler_functions[_text(told["ud_spool_func"])]
    if pickled:
        args, kwargs = (pickle.loads(value) for value in pickled)
        answer = function(*args, **kwargs)
    else:
        answer = function({name: _decoded(value) for name, value in told.items()})
    fixed = told.get("ud_spool_ret")
    return int(answer if fixed is None else fixed)


def _decoded(value):
    try:
        return _text(value)
    except UnicodeDecodeError:
        return value


uwsgi.spooler = manage_spool_request


class _Spooled:
    """A function whose call writes a task; the spooler runs it."""

    def __init__(self, function, pass_arguments, answer):
        if not hasattr(uwsgi, "spool"):
            raise Exception("you have to enable the uWSGI spooler (spooler = DIRECTORY) to spool " + function.__name__)
        functools.update_wrapper(self, function)
        self.f = function
        self.pass_arguments = pass_arguments
        self.base_dict = {"ud_spool_func": function.__name__}
        if answer is not None:
            self.base_dict["ud_spool_ret"] = str(answer)
        spooler_functions[function.__name__] = function
        function.spool = self.spool

    def __call__(self, *args, **kwargs):
        task = dict(self.base_dict)
        if self.pass_arguments:
            for name in ("message_dict", "spooler", "priority", "at", "body"):
                if name in kwargs:
                    task[name] = kwargs.pop(name)
            task["args"] = pickle.dumps(args)
            task["kwargs"] = pickle.dumps(kwargs)
        else:
            for given in args[:1]:
                task.update({_text(name): value for name, value in given.items()})
            task.update(kwargs)
        return uwsgi.spool({_bytes(name): _bytes(value) for name, value in task.items()})

    def spool(self, *args, **kwargs):
        return self(*args, **kwargs)


def _spooling(answer):
    def decorate(f=None, pass_arguments=False):
        if f is None:
            return functools.partial(decorate, pass_arguments=pass_arguments)
        return _Spooled(f, pass_arguments, answer)
    return decorate


#: The function answers itself: uwsgi.SPOOL_OK, SPOOL_RETRY or SPOOL_IGNORE.
spoolraw = _spooling(None)
#: The task is done when the function has returned.
spool = _spooling(uwsgi.SPOOL_OK)
#: The task is run again and again.
spoolforever = _spooling(uwsgi.SPOOL_RETRY)


# Mules and farms --------------------------------------------------------------------------------------------------------


def mule_msg_dispatcher(message):
    """What a mule calls for messages: runs the function that `mulefunc` has sent."""
    try:
        told = pickle.loads(message)
    except Exception:
        return None
    if isinstance(told, dict) and told.get("service") == "uwsgi_mulefunc":
        return mule_functions[told["func"]](*told["args"], **told["kwargs"])
    return None


uwsgi.install_mule_msg_hook(mule_msg_dispatcher)


def mulefunc(function_or_mule):
    """A function whose call is run by any mule, or by the mule of this number or farm of this name."""
    mule = 0 if callable(function_or_mule) else function_or_mule

    def decorate(function):
        mule_functions[function.__name__] = function

        @functools.wraps(function)
        def send(*args, **kwargs):
            told = {"service": "uwsgi_mulefunc", "func": function.__name__, "args": args, "kwargs": kwargs}
            return uwsgi.mule_msg(pickle.dumps(told), mule)
        return send
    return decorate(function_or_mule) if callable(function_or_mule) else decorate


def _in_mule(number, run):
    def hook():
        if uwsgi.mule_id() != number:
            return
        try:
            run()
        except Exception:
            sys.excepthook(*sys.exc_info())
            sys.exit(1)
    postfork_chain.append(hook)


def _for_ever(function):
    while True:
        function()


class mule:
    """Runs the function in the mule of this number."""

    def __init__(self, num):
        self.num = num

    def __call__(self, f):
        _in_mule(self.num, f)
        return f


class muleloop(mule):
    """Runs the function in the mule of this number, again and again."""

    def __call__(self, f):
        _in_mule(self.num, functools.partial(_for_ever, f))
        return f


class mulemsg(mule):
    """Runs the function in the mule of this number with each message."""

    def __call__(self, f):
        def hear():
            message = uwsgi.mule_get_msg()
            if message:
                f(message)
        _in_mule(self.num, functools.partial(_for_ever, hear))
        return f


class farm:
    """Runs the function with each message for the farm, in the mules of it."""

    def __init__(self, name=None, **kwargs):
        self.name = name

    def __call__(self, f):
        def loop():
            in_it = uwsgi.in_farm(self.name) if self.name is not None else uwsgi.in_farm()
            while in_it:
                message = uwsgi.farm_get_msg()
                if message:
                    f(message)
        postfork_chain.append(loop)
        return f


# Signals ----------------------------------------------------------------------------------------------------------------


class signal:
    """Runs the function when the signal of this number is raised."""

    def __init__(self, num, target="", **kwargs):
        self.num = num
        self.target = target

    def __call__(self, f):
        uwsgi.register_signal(self.num, self.target, f)
        self.begin()
        return f

    def begin(self):
        """Sees to it that the signal is raised."""


class _raised(signal):
    """What it is given and does not know counts for nothing, as in uWSGI."""

    def __init__(self, signum=None, target="", **kwargs):
        super().__init__(get_free_signal() if signum is None else signum, target)


class timer(_raised):
    """Runs the function every so many seconds."""

    def __init__(self, secs, **kwargs):
        super().__init__(**kwargs)
        self.secs = secs

    def begin(self):
        uwsgi.add_timer(self.num, self.secs)


class mstimer(timer):
    """Runs the function every so many milliseconds."""

    def begin(self):
        uwsgi.add_ms_timer(self.num, self.secs)


class rbtimer(timer):
    """Runs the function every so many seconds; a second number says how often in all."""

    def __init__(self, secs, iterations=0, **kwargs):
        super().__init__(secs, **kwargs)
        self.iterations = iterations

    def begin(self):
        uwsgi.add_rb_timer(self.num, self.secs, self.iterations)


class cron(_raised):
    """Runs the function at these times: minute, hour, day, month, day of the week; -1 is any, -N every one that N divides."""

    def __init__(self, minute, hour, day, month, dayweek, **kwargs):
        super().__init__(**kwargs)
        self.when = (minute, hour, day, month, dayweek)

    def begin(self):
        uwsgi.add_cron(self.num, *self.when)


class filemon(_raised):
    """Runs the function whenever the file or directory changes."""

    def __init__(self, fsobj, **kwargs):
        super().__init__(**kwargs)
        self.fsobj = fsobj

    def begin(self):
        uwsgi.add_file_monitor(self.num, self.fsobj)


# The rest ---------------------------------------------------------------------------------------------------------------


class rpc:
    """Registers the function for remote calls."""

    def __init__(self, name):
        self.name = name

    def __call__(self, f):
        uwsgi.register_rpc(self.name, f)
        return f


class erlang:
    """Erlang is not spoken."""

    def __init__(self, name):
        raise Exception("there is no Erlang here: speak to the other side over HTTP or a message queue")


def lock(f):
    """One process of the vassal runs the function at a time; the spooler does not run it."""

    @functools.wraps(f)
    def alone(*args, **kwargs):
        if uwsgi.i_am_the_spooler():
            return None
        uwsgi.lock()
        try:
            return f(*args, **kwargs)
        finally:
            uwsgi.unlock()
    return alone


def thread(f):
    """A call runs the function in a thread of its own, and answers with the function."""

    @functools.wraps(f)
    def start(*args, **kwargs):
        threading.Thread(target=f, args=args, kwargs=kwargs, daemon=True).start()
        return f
    return start


class harakiri:
    """The request that calls the function has so many seconds for it."""

    def __init__(self, seconds):
        self.s = seconds

    def __call__(self, f):
        @functools.wraps(f)
        def limited(*args, **kwargs):
            uwsgi.set_user_harakiri(self.s)
            try:
                return f(*args, **kwargs)
            finally:
                uwsgi.set_user_harakiri(0)
        return limited
