"""Exactly what was measured: versions of the machine's and the servers' software."""

import os
import platform
import re
import subprocess
from pathlib import Path

from servers import PYTHON, TREE


def said(*command):
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TREE)
    except OSError:
        return "not installed"
    return (result.stdout + result.stderr).strip()


def package(name):
    return said(PYTHON, "-c", f"from importlib.metadata import version; print(version('{name}'))").splitlines()[-1]


def first(pattern, text):
    found = re.search(pattern, text)
    return found[1] if found else "unknown"


def versions():
    """One line of text."""
    cpu = first(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    os_name = first(r'PRETTY_NAME="([^"]*)"', Path("/etc/os-release").read_text())
    python = said(PYTHON, "-c", "import platform; print(platform.python_version())")
    nginx, wrk = first(r"nginx/(.*)", said("/usr/sbin/nginx", "-v")), first(r"wrk (?:debian/)?(\S+)", said("wrk", "-v"))
    peers = ", ".join(f"{name} {package(name)}" for name in ("uWSGI", "granian", "gunicorn", "bjoern", "fastwsgi"))
    return (
        f"Machine: {os.cpu_count()} cores of {cpu}, Linux {platform.release()}, {os_name}. "
        f"Empery {said('git', 'rev-parse', '--short', 'HEAD')} ({said('rustc', '--version')}); CPython {python}; {peers}; "
        f"nginx {nginx}, wrk {wrk}, {said('h2load', '--version').splitlines()[0]}."
    )
