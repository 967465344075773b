"""Speaks baresip's control protocol (netstrings of JSON) from inside its namespace.

    baresip_control.py ADDRESS COMMAND PARAMS SECONDS

Prints every answer and event of the next SECONDS, one JSON object a line.
"""

import json
import socket
import sys
import time


def main(address, command, params, seconds):
    body = json.dumps({"command": command, "params": params, "token": "t"}).encode()
    buffer = b""
    end = time.monotonic() + float(seconds)
    with socket.create_connection((address, 4444), 3) as connection:
        connection.sendall(b"%d:%s," % (len(body), body))
        while (left := end - time.monotonic()) > 0:
            connection.settimeout(left)
            try:
                piece = connection.recv(65536)
            except TimeoutError:
                break
            if not piece:
                break
            buffer += piece
            while b":" in buffer:
                length, _, rest = buffer.partition(b":")
                if len(rest) <= int(length):
                    break
                print(rest[:int(length)].decode(errors="replace"))
                buffer = rest[int(length) + 1:]


main(*sys.argv[1:])
