"""A SIP user agent of a plain SIMPLE kind over UDP, driven from outside.

    sip_user.py AOR ADDRESS PORT REGISTRAR

Commands and events are JSON objects, one a line. A command has `do`: `say` (to, text, imdn),
`typing` (to, state), `watch` (to, expires, renews: subscribes anew if this refresh is refused),
`unwatch` (to), `policy` (answer: approve, pending or deny), `publish` (basic, show, note),
`delivered` (to, id), `register`, `unregister`, `mute` (answers nothing from now on). An event has
`saw`: `answer` (method, status, to, expires), `message` (sender, text, type, trust, composing, imdn, id),
`subscribe` (sender, expires), `notify` (sender, state, reason, basic, note, body), and what else
came as `request`.
"""

import json
import random
import re
import select
import socket
import sys
import time

CRLF = "\r\n"
PIDF = """<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="pres:{aor}"><tuple id="t1"><status>\
<basic>{basic}</basic>{show}</status>{note}</tuple></presence>"""
COMPOSING = """<?xml version="1.0" encoding="UTF-8"?>
<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>{state}</state>\
<contenttype>text/plain</contenttype><refresh>90</refresh></isComposing>"""

DELIVERED = """<?xml version="1.0" encoding="UTF-8"?>
<imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>{id}</message-id>\
<datetime>2026-11-29T08:00:01Z</datetime><delivery-notification><status><delivered/></status>\
</delivery-notification></imdn>"""


def tell(saw, **what):
    event = {"saw": saw, **{k: v for k, v in what.items() if v is not None}}
    sys.stdout.write(json.dumps(event) + "\n")  # at once, for agents of several threads
    sys.stdout.flush()


def token():
    return f"{random.getrandbits(48):x}"


class Headers:
    """A message as read: start line, headers in order, body."""

    COMPACT = {"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l":
               "content-length", "c": "content-type", "o": "event", "e": "content-encoding"}

    def __init__(self, data):
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = re.sub(r"\r\n[ \t]+", " ", head.decode(errors="replace")).split(CRLF)
        self.start, self.lines = lines[0], []
        for line in lines[1:]:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            self.lines.append((self.COMPACT.get(name, name), value.strip()))

    def all(self, name):
        return [value for key, value in self.lines if key == name]

    def get(self, name):
        return next(iter(self.all(name)), None)


def uri_of(address):
    found = re.search(r"<([^>]*)>", address)
    return found.group(1) if found else address.split(";")[0].strip()


def user_of(address):
    return re.sub(r"^sips?:", "", uri_of(address)).split(";")[0]


def tag_of(address):
    found = re.search(r";\s*tag=([^;\s]+)", address.rsplit(">", 1)[-1])
    return found.group(1) if found else None


class Dialog:
    """One end of a subscription."""

    def __init__(self, call_id, local, remote, target, routes):
        self.call_id, self.local, self.remote = call_id, local, remote
        self.target, self.routes, self.cseq = target, routes, 1
        self.renews = False


class Agent:
    transport = "UDP"

    def __init__(self, aor, address, port, registrar):
        self.aor, self.address, self.port = aor, address, int(port)
        self.registrar = (registrar, 5060)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, self.port))
        self.contact = f"<sip:{aor.split('@')[0]}@{address}:{port}>"
        self.pending = {}   # branch: (bytes, method, to, next, left)
        self.answered = {}  # (branch, method): response
        self.watching = {}  # whom: Dialog of ours
        self.watchers = {}  # call-id: Dialog of theirs
        self.policy, self.basic, self.show, self.note = "approve", "open", None, None
        self.mute = False

    # ---- requests ----

    def send(self, method, uri, to, headers=(), body=b"", dialog=None, tag=None):
        branch = f"z9hG4bK{token()}"
        if dialog is not None:
            # An ACK has the number of its INVITE (RFC 3261 section 13.2.2.4).
            dialog.cseq += method != "ACK"
            identity = [f"From: {dialog.local}", f"To: {dialog.remote}",
                        f"Call-ID: {dialog.call_id}", f"CSeq: {dialog.cseq} {method}",
                        *[f"Route: {route}" for route in dialog.routes]]
        else:
            identity = [f"From: <sip:{self.aor}>;tag={tag or token()}", f"To: <sip:{to}>",
                        f"Call-ID: {token()}@{self.address}", f"CSeq: 1 {method}"]
        lines = [f"{method} {uri} SIP/2.0",
                 f"Via: SIP/2.0/{self.transport} {self.address}:{self.port};branch={branch};rport",
                 "Max-Forwards: 70", *identity, f"Contact: {self.contact}", *headers,
                 f"Content-Length: {len(body)}"]
        data = (CRLF.join(lines) + CRLF * 2).encode() + body
        if method != "ACK":
            tries = 6 if self.transport == "UDP" else 0
            self.pending[branch] = [data, method, to, time.monotonic() + 0.5, tries]
        self.socket.sendto(data, self.registrar)
        return Headers(data)

    def text(self, to, text, headers=(), kind="text/plain; charset=UTF-8"):
        self.send("MESSAGE", f"sip:{to}", to, [f"Content-Type: {kind}", *headers], text.encode())

    def cpim(self, to, number, kind, body, more=""):
        return (f"From: <sip:{self.aor}>\r\nTo: <sip:{to}>\r\nNS: imdn <urn:ietf:params:imdn>\r\n"
                f"imdn.Message-ID: {number}\r\nDateTime: 2026-11-29T08:00:00Z\r\n{more}\r\n"
                f"Content-Type: {kind}\r\n\r\n{body}")

    def pidf(self):
        show = f'<show xmlns="jabber:client">{self.show}</show>' if self.show else ""
        note = f"<note>{self.note}</note>" if self.note else ""
        return PIDF.format(aor=self.aor, basic=self.basic, show=show, note=note).encode()

    def notify(self, dialog, state):
        body = self.pidf() if state.startswith("active") else b""
        headers = ["Event: presence", f"Subscription-State: {state}"]
        if body:
            headers.append("Content-Type: application/pidf+xml")
        self.send("NOTIFY", dialog.target, user_of(dialog.remote), headers, body, dialog)

    def watch(self, to, expires, renews=False):
        dialog = self.watching.get(to)
        headers = ["Event: presence", "Accept: application/pidf+xml", f"Expires: {expires}"]
        if dialog is not None:
            dialog.renews = renews
            self.send("SUBSCRIBE", dialog.target, to, headers, dialog=dialog)
            return
        sent = self.send("SUBSCRIBE", f"sip:{to}", to, headers)
        self.watching[to] = Dialog(sent.get("call-id"), sent.get("from"), None, None, [])

    def obey(self, command):
        what, to = command["do"], command.get("to")
        if what == "say":
            headers = []
            kind = command.get("type", "text/plain; charset=UTF-8")
            text = command["text"]
            if "imdn" in command:
                kind = "message/cpim"
                text = self.cpim(to, command["imdn"], "text/plain; charset=UTF-8", text,
                                 "imdn.Disposition-Notification: positive-delivery\r\n")
            self.text(to, text, headers, kind)
        elif what == "delivered":
            self.text(to, self.cpim(to, token(), "message/imdn+xml",
                                    DELIVERED.format(id=command["id"])), kind="message/cpim")
        elif what == "typing":
            self.text(to, COMPOSING.format(state=command["state"]),
                      kind="application/im-iscomposing+xml")
        elif what == "watch":
            self.watch(to, command.get("expires", 3600), command.get("renews", False))
        elif what == "unwatch":
            self.watch(to, 0)
        elif what == "policy":
            self.policy = command["answer"]
            for dialog in list(self.watchers.values()):
                self.decide(dialog)
        elif what == "publish":
            self.basic = command.get("basic", "open")
            self.show, self.note = command.get("show"), command.get("note")
            for dialog in self.watchers.values():
                self.notify(dialog, "active;expires=3600")
        elif what in ("register", "unregister"):
            self.register(3600 if what == "register" else 0)
        elif what == "mute":
            self.mute = True

    def decide(self, dialog):
        if self.policy == "approve":
            self.notify(dialog, "active;expires=3600")
        elif self.policy == "pending":
            self.notify(dialog, "pending;expires=3600")
        else:
            self.notify(dialog, "terminated;reason=rejected")
            self.watchers.pop(dialog.call_id, None)

    def register(self, expires=3600):
        domain = self.aor.split("@")[1]
        self.send("REGISTER", f"sip:{domain}", self.aor, [f"Expires: {expires}"])

    # ---- what comes ----

    def respond(self, message, status, reason, headers=(), sender=None, tag=None, body=b""):
        lines = [f"SIP/2.0 {status} {reason}", *[f"Via: {v}" for v in message.all("via")],
                 *[f"Record-Route: {v}" for v in message.all("record-route")],
                 f"From: {message.get('from')}"]
        to = message.get("to")
        if tag_of(to) is None:
            to += f";tag={tag or token()}"
        lines += [f"To: {to}", f"Call-ID: {message.get('call-id')}",
                  f"CSeq: {message.get('cseq')}", f"Contact: {self.contact}", *headers,
                  f"Content-Length: {len(body)}"]
        data = (CRLF.join(lines) + CRLF * 2).encode() + body
        branch = re.search(r"branch=([^;,\s]+)", message.get("via") or "")
        self.answered[(branch and branch.group(1), message.start.split()[0])] = data
        self.socket.sendto(data, sender)
        return Headers(data)

    def request(self, message, sender):
        method = message.start.split()[0]
        branch = re.search(r"branch=([^;,\s]+)", message.get("via") or "")
        again = self.answered.get((branch and branch.group(1), method))
        if again is not None:
            self.socket.sendto(again, sender)
            return
        who = user_of(message.get("from"))
        body = message.body.decode(errors="replace")
        kind = (message.get("content-type") or "").split(";")[0]
        if method == "MESSAGE":
            composing = re.search(r"<(?:\w+:)?state>(\w+)<", body)
            imdn = re.search(r"imdn\.Message-ID:\s*(\S+)", body, re.I)
            done = re.search(r"<message-id>([^<]+)<", body)
            text = body.split("\r\n\r\n")[-1] if kind == "message/cpim" else body
            tell("message", sender=who, text=text, type=kind,
                 trust=message.get("ms-edge-proxy-message-trust"),
                 composing=composing.group(1) if "iscomposing" in kind and composing else None,
                 imdn=imdn.group(1) if imdn else None, delivered=done.group(1) if done else None)
            self.respond(message, 200, "OK", sender=sender)
        elif method == "SUBSCRIBE":
            self.subscribed(message, sender, who)
        elif method == "NOTIFY":
            state = message.get("subscription-state") or ""
            basic, note = (re.search(rf"<(?:\w+:)?{t}[^>]*>([^<]*)<", body)
                           for t in ("basic", "note"))
            show = re.search(r"<show[^>]*>([^<]*)<", body)
            reason = re.search(r"reason=(\w+)", state)
            tell("notify", sender=who, state=state.split(";")[0],
                 reason=reason.group(1) if reason else None, basic=basic and basic.group(1),
                 note=note and note.group(1), show=show and show.group(1))
            self.respond(message, 200, "OK", sender=sender)
            if state.startswith("terminated"):
                self.watching.pop(who, None)
        elif method != "ACK":
            tell("request", method=method, sender=who)
            self.respond(message, 200 if method in ("OPTIONS", "BYE") else 488, "Said",
                         sender=sender)

    def subscribed(self, message, sender, who):
        expires = int(message.get("expires") or 3600)
        tell("subscribe", sender=who, expires=expires)
        known = self.watchers.get(message.get("call-id"))
        ours = self.respond(message, 200, "OK", [f"Expires: {expires}"], sender,
                            tag_of(known.local) if known else None)
        dialog = known or Dialog(message.get("call-id"), ours.get("to"), message.get("from"),
                                 uri_of(message.get("contact")), message.all("record-route"))
        if expires == 0:
            self.watchers.pop(dialog.call_id, None)
            self.notify(dialog, "terminated;reason=timeout")
            return
        self.watchers[dialog.call_id] = dialog
        self.decide(dialog)

    def response(self, message):
        branch = re.search(r"branch=([^;,\s]+)", message.get("via"))
        status = int(message.start.split()[1])
        entry = self.pending.get(branch and branch.group(1))
        if entry is None:
            return
        if status < 200:
            entry[4] = 0
            return
        del self.pending[branch.group(1)]
        data, method, to, _, _ = entry
        if method == "INVITE":
            self.invite_answered(message, status, to, Headers(data))
        dialog = self.watching.get(to)
        if method == "SUBSCRIBE" and dialog is not None:
            if status < 300 and dialog.remote is None:
                dialog.remote = message.get("to")
                dialog.target = uri_of(message.get("contact") or f"sip:{to}")
                dialog.routes = message.all("record-route")[::-1]
            elif status >= 300:
                self.watching.pop(to, None)
        tell("answer", method=method, status=status, to=to, expires=message.get("expires"))
        if method == "SUBSCRIBE" and dialog is not None and status >= 300 and dialog.renews:
            # Its notifier knows it no longer, or is gone (RFC 6665 section 4.1.2.2).
            self.watch(to, 3600)

    def invite_answered(self, message, status, to, sent):
        """This kind of agent begins no sessions."""

    def arrivals(self):
        """What has come, each with its sender."""
        return [self.socket.recvfrom(65536)]

    def run(self):
        self.register()
        waiting = b""
        while True:
            ready, _, _ = select.select([self.socket, sys.stdin], [], [], 0.1)
            now = time.monotonic()
            for branch, entry in list(self.pending.items()):
                if entry[3] < now and entry[4] > 0:
                    self.socket.sendto(entry[0], self.registrar)
                    entry[3], entry[4] = now + 1, entry[4] - 1
            for data, sender in self.arrivals() if self.socket in ready else ():
                if data.strip():
                    message = Headers(data)
                    if message.start.startswith("SIP/2.0"):
                        self.response(message)
                    elif not self.mute:
                        self.request(message, sender)
            if sys.stdin in ready:
                piece = sys.stdin.buffer.raw.read(65536)
                if not piece:
                    return
                waiting += piece
                while b"\n" in waiting:
                    line, _, waiting = waiting.partition(b"\n")
                    self.obey(json.loads(line))


if __name__ == "__main__":
    Agent(*sys.argv[1:]).run()
