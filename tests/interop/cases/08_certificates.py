"""Kamailio partners with papers of every kind: each outcome by status, diagnostics, log and metric."""

import os

from lab import edge, peers
from lab.world import ADDRESS, expect, sh, wait_until

LISTS = ADDRESS["partner"]
NAMES = "DNS:sip.fabrikam.example,DNS:fabrikam.example"
# Everything the authority has revoked.
REVOKED = 0x66


def run(world):
    papers = Papers(world)
    papers.leaf("good", 0x10)
    papers.leaf("misnamed", 0x11, names="DNS:sip.litware.example")
    papers.leaf("expired", 0x12, until="20260201000000Z")
    papers.leaf("server-only", 0x13, usage="serverAuth")
    papers.leaf("revoked", REVOKED)
    papers.revoke()
    pool = peers.pool(world)
    process = edge.start(world)
    ours = peers.ours(world)
    senders = peers.Users(world, "stranger", "stranger", "fabrikam.example")
    started = []

    def partner(paper):
        """Kamailio as fabrikam's edge with one of the papers."""
        started.append(paper)
        return peers.kamailio(world, f"with-{paper}-{len(started)}", "stranger",
                              "fabrikam.example", "sip.fabrikam.example", papers.path(paper))

    def passes(paper):
        kamailio = partner(paper)
        answering = ours.answer("message_in", "alice")
        senders.call("message_out", "bob", "alice@contoso.example").done()
        answering.done()
        kamailio.process.stop()

    def refused(paper, status, diagnostics):
        kamailio = partner(paper)
        sent = senders.call("message_refused", "bob", "alice@contoso.example", status=status)
        sent.done()
        expect(f"ms-diagnostics-public: {diagnostics};" in sent.messages(), sent.messages()[-800:])
        kamailio.process.stop()

    def no_handshake(paper):
        kamailio = partner(paper)
        sent = senders.call("message_plain_out", "bob", "alice@contoso.example", seconds=12)
        expect(sent.process.wait(20) != 0, "the message was answered with 200")
        kamailio.process.stop()

    def counted(name, *labels, seconds=10.0):
        wait_until(f"{name} {labels} to count",
                   lambda: edge.metric(world, f"entente_{name}", labels) >= 1, seconds)

    with world.check("without a list a partner passes under soft, counted and with a warning"):
        passes("good")
        counted("tls_revocation_unknown_total")
        counted("tls_revocation_fetches_total", 'result="unreachable"')
        process.expect("a revocation list cannot be fetched: no connection")
    configure(world, process, 'revocation = "hard"')
    with world.check("the same under hard gets 504 with 1010"):
        refused("good", 504, 1010)
        process.expect("it is not known whether the certificate of fabrikam.example has been "
                       "revoked, which its entry demands (rule partner[0])")
    world.spawn("partner", "lists", ["python3", "-m", "http.server", "8080", "--bind", LISTS,
                                     "--directory", papers.folder])
    with world.check("once its authority's list can be had, a good certificate passes under hard"):
        counted("tls_revocation_lists", 'state="in_force"', seconds=40.0)
        counted("tls_revocation_fetches_total", 'result="fetched"')
        process.expect("the revocation list of this authority is in force")
        passes("good")
    with world.check("a certificate with another name gets 403 with 1016"):
        refused("misnamed", 403, 1016)
        process.expect("the certificate does not carry sip.fabrikam.example")
        counted("access_refused_by_policy_total")
    with world.check("an expired certificate does not get through the handshake"):
        no_handshake("expired")
        process.expect("the peer's certificate has expired")
        counted("shard_handshakes_failed_total", 'reason="expired"')
    with world.check("a certificate for servers only passes, as public authorities issue them"):
        passes("server-only")
    with world.check("a revoked certificate does not get through the handshake"):
        no_handshake("revoked")
        process.expect("the peer's certificate has been revoked")
        counted("shard_handshakes_failed_total", 'reason="revoked"')
    configure(world, process, "require_client_eku = true")
    with world.check("where clientAuth is demanded, one for servers only gets 504 with 1010"):
        refused("server-only", 504, 1010)
        process.expect("lacks the clientAuth usage its entry demands")
    with world.check("nothing of the refused reached the pool, and the edge still runs"):
        expect("this must not arrive" not in pool.log, "a refused message came through")
        expect(process.running(), "the edge ended")


def configure(world, process, line):
    """Puts `line` into the partner's entry and reloads."""
    kind = 'kind = "allowed_domain"'
    text = edge.configuration(world).replace(kind, f"{kind}\n{line}")
    edge.reload(world, process, text)


class Papers:
    """Certificates of the world's own authority, and its revocation list."""

    def __init__(self, world):
        self.folder = os.path.join(world.folder, "papers")
        os.makedirs(self.folder)
        self.pki = world.pki
        self.file("issued", "")
        self.file("revoked", f"R\t301231235959Z\t260101000000Z\t{REVOKED:02X}\tunknown\t/CN=x\n")
        self.file("number", "01\n")
        self.file("ca.cnf", f"""
certificate = {self.pki}/ca.pem
private_key = {self.pki}/ca.key
default_md = sha256
[papers]
database = {self.folder}/issued
new_certs_dir = {self.folder}
serial = {self.folder}/serial
default_days = 20
policy = any
unique_subject = no
[lists]
database = {self.folder}/revoked
crlnumber = {self.folder}/number
crl_extensions = list
[any]
commonName = supplied
[list]
authorityKeyIdentifier = keyid
""")

    def file(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="ascii") as file:
            file.write(text)

    def path(self, paper):
        """The place of a paper as the lab's Kamailio names certificates."""
        return os.path.relpath(os.path.join(self.folder, paper), self.pki)

    def leaf(self, paper, serial, names=NAMES, usage="serverAuth,clientAuth", until=None,
             place=f"http://{LISTS}:8080/ca.crl"):
        """Signs a certificate; `until` is its end, with a beginning before it."""
        path = os.path.join(self.folder, paper)
        sh("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
           "-keyout", f"{path}.key", "-out", f"{path}.csr", "-subj", f"/CN={paper}")
        self.file(f"{paper}.ext", f"subjectAltName={names}\nkeyUsage=critical,digitalSignature\n"
                                  f"extendedKeyUsage={usage}\nbasicConstraints=CA:FALSE\n"
                                  f"crlDistributionPoints=URI:{place}\n")
        self.file("serial", f"{serial:02X}\n")
        time = ["-startdate", "20260101000000Z", "-enddate", until] if until else []
        sh("openssl", "ca", "-batch", "-notext", "-config", f"{self.folder}/ca.cnf", "-name",
           "papers", *time, "-in", f"{path}.csr", "-out", f"{path}.pem", "-extfile", f"{path}.ext")

    def revoke(self):
        """Publishes the list."""
        made = os.path.join(self.folder, "ca.crl")
        sh("openssl", "ca", "-gencrl", "-config", f"{self.folder}/ca.cnf", "-name", "lists",
           "-crldays", "1", "-out", made)
