"""A server inside that asks for credentials of the A/V Edge (MRAS) for one of its users.

    mras.py ADDRESS PORT NAME CA CERTIFICATE KEY USER [LOCATION]

Prints one JSON object: the status line, and of a granted request username, password, duration and
relays.
"""

import json
import socket
import ssl
import sys
import xml.etree.ElementTree as ElementTree

NAMESPACE = "{http://schemas.microsoft.com/2006/09/sip/mrasp}"
CONTENT_TYPE = "application/msrtc-media-relay-auth+xml"


def request(name, user, location):
    to = f"sip:{name}@contoso.example;gruu;opaque=srvr:MRAS:Zm9v"
    where = f"<location>{location}</location>" if location else ""
    body = f"""<?xml version="1.0"?>
<request requestID="58025632" from="sip:{user}" version="2.0" to="{to}"
 xmlns="{NAMESPACE[1:-1]}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<credentialsRequest credentialsRequestID="58025632"><identity>sip:{user}</identity>{where}
<duration>480</duration></credentialsRequest></request>"""
    return (f"SERVICE {to} SIP/2.0\r\nVia: SIP/2.0/TLS 10.0.0.20:5061;branch=z9hG4bK77\r\n"
            f"Max-Forwards: 69\r\nFrom: <sip:{user}>;tag=12;epid=0a\r\nTo: <{to}>\r\n"
            f"Call-ID: 77\r\nCSeq: 1 SERVICE\r\nContent-Type: {CONTENT_TYPE}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


def answer(stream):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = stream.recv(4096)
        if not piece:
            raise ConnectionError("closed")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    length = next(int(line.split(":")[1]) for line in lines if line.startswith("Content-Length"))
    while len(body) < length:
        body += stream.recv(4096)
    return lines[0], body


def main(address, port, name, authority, certificate, key, user, location=""):
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_cert_chain(certificate, key)
    try:
        with socket.create_connection((address, int(port)), 10) as plain, \
                context.wrap_socket(plain, server_hostname=name) as stream:
            stream.sendall(request(name, user, location))
            status, body = answer(stream)
    except (OSError, ConnectionError) as error:
        print(json.dumps({"status": f"closed: {error}"}))
        return
    told = {"status": status}
    if body:
        root = ElementTree.fromstring(body)
        told["reason"] = root.get("reasonPhrase")
        for leaf in ("username", "password", "duration"):
            found = root.find(f".//{NAMESPACE}{leaf}")
            told[leaf] = found.text if found is not None else None
        told["relays"] = [{fact.tag.replace(NAMESPACE, ""): fact.text for fact in relay}
                          for relay in root.iter(f"{NAMESPACE}mediaRelay")]
    print(json.dumps(told))


main(*sys.argv[1:])
