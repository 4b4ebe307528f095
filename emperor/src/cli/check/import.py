# What `emperor check --interpreter` asks a Python: who it is, and whether it finds the app. The question comes as JSON on
# stdin; the answer goes to what stdout was, since importing an app may print.
import importlib
import importlib.util
import json
import os
import sys
import traceback

answer_to = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
asked = json.load(sys.stdin)
answer = {"version": "%d.%d.%d" % sys.version_info[:3], "executable": sys.executable, "module": None, "callable": None}
sys.path[:0] = asked["path"]
try:
    if asked["file"] is not None:
        spec = importlib.util.spec_from_file_location("checked_app", asked["file"])
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    elif asked["module"] is not None:
        module = importlib.import_module(asked["module"])
    else:
        module = None
    if module is not None:
        answer["module"] = getattr(module, "__file__", None) or module.__name__
        found = module
        for part in asked["callable"].split("(")[0].split("."):
            found = getattr(found, part)
        answer["callable"] = callable(found)
except BaseException:
    answer["traceback"] = traceback.format_exc()
json.dump(answer, answer_to)
answer_to.flush()
os._exit(0)
