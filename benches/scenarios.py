"""What is measured: each scenario has a title, its rows, and one run of one row, which answers with figures by column."""

import time
from dataclasses import dataclass
from typing import Callable

from load import Attackers, Sleepers, h2load, idle, wrk
from servers import VENV, behind_nginx, bjoern, empery, empery_specific, fastwsgi, floor, granian, gunicorn, plain, uwsgi

UPLOAD_BYTES = 10 * 1024 * 1024
IDLE_CONNECTIONS = 10_000
ATTACKERS = 1_000
# Of the scenario `monitor`: seconds without a request, and connections without one while others have some.
REST_S = 10
RESTING = 1_000


@dataclass
class Scenario:
    name: str
    title: str
    rows: list
    run: Callable
    columns: list
    ready: str = "/"
    # Rounds of a run that takes many seconds, when nobody says how many.
    rounds_unsaid: int = 5


def throughput(connections, path="/", closes=False, upload_bytes=0):
    """Load for some seconds; CPU of all processes of the row per request, and how far their memory grew meanwhile."""

    def run(server, seconds):
        if path not in ("/", "/static/64k"):
            wrk(server.url(path), connections, 1, upload_bytes=upload_bytes)  # what is made once is not growth
        server.forget_peak()
        resident, before = server.rss_kib(), server.cpu_seconds()
        figures = wrk(server.url(path), connections, seconds, closes=closes, upload_bytes=upload_bytes)
        figures["cpu_us"] = (server.cpu_seconds() - before) / max(figures["requests"], 1) * 1e6
        figures["pss_mib"] = server.pss_kib() / 1024
        figures["growth_mib"] = (server.peak_kib() - resident) / 1024
        return figures

    return run


def http2(server, seconds):
    before = server.cpu_seconds()
    figures = h2load(server.url("/"), 4, seconds)
    figures["cpu_us"] = (server.cpu_seconds() - before) / max(figures["requests"], 1) * 1e6
    figures["pss_mib"] = server.pss_kib() / 1024
    return figures


def beside_sleeper(server, seconds):
    with Sleepers(server) as sleepers:
        figures = wrk(server.url("/"), 8, seconds)
    figures["slept"] = sleepers.slept
    return figures


def idle_connections(server, _seconds):
    warm = idle(server, 10)
    before = server.pss_kib()
    held = idle(server, IDLE_CONNECTIONS)
    figures = {"idle_bytes": (server.pss_kib() - before) * 1024 / IDLE_CONNECTIONS}
    figures["p99"] = wrk(server.url("/"), 8, 1)["p99"]
    for connection in warm + held:
        connection.close()
    return figures


def monitored(server, seconds):
    """What looks after connections costs nothing while nobody asks, and takes nothing from a view that only computes."""
    before = server.cpu_seconds()
    time.sleep(REST_S)
    figures = {"idle_ms": (server.cpu_seconds() - before) * 1e3}
    held = idle(server, RESTING)
    before = server.cpu_seconds()
    figures |= wrk(server.url("/spin"), 1, seconds)
    figures["cpu_us"] = (server.cpu_seconds() - before) / max(figures["requests"], 1) * 1e6
    for connection in held:
        connection.close()
    return figures


def attacked(beginning):
    def run(server, seconds):
        alone = wrk(server.url("/"), 8, seconds)
        with Attackers(server, ATTACKERS, beginning):
            beside = wrk(server.url("/"), 8, seconds)
        if not beside["requests"]:
            raise OSError("no other client is answered")
        return {"p99_alone": alone["p99"], "p99": beside["p99"], "times": beside["p99"] / alone["p99"], "rate": beside["rate"], "errors": beside["errors"]}

    return run


CPU = ["cpu_us", "ratio", "rate", "p50", "p99", "p999", "pss_mib", "errors"]
BULK = ["mib_s", "ratio", "cpu_us", "rate", "p99", "growth_mib", "errors"]


def tls(directory, module="hello"):
    certificate, key = str(directory / "localhost.crt"), str(directory / "localhost.key")
    ours = {"how": "--https", "where": "127.0.0.1:{port}," + f"{certificate},{key}"}
    rows = [empery(module, **ours), empery_specific(module, **ours),
            granian(module, "--ssl-certificate", certificate, "--ssl-keyfile", key, http="auto")]
    for row in rows:
        row.is_tls = True
    return rows


def scenarios(directory):
    static = directory / "static"
    threads_4 = empery_specific("hello", "--threads", "4", name="Empery, build for this Python, threads = 4")
    bulk = [empery("shapes"), empery_specific("shapes"), bjoern("shapes"), fastwsgi("shapes"), granian("shapes"), gunicorn("shapes"), uwsgi("shapes")]
    pinned = ["--processes", "2"]
    return [
        Scenario("hello", "Hello world, 32 keep-alive connections",
                 [floor(), empery("hello"), empery_specific("hello"), threads_4, bjoern("hello"), fastwsgi("hello"), granian("hello"),
                  gunicorn("hello"), uwsgi("hello"), uwsgi("hello", how="--http11-socket"), uwsgi("hello", how="--http", name="uWSGI http (router)")],
                 throughput(32), CPU),
        Scenario("one", "Hello world, one keep-alive connection",
                 [floor(), empery("hello"), empery_specific("hello"), bjoern("hello"), fastwsgi("hello"), granian("hello"),
                  uwsgi("hello", how="--http11-socket")], throughput(1), CPU),
        Scenario("close", "Hello world, a connection for every request, 32 at once",
                 [floor(), empery("hello"), empery_specific("hello"), bjoern("hello"), fastwsgi("hello"), granian("hello"), uwsgi("hello")],
                 throughput(32, closes=True), CPU),
        Scenario("nginx", "Hello world behind nginx with `uwsgi_pass` over a unix socket, 32 keep-alive connections; nginx included",
                 [behind_nginx("nginx + Empery", empery("hello").commands[0][0], "hello"),
                  behind_nginx("nginx + Empery, build for this Python", empery_specific("hello").commands[0][0], "hello"),
                  behind_nginx("nginx + uWSGI", str(VENV / "uwsgi"), "hello")], throughput(32), CPU),
        Scenario("sleep", "8 keep-alive connections of fast requests while one request after the other sleeps 1 s",
                 [empery("shapes", "--threads", "2", name="Empery, processes = 1, threads = 2"),
                  empery("shapes", *pinned, name="Empery, processes = 2, threads = 1"),
                  granian("shapes", "--blocking-threads", "2", name="granian, 2 blocking threads"), gunicorn("shapes", "2"),
                  uwsgi("shapes", "--threads", "2", name="uWSGI http-socket, threads = 2")],
                 beside_sleeper, ["rate", "p50", "p99", "p999", "slept", "errors"]),
        Scenario("upload", "10 MiB uploads that the app reads, 4 connections", bulk, throughput(4, "/upload", upload_bytes=UPLOAD_BYTES), BULK),
        Scenario("generator", "10 MiB from a generator, 4 connections", bulk, throughput(4, "/generator"), BULK),
        Scenario("file", "10 MiB from `wsgi.file_wrapper`, 4 connections", bulk, throughput(4, "/file"), BULK),
        Scenario("static", "A static file of 64 KiB, 32 connections",
                 [empery("hello", "--static-map", f"/static={static}"), granian("hello", "--static-path-mount", str(static), "--static-path-route", "/static"),
                  uwsgi("hello", "--static-map", f"/static={static}"),
                  uwsgi("hello", "--static-map", f"/static={static}", how="--http11-socket")],
                 throughput(32, "/static/64k"), BULK),
        Scenario("idle", f"{IDLE_CONNECTIONS:,} idle keep-alive connections",
                 [empery("hello", "--http-keepalive=600"), bjoern("hello"), fastwsgi("hello"), granian("hello")],
                 idle_connections, ["idle_bytes", "p99"], rounds_unsaid=3),
        Scenario("slow-head", f"8 keep-alive connections beside {ATTACKERS:,} that send a head a byte a second",
                 [empery("hello"), bjoern("hello"), fastwsgi("hello"), granian("hello")], attacked(Attackers.HEAD),
                 ["times", "p99_alone", "p99", "rate", "errors"]),
        Scenario("slow-body", f"8 keep-alive connections beside {ATTACKERS:,} that send a body a byte a second",
                 [empery("shapes"), bjoern("shapes"), fastwsgi("shapes"), granian("shapes")], attacked(Attackers.BODY),
                 ["times", "p99_alone", "p99", "rate", "errors"]),
        Scenario("slow-head-https", f"The same over HTTPS: 8 keep-alive connections beside {ATTACKERS:,} that send a head a byte a second",
                 tls(directory), attacked(Attackers.HEAD), ["times", "p99_alone", "p99", "rate", "errors"]),
        Scenario("slow-body-https", f"The same over HTTPS: 8 keep-alive connections beside {ATTACKERS:,} that send a body a byte a second",
                 tls(directory, "shapes"), attacked(Attackers.BODY), ["times", "p99_alone", "p99", "rate", "errors"]),
        Scenario("monitor", f"A view that only computes, on one keep-alive connection beside {RESTING:,} idle ones; and {REST_S} s without a request",
                 [plain(), *(empery("shapes", "--processes", "2", "--threads", threads, name=f"Empery, processes = 2, threads = {threads}")
                             for threads in ("1", "4"))],
                 monitored, ["cpu_us", "ratio", "rate", "p99", "idle_ms", "errors"], rounds_unsaid=3),
        Scenario("https", "Hello world over HTTPS (HTTP/1.1), 32 keep-alive connections", tls(directory), throughput(32), CPU),
        Scenario("http2", "Hello world over HTTP/2 with TLS, 4 connections of 8 streams", tls(directory), http2, ["cpu_us", "ratio", "rate", "pss_mib", "errors"]),
    ]
