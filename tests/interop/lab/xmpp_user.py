"""A user of an XMPP server, driven from outside: commands in, what the user sees out.

    xmpp_user.py JID PASSWORD ADDRESS CA

Commands and events are JSON objects, one a line. A command has `do`: `say` (to, text, receipt),
`state` (to, state), `received` (to, id), `presence` (to, type, show, status), `bare` (to, type),
`logout`. An event has `saw`: `message` (sender, type, text, state, request, received, condition),
`presence` (sender, type, show, status, condition), `online`, `offline`.
"""

import asyncio
import json
import sys
import xml.etree.ElementTree as ET

import slixmpp

CHAT_STATES = "{http://jabber.org/protocol/chatstates}"
RECEIPTS = "{urn:xmpp:receipts}"


def tell(saw, **what):
    print(json.dumps({"saw": saw, **{k: v for k, v in what.items() if v}}), flush=True)


class User(slixmpp.ClientXMPP):
    """One connected resource."""

    def __init__(self, jid, password, authority):
        super().__init__(jid, password)
        # The case decides about subscriptions, not the library.
        self.auto_authorize = None
        self.auto_subscribe = False
        self.ca_certs = authority
        self.enable_plaintext = True
        self["feature_mechanisms"].unencrypted_plain = True
        self["feature_mechanisms"].unencrypted_scram = True
        self.add_event_handler("session_start", self.started)
        self.add_event_handler("disconnected", lambda _: tell("offline"))
        # The library's own event is for messages with a body alone.
        for kind, seen in (("message", self.heard), ("presence", self.noticed)):
            self.register_handler(slixmpp.xmlstream.handler.Callback(
                f"every {kind}", slixmpp.xmlstream.matcher.MatchXPath(f"{{jabber:client}}{kind}"),
                seen))
        self.numbers = 0

    async def started(self, _):
        self.send_presence()
        await self.get_roster()
        tell("online", jid=str(self.boundjid))

    @staticmethod
    def condition(stanza):
        error = stanza.xml.find("{jabber:client}error")
        return next((child.tag.split("}")[1] for child in error if not child.tag.endswith("text")),
                    "none") if error is not None else None

    def heard(self, stanza):
        xml = stanza.xml
        states = [child.tag.removeprefix(CHAT_STATES) for child in xml
                  if child.tag.startswith(CHAT_STATES)]
        received = xml.find(f"{RECEIPTS}received")
        html = xml.find("{http://jabber.org/protocol/xhtml-im}html")
        tell("message", sender=str(stanza["from"]), type=xml.get("type"), id=xml.get("id"),
             text=xml.findtext("{jabber:client}body"), state=states[0] if states else None,
             thread=xml.findtext("{jabber:client}thread"),
             html=ET.tostring(html, encoding="unicode") if html is not None else None,
             request="yes" if xml.find(f"{RECEIPTS}request") is not None else None,
             received=received.get("id") if received is not None else None,
             condition=self.condition(stanza))

    def noticed(self, stanza):
        if stanza["from"].bare == self.boundjid.bare:
            return
        xml = stanza.xml
        tell("presence", sender=str(stanza["from"]), type=xml.get("type") or "available",
             show=xml.findtext("{jabber:client}show"),
             status=xml.findtext("{jabber:client}status"), condition=self.condition(stanza))

    def obey(self, command):
        what, to = command["do"], command.get("to")
        if what == "logout":
            self.disconnect()
        elif what == "presence":
            self.send_presence(pto=to, ptype=command.get("type"), pshow=command.get("show"),
                               pstatus=command.get("status"))
        elif what == "bare":
            # Subscription handling is between bare addresses (RFC 6121 section 3.1.1).
            self.send_presence(pto=to, ptype=command["type"], pfrom=self.boundjid.bare)
        else:
            self.numbers += 1
            message = self.make_message(mto=to, mtype=command.get("type", "chat"))
            message["id"] = command.get("id") or f"m{self.numbers}"
            if "text" in command:
                message["body"] = command["text"]
            for name, tag in (("state", CHAT_STATES + str(command.get("state"))),
                              ("receipt", f"{RECEIPTS}request"),
                              ("received", f"{RECEIPTS}received")):
                if name in command:
                    child = ET.SubElement(message.xml, tag)
                    if name == "received":
                        child.set("id", command["received"])
            if "thread" in command:
                message["thread"] = command["thread"]
            message.send()


async def main(jid, password, address, authority):
    user = User(jid, password, authority)
    if slixmpp.__version_info__ >= (1, 9, 0):
        user.connect(address, 5222)
    else:
        user.connect((address, 5222))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        user.obey(json.loads(line))
    await asyncio.sleep(0.2)


asyncio.run(main(*sys.argv[1:]))
