#!/usr/bin/env python3
"""Measures Empery beside its peers, scenario by scenario, and writes Markdown tables.

    ./dev bench [SCENARIO...] [--rounds 5] [--seconds 3] [--only Empery,floor] [--into target/bench.md]

All rows of a scenario run at once, pinned to core 0; the load, on core 1, goes round them, so that whatever else the machine
does hits all alike. Rows that are not installed or do not answer are left out and named.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from process import Server, cpu_seconds, machine_busy_seconds, raise_descriptors
from scenarios import scenarios
from servers import TARGET, VENV
from table import table
from versions import versions


def surroundings(directory):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EMPERY_", "UWSGI_"))}
    return {**environment, "PATH": f"{VENV}:{os.environ['PATH']}", "BENCH_FILE": str(directory / "10m")}


def lay_out(directory):
    """What is served and what serves it over TLS."""
    static = directory / "static"
    static.mkdir()
    directory.chmod(0o755)
    (static / "64k").write_bytes(os.urandom(64 * 1024))
    # granian serves what lies under the route, the others what lies under the directory.
    (directory / "10m").write_bytes(os.urandom(10 * 1024 * 1024))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", directory / "localhost.key", "-out", directory / "localhost.crt"],
                   check=True, capture_output=True)


def started(scenario, rows, directory):
    running = []
    for row in rows:
        if not row.is_installed():
            print(f"left out, not installed: {row.name}", file=sys.stderr)
            continue
        server = Server(row, surroundings(directory), directory)
        if server.is_ready(scenario.ready):
            running.append(server)
        else:
            print(f"left out, does not answer: {row.name}\n{server.log.read_text(errors='replace')[-1000:]}", file=sys.stderr)
            server.stop()
    return running


def measure(scenario, rows, given, directory):
    rounds, results = given.rounds or scenario.rounds_unsaid, {}
    running = started(scenario, rows, directory)
    try:
        began, busy = time.monotonic(), machine_busy_seconds()
        own = sum(server.cpu_seconds() for server in running) + own_seconds()
        for _ in range(rounds):
            for server in running:
                if results.get(server.name) == []:
                    continue  # it could not the first time
                try:
                    figures = scenario.run(server, given.seconds)
                except (OSError, subprocess.CalledProcessError) as error:
                    print(f"{scenario.name}: {server.name}: cannot do it: {error}", file=sys.stderr)
                    results[server.name] = []
                    continue
                results.setdefault(server.name, []).append(figures)
                shown = ", ".join(f"{name} {value:.2f}" for name, value in figures.items() if name in scenario.columns)
                print(f"{scenario.name}: {server.name}: {shown}", file=sys.stderr)
        own = sum(server.cpu_seconds() for server in running) + own_seconds() - own
        others = (machine_busy_seconds() - busy - own) / (time.monotonic() - began)
    finally:
        for server in running:
            server.stop()
    return table(scenario, results, rounds, given.seconds, max(others, 0.0))


def own_seconds():
    """This process, and the clients it has waited for."""
    used = os.times()
    return cpu_seconds([os.getpid()]) + used.children_user + used.children_system


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("scenario", nargs="*", help="all of them, unless some are named")
    arguments.add_argument("--rounds", type=int, help="5, or 3 where each takes many seconds")
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--only", help="rows whose names begin so, with commas between")
    arguments.add_argument("--into", type=Path, default=TARGET / "bench.md")
    given = arguments.parse_args()
    if not shutil.which("wrk") or (os.cpu_count() or 1) < 2:
        sys.exit("bench: needs wrk (`./dev setup` installs it) and two cores")
    raise_descriptors()
    given.into.write_text(versions() + "\n")
    with tempfile.TemporaryDirectory(prefix="empery-bench-") as name:
        directory = Path(name)
        lay_out(directory)
        known = scenarios(directory)
        unknown = set(given.scenario) - {scenario.name for scenario in known}
        if unknown:
            sys.exit(f"bench: no scenario {', '.join(sorted(unknown))}; there are {', '.join(scenario.name for scenario in known)}")
        for scenario in known:
            if given.scenario and scenario.name not in given.scenario:
                continue
            rows = [row for row in scenario.rows if not given.only or row.name.startswith(tuple(given.only.split(",")))]
            text = measure(scenario, rows, given, directory)
            with given.into.open("a") as into:
                into.write("\n" + text)
            print(text)


if __name__ == "__main__":
    main()
