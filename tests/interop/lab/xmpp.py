"""XMPP servers of partners: Prosody with SASL EXTERNAL, with dialback, with dialback in the clear
as Google Talk was, and ejabberd."""

import os
import shutil

from lab import edge
from lab.world import ADDRESS, EDGE, EDGE_EXTERNAL, EDGE_INTERNAL

HOSTS = {
    "woodgrove": ("ext0", "198.51.100.70"),
    "tailspin": ("ext0", "198.51.100.71"),
    "lucerne": ("ext0", "198.51.100.72"),
    "northwind": ("ext0", "198.51.100.73"),
}


def records(ours=EDGE_EXTERNAL):
    """What the public DNS knows of them and of us."""
    rows = ["srv-host=_xmpp-server._tcp.contoso.example,xmpp.contoso.example,5269,0,0",
            f"host-record=xmpp.contoso.example,{ours}"]
    for host, (_, address) in HOSTS.items():
        rows += [f"host-record=xmpp.{host}.example,{address}",
                 f"srv-host=_xmpp-server._tcp.{host}.example,xmpp.{host}.example,5269,0,0"]
    return rows


RECORDS = records()

# How each partner proves itself, as its entry says.
PARTNERS = {
    "woodgrove": 'tls = "required"\nsasl = "required"\ndialback = false',
    "northwind": 'tls = "required"\nsasl = "required"\ndialback = false',
    "tailspin": 'tls = "required"\nsasl = "not_supported"\ndialback = true',
    "lucerne": 'tls = "not_supported"\nsasl = "not_supported"\ndialback = true',
}


def configuration(world, partners=PARTNERS, kind="federated", dialect="simple", limits="",
                  gateway=""):
    """The edge with XMPP proxy and gateway in one process; `limits` goes into [xmpp], `gateway`
    into [gateway]."""
    entries = "".join(f'[[xmpp_partner]]\ndomain = "{name}.example"\nkind = "{kind}"\n'
                      f"{partners[name]}\n\n" for name in partners)
    text = edge.configuration(world, more=f"""
[[listener]]
address = "{EDGE_EXTERNAL}:5269"
class = "xmpp"
identity = "external"

[[listener]]
address = "{EDGE_INTERNAL}:23456"
class = "xmpp_link"
identity = "internal"

[xmpp]
gateways = ["lsedge.contoso.example"]
{limits}

{entries}
[gateway]
listen = ["{EDGE_INTERNAL}:5062"]
identity = "internal"
store = "{world.folder}/gateway.redb"
{gateway}

[[gateway_edge]]
name = "lsedge.contoso.example"
addresses = ["{EDGE_INTERNAL}"]
""")
    text = text.replace(f"addresses = [\"{ADDRESS['pool']}\"]",
                        f"addresses = [\"{ADDRESS['pool']}\"]\ndialect = \"{dialect}\"")
    return text.replace('names = ["pool.contoso.example"]',
                        'names = ["pool.contoso.example", "lsedge.contoso.example"]')

# Prosody's globals cannot be read again, so every choice is made here and not in the file.
PROSODY = """
run_as_root = true
certificates = "{pki}"
data_path = "{home}"
pidfile = "{home}/pid"
log = {{ {{ levels = {{ min = "debug" }}, to = "file", filename = "{log}" }} }}
interfaces = {{ "{address}" }}
local_interfaces = {{ "{address}" }}
modules_enabled = {{ "roster", "offline", "saslauth", "tls", "disco", "ping", "posix"{dialback} }}
modules_disabled = {{ {disabled} }}
authentication = "internal_plain"
storage = "internal"
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
s2s_require_encryption = {encrypted}
s2s_secure_auth = {secure}
s2s_timeout = 8
s2s_close_timeout = 2
smacks_s2s_resend = true
limits = {{}}
dialback_secret = "{domain} secret"
unbound = {{ resolvconf = true, hoststxt = false }}
ssl = {{ cafile = "{pki}/ca.pem", certificate = "{pki}/{papers}.pem", key = "{pki}/{papers}.key" }}
s2s_ssl = ssl
VirtualHost "{domain}"
"""

EJABBERD = """
loglevel: debug
hosts: ["{domain}"]
certfiles: ["{pki}/{papers}.both.pem"]
ca_file: "{pki}/ca.pem"
s2s_cafile: "{pki}/ca.pem"
s2s_use_starttls: required
s2s_timeout: 8
s2s_dns_timeout: 3
s2s_dns_retries: 1
# It bounces a domain for so long after one failure, 300 s by default.
s2s_max_retry_delay: 1
default_ram_db: mnesia
auth_password_format: plain
disable_sasl_mechanisms: ["digest-md5", "X-OAUTH2"]
listen:
  - {{port: 5222, ip: "{address}", module: ejabberd_c2s, starttls: true}}
  - {{port: 5269, ip: "{address}", module: ejabberd_s2s_in, max_stanza_size: 524288}}
modules:
  mod_roster: {{}}
  mod_disco: {{}}
  mod_ping: {{}}
"""


class Server:
    """A running XMPP server."""

    def __init__(self, world, where, domain, authority, restart):
        self.world, self.where, self.domain = world, where, domain
        self.address, self.authority, self.restart_with = ADDRESS[where], authority, restart
        self.process = None

    def start(self):
        self.process = self.restart_with()
        # Clients are served last, and nobody else's port is meant by a wait for ours.
        self.world.wait_listening(self.where, self.address, 5269, self.process, 20)
        self.world.wait_listening(self.where, self.address, 5222, self.process, 20)
        return self

    def log(self):
        path = os.path.join(self.world.folder, f"{self.domain}.log")
        if not os.path.exists(path):
            return self.process.text()
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()


def prosody(world, where, way, users, domain=None, papers=None):
    """Starts Prosody on `where`. `way`: `external`, `dialback` (over TLS) or `clear`."""
    domain = domain or f"{where}.example"
    papers = papers or where
    home = os.path.join(world.folder, f"prosody-{domain}")
    accounts = os.path.join(home, domain.replace(".", "%2e"), "accounts")
    os.makedirs(accounts)
    for user in users:
        with open(f"{accounts}/{user}.dat", "w", encoding="ascii") as file:
            file.write(f'return {{ ["password"] = "{user}" }};\n')
    certificate = "woodgrove" if way == "clear" else papers
    text = PROSODY.format(
        pki=world.pki, home=home, log=f"{world.folder}/{domain}.log", address=ADDRESS[where],
        # One server acknowledges what it has taken (XEP-0198), the others do not.
        dialback=', "smacks"' if way == "external" else ', "dialback"',
        disabled={"external": '"dialback"', "dialback": '"s2s_auth_certs"',
                  "clear": '"s2s_auth_certs", "tls"'}[way],
        encrypted="true" if way == "external" else "false",
        secure="true" if way == "external" else "false", domain=domain, papers=certificate)
    if way == "clear":
        text = text.replace('"tls", ', "")
    path = world.file(f"prosody-{domain}.lua", text)
    authority = "ca-forger" if papers == "tailspin" else "ca"
    return Server(world, where, domain, authority, lambda: world.spawn(
        where, f"prosody-{domain}", ["prosody", "-F", "--config", path])).start()


def ejabberd(world, where, users, domain=None, papers=None):
    """Starts ejabberd, which proves itself and others by SASL EXTERNAL."""
    domain = domain or f"{where}.example"
    home = os.path.join(world.folder, f"ejabberd-{domain}")
    path = world.file(f"ejabberd-{domain}.yml", EJABBERD.format(
        pki=world.pki, address=ADDRESS[where], domain=domain, papers=papers or where))
    inetrc = world.file(f"ejabberd-{domain}.inetrc",
                        '{resolv_conf, "/etc/resolv.conf"}.\n{lookup, [file, dns]}.\n'
                        "{cache_size, 0}.\n")

    def start():
        # Its contacts are those of this start: its database is not what is tested.
        shutil.rmtree(home, ignore_errors=True)
        os.makedirs(f"{home}/mnesia")
        register = "".join(
            f', ejabberd_auth:try_register(<<"{u}">>, <<"{domain}">>, <<"{u}">>)' for u in users)
        # Plain erl: no epmd that would outlive us, no distribution, no other user.
        return world.spawn(where, f"ejabberd-{domain}", [
            "erl", "-noinput", "+K", "true", "+sbwt", "none", "-mnesia", "dir",
            f'"{home}/mnesia"', "-eval",
            f'application:ensure_all_started(ejabberd){register}, io:format("READY~n").'],
            ready="READY", seconds=40, env={
                "EJABBERD_CONFIG_PATH": path, "ERL_INETRC": inetrc, "HOME": home,
                "EJABBERD_LOG_PATH": f"{world.folder}/{domain}.log", "ERL_CRASH_DUMP": "/dev/null",
                "ERL_LIBS": "/usr/lib/x86_64-linux-gnu"})
    return Server(world, where, domain, "ca", start).start()


def stand_in(world, users):
    """Prosody for our own domain in the edge's place."""
    ADDRESS[EDGE] = EDGE_EXTERNAL
    return prosody(world, EDGE, "external", users, "contoso.example", "contoso-xmpp")
