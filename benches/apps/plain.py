"""The floor of the scenario `monitor`: the view that computes, in the least Python that can answer. `plain.py PORT`"""

import selectors
import socket
import sys

from shapes import spun

with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024) as listener, selectors.EpollSelector() as waiting:
    waiting.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                waiting.register(connection, selectors.EVENT_READ)
                continue
            connection = key.fileobj
            try:
                if head := connection.recv(65536):
                    body = spun() if head.startswith(b"GET /spin ") else b"Hello World\n"
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                    continue
            except OSError:
                pass  # it has left in the middle
            waiting.unregister(connection)
            connection.close()
