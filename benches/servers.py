"""The rows: Empery and its peers, each with the command line that a careful user of it would write for this scenario.

Logs off, one process, one thread of Python unless the row says otherwise. `{port}`, `{socket}` and `{directory}` are filled
in when a server is started.
"""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", TREE / "target"))
VENV = TARGET / "venv/bin"
RELEASE = TARGET / "release"
# An installation with the build for this Python beside the one for all.
SPECIFIC = TARGET / "bench/prefix/bin"
APPS = {"hello": TREE / "tests/apps", "shapes": TREE / "benches/apps"}

PYTHON = str(VENV / "python")
BJOERN = "import sys, bjoern, {module}; bjoern.run({module}.application, '127.0.0.1', int(sys.argv[1]))"
FASTWSGI = ("import sys, fastwsgi, {module}; fastwsgi.server.backlog = 1024; fastwsgi.server.max_content_length = 2**30; "
            "fastwsgi.run(wsgi_app={module}.application, host='127.0.0.1', port=int(sys.argv[1]), loglevel=0)")

NGINX = """daemon off; worker_processes 1; pid {directory}/{port}.pid; error_log {directory}/nginx.log crit; user root;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000000;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; uwsgi_temp_path {directory}/uwsgi;
    fastcgi_temp_path {directory}/fastcgi; scgi_temp_path {directory}/scgi;
    server {{ listen 127.0.0.1:{port} backlog=1024; location / {{ include /etc/nginx/uwsgi_params; uwsgi_pass unix:{socket}; }} }}
}}
"""


@dataclass
class Row:
    name: str
    commands: list
    directory: Path = TREE
    is_tls: bool = False
    needs: list = field(default_factory=list)

    def is_installed(self):
        if not all(Path(command[0]).exists() for command in self.commands):
            return False
        return all(subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True).returncode == 0 for module in self.needs)


def shared_words(module):
    """What `vassal` and uWSGI understand alike."""
    return ["--master", "--need-app", "--die-on-term", "--disable-logging", "--listen", "1024", "--chdir", str(APPS[module]),
            "--pythonpath", ".", "--module", module]


def floor():
    return Row("floor (no Python)", [[str(RELEASE / "examples/floor"), "{port}"]])


def plain():
    return Row("plain Python (no server)", [[PYTHON, "plain.py", "{port}"]], APPS["shapes"])


def empery(module, *more, name="Empery", binaries=RELEASE, how="--http-socket", where="127.0.0.1:{port}"):
    return Row(name, [[str(binaries / "vassal"), how, where, *shared_words(module), *more]])


def empery_specific(module, *more, name="Empery, build for this Python", **others):
    return empery(module, *more, name=name, binaries=SPECIFIC, **others)


def uwsgi(module, *more, how="--http-socket", name=None):
    # http-socket keeps HTTP/1.1 clients waiting for more unless it says that it closes.
    closing = ["--add-header", "Connection: close"] if how == "--http-socket" else []
    words = [str(VENV / "uwsgi"), how, "127.0.0.1:{port}", *closing, *shared_words(module), *more]
    return Row(name or f"uWSGI {how.removeprefix('--')}", [words])


def bjoern(module):
    return Row("bjoern", [[PYTHON, "-c", BJOERN.replace("{module}", module), "{port}"]], APPS[module], needs=["bjoern"])


def fastwsgi(module):
    return Row("FastWSGI", [[PYTHON, "-c", FASTWSGI.replace("{module}", module), "{port}"]], APPS[module], needs=["fastwsgi"])


def granian(module, *more, name="granian", http="1", is_tls=False):
    words = [str(VENV / "granian"), "--interface", "wsgi", "--http", http, "--host", "127.0.0.1", "--port", "{port}", "--workers", "1",
             "--no-ws", "--log-level", "warning", "--working-dir", str(APPS[module]), *more, f"{module}:application"]
    return Row(name, [words], is_tls=is_tls)


def gunicorn(module, threads="4"):
    return Row("gunicorn gthread", [[str(VENV / "gunicorn"), "-k", "gthread", "--threads", threads, "-w", "1", "--keep-alive", "75", "-b",
                                     "127.0.0.1:{port}", "--chdir", str(APPS[module]), "--log-level", "warning", f"{module}:application"]])


def behind_nginx(name, program, module, *more):
    """nginx with `uwsgi_pass` over a unix socket: both are measured."""
    write = f"cat >{{directory}}/{{port}}.conf <<'END'\n{NGINX.replace('{{', '{').replace('}}', '}')}END\nexec nginx -c {{directory}}/{{port}}.conf"
    behind = [program, "--socket", "{socket}", "--chmod-socket=666", *shared_words(module), *more]
    return Row(name, [behind, ["/bin/sh", "-c", write]])
