"""An app with every fault that an app can have. Plain WSGI: it runs unchanged under any server, as `hostile.app`.

Faults of the import are chosen by HOSTILE_IMPORT, or by what stands in HOSTILE_IMPORT_FILE (`on_import.py`), faults of a request by its path (`routes.py`)."""

import os

from hostile import on_import, routes


def application(environ, start_response):
    return routes.answer(environ, start_response)


mode = os.environ.get("HOSTILE_IMPORT", "")
if "HOSTILE_IMPORT_FILE" in os.environ:
    # So that an import after a reload can have another fault than the first.
    with open(os.environ["HOSTILE_IMPORT_FILE"]) as file:
        mode = file.read().strip()
# How long it takes may stand behind it.
mode, _, seconds = mode.partition(" ")
if seconds:
    on_import.SECONDS = float(seconds)
if mode:
    on_import.MODES[mode]()
routes.imported_as = mode
if mode == "missing":
    del application
elif mode == "not-callable":
    application = "an app"
