"""Runs a command under callgrind and reads what it counted: instructions, by the file (program or library) they lie in.

Counting is valgrind's, whose processor is made of software: the same code gives the same number on any machine whose
processor has the same vector instructions, whatever else runs there.
"""

import re
import subprocess
from collections import Counter
from pathlib import Path


def prepare(directory):
    """Makes `directory` a home whose valgrind settings write the counts of each process to `counts.PID` there.

    Not on the command line: valgrind reads the name of the file there when the process ends, and a worker has by then
    overwritten its command line with a title for `ps`.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = directory / ".valgrindrc"
    settings.write_text(f"--quiet\n--callgrind-out-file={directory}/counts.%p\n")
    settings.chmod(0o600)


def command(home, words):
    return ["env", f"HOME={home}", "valgrind", "--tool=callgrind", *words]


def wrapper(home, interpreter):
    """A program that is `interpreter` under callgrind, for whoever starts it by name."""
    path = home / "python3"
    path.write_text(f'#!/bin/sh\nexec {" ".join(command(home, [interpreter]))} "$@"\n')
    path.chmod(0o700)
    return path


def read(path):
    """Instructions by object file, from callgrind's output (its format is in valgrind's manual, "Callgrind Format")."""
    objects, current, counted, is_call = {}, None, Counter(), False
    for line in Path(path).read_text(errors="replace").splitlines():
        if line.startswith(("ob=", "cob=")):
            number, name = re.match(r"c?ob=\((\d+)\)(?: (.*))?$", line).groups()
            if name is not None:
                objects[number] = Path(name).name
            if line.startswith("ob="):
                current = objects[number]
        elif line.startswith("calls="):
            is_call = True  # the next line repeats what the called function cost
        elif line[:1] in "+-*0123456789" and line:
            if not is_call:
                counted[current] += int(line.split()[-1])
            is_call = False
    return counted


def run(home, words):
    """Counts of one process that ends by itself."""
    for old in home.glob("counts.*"):
        old.unlink()
    subprocess.run(command(home, words), check=True)
    (path,) = home.glob("counts.*")
    return read(path)


def per_repeat(fewer, more, repeats):
    """What one repeat costs, given the counts of a run and of one with so many repeats more: the start falls out."""
    counted = Counter(more)
    counted.subtract(fewer)
    return {name: count / repeats for name, count in counted.items()}
