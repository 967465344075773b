"""The certificates of the world, made by openssl once per run."""

import os

from lab.world import sh

LEAVES = {
    # name: (authority, names). Real edges carry a serverAuth and clientAuth certificate.
    "edge-external": ("ca", ["sip.contoso.example", "contoso.example"]),
    "edge-internal": ("ca", [f"{name}.contoso.example" for name in ("lsedge", "edge1", "edge2")]),
    "pool": ("ca", ["pool.contoso.example"]),
    "fabrikam": ("ca", ["sip.fabrikam.example", "fabrikam.example"]),
    "fabrikam-internal": ("ca", ["lsedge.fabrikam.example", "edge1.fabrikam.example"]),
    "fabrikam-pool": ("ca", ["pool.fabrikam.example"]),
    "litware": ("ca", ["sip.litware.example", "litware.example"]),
    "alice": ("ca", ["alice.contoso.example"]),
    "bob": ("ca", ["bob.fabrikam.example"]),
    "balancer": ("ca", ["balancer.contoso.example"]),
    "monitor": ("ca", ["monitor.contoso.example"]),
    # Partners by the layouts of their SRV records: one edge that speaks for many.
    "layouts": ("ca", [f"{host}.example" for host in (
        "sip.northwind", "access2.tailspin", "sip.emea.woodgrove", "edge.datacentre",
        "access.lucerne", "sip.margie", "sip.lakeshore", "sip.adventure", "sip.cronus",
        "sip.graphic", "sip.it.adatum", "sip.alpine-edge", "sip.bellows", "sip.fineart")]),
    "proseware": ("ca", ["sip.proseware.example"]),
    "wingtip": ("ca", ["edge.wingtip.example"]),
    "hoster": ("ca", ["sipfed.hoster.example"]),
    # Servers of XMPP domains, each with what RFC 6120 section 13.7.1.2 wants: the domain itself.
    "contoso-xmpp": ("ca", ["contoso.example", "sip.contoso.example"]),
    "gateway": ("ca", ["gw.contoso.example", "gw2.contoso.example"]),
    "woodgrove": ("ca", ["woodgrove.example"]),
    "northwind": ("ca", ["northwind.example"]),
    # Proves itself by dialback alone, since nobody trusts who signed this.
    "tailspin": ("ca-forger", ["tailspin.example"]),
    # Trusted, and in another's name.
    "trey": ("ca", ["trey.example"]),
    # The right name from an authority nobody trusts.
    "forged": ("ca-forger", ["sip.fabrikam.example", "fabrikam.example"]),
}


def make(folder):
    """Fills `folder` with NAME.pem, NAME.key and NAME.both.pem for every leaf."""
    os.makedirs(folder, exist_ok=True)
    for authority in {authority for authority, _ in LEAVES.values()}:
        sh("openssl", "req", "-x509", *_key(folder, authority), "-out",
           f"{folder}/{authority}.pem", "-days", "30", "-subj", f"/CN=interop {authority}",
           "-addext", "basicConstraints=critical,CA:TRUE",
           "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    for name, (authority, names) in LEAVES.items():
        _leaf(folder, name, authority, names)


def _key(folder, name):
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", f"{folder}/{name}.key"]


def _leaf(folder, name, authority, names):
    path = f"{folder}/{name}"
    sh("openssl", "req", *_key(folder, name), "-out", f"{path}.csr", "-subj", f"/CN={names[0]}")
    with open(f"{path}.ext", "w", encoding="ascii") as file:
        file.write("subjectAltName=" + ",".join(f"DNS:{n}" for n in names) + "\n"
                   "keyUsage=critical,digitalSignature\nbasicConstraints=CA:FALSE\n"
                   "extendedKeyUsage=serverAuth,clientAuth\n")
    sh("openssl", "x509", "-req", "-in", f"{path}.csr", "-CA", f"{folder}/{authority}.pem",
       "-CAkey", f"{folder}/{authority}.key", "-CAcreateserial", "-days", "20",
       "-extfile", f"{path}.ext", "-out", f"{path}.pem")
    with open(f"{path}.both.pem", "w", encoding="ascii") as both:
        for part in (f"{path}.pem", f"{path}.key"):
            with open(part, encoding="ascii") as file:
                both.write(file.read())
    os.remove(f"{path}.csr")
    os.remove(f"{path}.ext")
