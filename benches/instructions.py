#!/usr/bin/env python3
"""Counts the instructions of the hot path and compares them with the baseline in `benches/instructions.json`.

    ./dev instructions [--bless]

Layers: a request head parsed (`benches/heads.rs`), and a whole request in one worker, from the kernel's answer to
`epoll_wait` to the next `epoll_wait`; over HTTP on one connection, over the uwsgi protocol on a connection for each; and a
request answered by the epoll server without Python (`benches/floor.rs`), above which a server's cost is its own. Each is
run twice with different numbers of repeats; the difference is what one costs.
Only user space is counted, and time plays no part in it: repeats differ by a few instructions.

A count more than 3 % above the baseline fails; so does the part of it that is ours. The baseline is kept by what decides
the count (compiler, interpreter, C library, valgrind, vector instructions); where there is none for this machine the counts
are shown and nothing is judged. `--bless` writes the counts of this machine as the baseline.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import callgrind
from worker import Floor, Worker

TREE = Path(__file__).resolve().parent.parent
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", TREE / "target")) / "release"
BASELINE = TREE / "benches/instructions.json"
TOLERATED = 1.03
OURS = "libempery_worker.so"
FLOOR, HELLO_WORLD = "hello world, from the floor", "hello world"

HELLO = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
BROWSER = (
    b"GET /shop/article/42?colour=green&size=xl HTTP/1.1\r\nHost: www.example.com\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Accept-Language: en-GB,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Referer: https://www.example.com/shop/\r\nCookie: session=3f1c9a4be2d74a0f9b6f0c2d8a71e5c4; theme=dark\r\n"
    b"Connection: keep-alive\r\n\r\n"
)
POST = b"POST /form HTTP/1.1\r\nHost: www.example.com\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nname=Hadrian"


# nginx's uwsgi_params, and what its client says.
NGINX = {
    "QUERY_STRING": "", "REQUEST_METHOD": "GET", "CONTENT_TYPE": "", "CONTENT_LENGTH": "", "REQUEST_URI": "/", "PATH_INFO": "/",
    "DOCUMENT_ROOT": "/usr/share/nginx/html", "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_SCHEME": "http", "REMOTE_ADDR": "127.0.0.1",
    "REMOTE_PORT": "51234", "SERVER_PORT": "8080", "SERVER_NAME": "localhost", "HTTP_HOST": "127.0.0.1:8080",
}


def uwsgi(variables):
    """A packet of the uwsgi protocol."""
    texts = [text.encode() for pair in variables.items() for text in pair]
    block = b"".join(len(text).to_bytes(2, "little") + text for text in texts)
    return b"\0" + len(block).to_bytes(2, "little") + b"\0" + block


def said_by(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def key(interpreter):
    """What decides the counts besides our code."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as cpu:
        flags = set(re.search(r"^flags\s*:(.*)$", cpu.read(), re.MULTILINE)[1].split())
    return {
        "rustc": said_by("rustc", "--version"),
        "python": said_by(interpreter, "-c", "import sys; print(sys.version)").replace("\n", " "),
        "libc": os.confstr("CS_GNU_LIBC_VERSION"),
        "valgrind": said_by("valgrind", "--version"),
        "machine": " ".join([os.uname().machine, *sorted(flags & {"avx", "avx2"})]),
    }


def heads(home, protocol):
    fewer, more = 100, 2100
    program = str(RELEASE / "examples/heads")
    counts = [callgrind.run(home, [program, protocol, str(times)]) for times in (fewer, more)]
    each = callgrind.per_repeat(*counts, more - fewer)
    return {"ours": round(each["heads"]), "all": round(sum(each.values()))}


def requests(home, interpreter, module, request, how="--http-socket", ask=Worker.asks):
    fewer, more = 200, 1200
    counts = []
    for times in (fewer, more):
        with Worker(RELEASE / "vassal", module, callgrind.wrapper(home, interpreter), home, how) as worker:
            ask(worker, request, times)
        counts.append(callgrind.read(home / f"counts.{worker.pid}"))
    each = callgrind.per_repeat(*counts, more - fewer)
    return {"ours": round(each[OURS]), "all": round(sum(each.values()))}


def floor(home, request):
    """A request answered by the floor: from its `epoll_wait` to the next."""
    fewer, more = 200, 1200
    counts = []
    for times in (fewer, more):
        with Floor(callgrind.command(home, [str(RELEASE / "examples/floor")])) as server:
            server.asks(request, times)
        counts.append(callgrind.read(home / f"counts.{server.pid}"))
    each = callgrind.per_repeat(*counts, more - fewer)
    return {"ours": round(each["floor"]), "all": round(sum(each.values()))}


def measure(home, interpreter):
    return {
        FLOOR: floor(home, HELLO),
        "head of HTTP parsed": heads(home, "http"),
        "head of the uwsgi protocol parsed": heads(home, "uwsgi"),
        HELLO_WORLD: requests(home, interpreter, "hello", HELLO),
        "a browser's head": requests(home, interpreter, "hello", BROWSER),
        "a small POST that is read": requests(home, interpreter, "shapes", POST),
        "nginx's `uwsgi_pass`": requests(home, interpreter, "hello", uwsgi(NGINX), "--uwsgi-socket", Worker.asks_anew),
    }


def judge(counts, before):
    """Whether nothing has become slower; prints a table."""
    print("| what | part | instructions | baseline | |\n|---|---|--:|--:|--:|")
    slower = []
    for layer, parts in counts.items():
        for part, count in parts.items():
            was = before.get(layer, {}).get(part)
            if not was:
                print(f"| {layer} | {part} | {count:,} | | |")
                continue
            change = f"{count / was - 1:+.1%}"
            print(f"| {layer} | {part} | {count:,} | {was:,} | {change} |")
            if count > was * TOLERATED:
                slower.append(f"{layer}, {part}: {was:,} -> {count:,} ({change})")
    for line in slower:
        print(f"slower: {line}")
    return not slower


def above_the_floor(counts):
    """How many times what the floor needs a request needs in user space."""
    least, whole = counts[FLOOR]["all"], counts[HELLO_WORLD]["all"]
    return f"{HELLO_WORLD}: {whole - least:,} instructions above the floor's {least:,}, {whole / least:.2f} times those; the kernel's are the same"


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--bless", action="store_true", help="write the counts of this machine as the baseline")
    given = arguments.parse_args()
    interpreter = os.path.realpath(sys.executable)
    known = json.loads(BASELINE.read_text()) if BASELINE.exists() else []
    mine = key(interpreter)
    with tempfile.TemporaryDirectory(prefix="empery-instructions-") as home:
        callgrind.prepare(Path(home))
        counts = measure(Path(home), interpreter)
    before = next((entry["counts"] for entry in known if entry["key"] == mine), None)
    is_fine = judge(counts, before or {})
    print(above_the_floor(counts))
    if given.bless:
        entries = [entry for entry in known if entry["key"] != mine] + [{"key": mine, "counts": counts}]
        BASELINE.write_text(json.dumps(entries, indent=2) + "\n")
        print(f"written: {BASELINE}")
    elif before is None:
        print(f"no baseline for {json.dumps(mine)}: nothing was judged (--bless writes one)")
        print("instructions: 0 passed, 0 failed, 1 skipped")
    else:
        print(f"instructions: {int(is_fine)} passed, {int(not is_fine)} failed, 0 skipped")
        if not is_fine:
            sys.exit("more instructions than before: make it cheaper, or say why in the commit and run `./dev instructions --bless`")


if __name__ == "__main__":
    main()
