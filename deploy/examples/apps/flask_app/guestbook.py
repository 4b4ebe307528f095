"""A Flask application: a guest book that forgets everything when it is reloaded."""

from flask import Flask, abort, redirect, render_template_string, request

app = Flask(__name__)
entries = []

PAGE = """<!doctype html>
<title>Guest book</title>
<h1>Guest book</h1>
<form method="post"><input name="entry" maxlength="200" required autofocus> <button>Sign</button></form>
<ul>{% for entry in entries %}<li>{{ entry }}</li>{% else %}<li>Nobody was here yet.</li>{% endfor %}</ul>
"""


@app.get("/")
def read():
    return render_template_string(PAGE, entries=reversed(entries))


@app.post("/")
def sign():
    entry = request.form.get("entry", "").strip()
    if not entry:
        abort(400, "an entry needs a text")
    entries.append(entry[:200])
    return redirect("/", code=303)
