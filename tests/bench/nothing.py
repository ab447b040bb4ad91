"""A server that answers the same at once: it shows how much the load generator itself can do."""

import socket
import sys
import threading

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 8\r\n\r\nconstant"


def serve(connection: socket.socket) -> None:
    """Each piece that comes is one request here: the load generator waits for an answer before the next."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while connection.recv(65536):
        connection.sendall(ANSWER)


def main(port: int) -> None:
    with socket.create_server(("127.0.0.1", port), backlog=64) as door:
        while True:
            connection, _ = door.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]))
