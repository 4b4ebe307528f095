"""A Flask app whose views wait: for the clock, for a body, for whoever takes an answer."""

import time

from flask import Flask, Response, request

application = Flask(__name__)
PIECE = b"x" * 65536


@application.route("/")
def plain():
    return "awake"


@application.route("/nap/<int:milliseconds>")
def nap(milliseconds):
    time.sleep(milliseconds / 1000)
    return "rested"


@application.route("/read", methods=["POST"])
def read():
    return str(len(request.stream.read()))


@application.route("/stream/<int:pieces>")
def stream(pieces):
    return Response(PIECE for _ in range(pieces))
