"""A SIP user agent that holds its messages in sessions, as Lync's clients do.

    lync_user.py AOR ADDRESS PORT REGISTRAR

As `sip_user.py`, and: `invite` (to, first) begins a session, `first` being words in the INVITE;
`say` (to, text, type) and `typing` (to, status) are said in the session with that user, `bye` (to)
ends it, `forget` (to) drops it without a word, `sessions` (answer: a status) says how the next
INVITEs are answered. Events besides: `session` (sender, what: invited, accepted, refused with
`status`, confirmed, ended; media), `typing` (sender, status), `stray` (of no session).
"""

import base64
import re
import sys

from sip_user import CRLF, Agent, Dialog, tag_of, tell, uri_of, user_of

TYPES = "text/plain multipart/alternative image/gif text/rtf text/html application/ms-imdn+xml"
SDP = ("v=0\r\no=- 0 0 IN IP4 {address}\r\ns=session\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
       "m=message 5060 sip null\r\na=accept-types:" + TYPES + "\r\n")
AUDIO = ("v=0\r\no=- 0 0 IN IP4 {address}\r\ns=session\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
         "m=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n")
KEYBOARD = ('<?xml version="1.0"?><KeyboardActivity><status status="{status}" />'
            "</KeyboardActivity>")


class LyncAgent(Agent):
    """One endpoint."""

    def __init__(self, *argv):
        super().__init__(*argv)
        self.sessions = {}  # with whom: Dialog
        self.inviting = {}  # call-id: Dialog
        self.answer = 200

    def obey(self, command):
        what, to = command["do"], command.get("to")
        if what == "invite":
            self.invite(to, command.get("first"), command.get("media", "message"))
        elif what == "forget":
            self.sessions.pop(to, None)
        elif what == "sessions":
            self.answer = command["answer"]
        elif what in ("say", "typing", "bye"):
            self.within(what, to, command)
        else:
            super().obey(command)

    def invite(self, to, first, media):
        text = first and base64.b64encode(first.encode()).decode()
        headers = ["Content-Type: application/sdp", "Supported: ms-delayed-accept",
                   "User-Agent: UCCAPI/15.0 OC/15.0"]
        if text:
            headers.append(f"ms-text-format: text/plain; charset=UTF-8; ms-body={text}")
        body = (SDP if media == "message" else AUDIO).format(address=self.address).encode()
        sent = self.send("INVITE", f"sip:{to}", to, headers, body)
        self.inviting[sent.get("call-id")] = Dialog(sent.get("call-id"), sent.get("from"), None,
                                                    None, [])

    def invite_answered(self, message, status, to, sent):
        dialog = self.inviting.pop(message.get("call-id"), None)
        if status < 300 and dialog is not None:
            dialog.remote, dialog.target = message.get("to"), uri_of(message.get("contact"))
            dialog.routes = message.all("record-route")[::-1]
            self.send("ACK", dialog.target, to, dialog=dialog)
            self.sessions[to] = dialog
            tell("session", sender=to, what="accepted", media=media_of(message))
        elif status >= 300:
            # An ACK of the transaction itself (RFC 3261 section 17.1.1.3).
            lines = [f"ACK sip:{to} SIP/2.0", f"Via: {sent.get('via')}", "Max-Forwards: 70",
                     f"From: {sent.get('from')}", f"To: {message.get('to')}",
                     f"Call-ID: {sent.get('call-id')}", "CSeq: 1 ACK", "Content-Length: 0"]
            self.socket.sendto((CRLF.join(lines) + CRLF * 2).encode(), self.registrar)
            tell("session", sender=to, what="refused", status=status)

    def within(self, what, to, command):
        dialog = self.sessions.get(to)
        if dialog is None:
            tell("session", sender=to, what="none")
        elif what == "bye":
            del self.sessions[to]
            self.send("BYE", dialog.target, to, dialog=dialog)
        elif what == "typing":
            body = KEYBOARD.format(status=command["status"]).encode()
            self.send("INFO", dialog.target, to, ["Content-Type: application/xml"], body, dialog)
        else:
            kind = command.get("type", "text/plain; charset=UTF-8")
            self.send("MESSAGE", dialog.target, to, [f"Content-Type: {kind}"],
                      command["text"].encode(), dialog)

    def request(self, message, sender):
        method = message.start.split()[0]
        who = user_of(message.get("from"))
        dialog = self.sessions.get(who)
        ours = dialog is not None and dialog.call_id == message.get("call-id")
        again = re.search(r"branch=([^;,\s]+)", message.get("via") or "")
        if (again and again.group(1), method) in self.answered:
            super().request(message, sender)
        elif method == "INVITE" and not ours:
            self.invited(message, sender, who)
        elif method == "ACK":
            tell("session", sender=who, what="confirmed")
        elif method in ("MESSAGE", "INFO", "BYE") and not ours:
            tell("stray", sender=who, method=method)
            status = (481, "Does Not Exist") if tag_of(message.get("to")) else (405, "No Sessions")
            self.respond(message, *status, sender=sender)
        elif method == "INFO":
            status = re.search(r"status=['\"](\w+)", message.body.decode(errors="replace"))
            tell("typing", sender=who, status=status and status.group(1))
            self.respond(message, 200, "OK", sender=sender)
        elif method == "BYE":
            del self.sessions[who]
            tell("session", sender=who, what="ended")
            self.respond(message, 200, "OK", sender=sender)
        else:
            super().request(message, sender)

    def invited(self, message, sender, who):
        tell("session", sender=who, what="invited", media=media_of(message),
             trust=message.get("ms-edge-proxy-message-trust"))
        if self.answer != 200:
            self.respond(message, self.answer, "No", sender=sender)
            return
        ours = self.respond(message, 200, "OK", ["Content-Type: application/sdp"], sender,
                            body=SDP.format(address=self.address).encode())
        self.sessions[who] = Dialog(message.get("call-id"), ours.get("to"), message.get("from"),
                                    uri_of(message.get("contact")), message.all("record-route"))


def media_of(message):
    """The media lines that are on."""
    found = re.findall(r"^m=(\w+) (\d+)", message.body.decode(errors="replace"), flags=re.M)
    return " ".join(kind for kind, port in found if port != "0")


if __name__ == "__main__":
    LyncAgent(*sys.argv[1:]).run()
