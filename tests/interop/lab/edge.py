"""The edge under test: its configuration, its start, its reload and its end."""

import os
import re

from lab.world import (ADDRESS, BALANCER, EDGE, EDGE_EXTERNAL, EDGE_INTERNAL, HANGUP, INTEROP,
                       PUBLIC_DNS, REPOSITORY, SECOND_EXTERNAL, SECOND_INTERNAL, expect, sh,
                       wait_until)

# ENTENTE_BINARY: another build, for instance an operator's package.
BINARY = os.environ.get("ENTENTE_BINARY") or os.path.join(
    os.environ.get("CARGO_TARGET_DIR", os.path.join(REPOSITORY, "target")), "ci", "entente")
# The pool's edges, by number.
EXTERNAL = {1: EDGE_EXTERNAL, 2: SECOND_EXTERNAL}
INTERNAL = {1: EDGE_INTERNAL, 2: SECOND_INTERNAL}
# The namespaces of those that are not in the lab's own.
WHERE = {}


def management_address(number=1):
    return f"127.0.0.{number}:9464"


def configuration(world, number=1, proxied=False, remote_users=False, shards=1, more=""):
    """A complete configuration for one edge of the pool; `more` is appended as it is.

    `proxied`: the federation listener stands behind the balancer. `remote_users`: there is a
    listener for them at 443. `shards`: with two, what comes in by one leaves by another.
    """
    trusted = f'proxy_protocol_from = ["{BALANCER}/32"]' if proxied else ""
    remote = f"""
[[listener]]
address = "{EXTERNAL[number]}:443"
class = "remote_users"
identity = "external"
""" if remote_users else ""
    return f"""
[edge]
node = "edge{number}.contoso.example"
external_fqdn = "sip.contoso.example"
internal_fqdn = "lsedge.contoso.example"
domains = ["contoso.example"]
shards = {shards}
poller = "{world.poller}"
drain_notice_s = 4
drain_timeout_s = 10

[[listener]]
address = "{EXTERNAL[number]}:5061"
class = "federation"
identity = "external"
{trusted}
{remote}
[[listener]]
address = "{INTERNAL[number]}:5061"
class = "internal"
identity = "internal"

[[identity]]
name = "external"
certificate = "{world.pki}/edge-external.pem"
key = "{world.pki}/edge-external.key"
sip_domains = ["contoso.example"]

[[identity]]
name = "internal"
certificate = "{world.pki}/edge-internal.pem"
key = "{world.pki}/edge-internal.key"

[tls]
trust = ["{world.pki}/ca.pem"]

[internal]
names = ["pool.contoso.example"]

[[next_hop]]
name = "pool.contoso.example"
port = 5061
addresses = ["{ADDRESS['pool']}"]

[[partner]]
domain = "fabrikam.example"
kind = "allowed_domain"

[[blocked]]
domain = "litware.example"

[addresses]
allow_networks = ["198.51.100.0/24", "203.0.113.0/24", "127.0.0.0/8"]

[dns]
servers = ["{PUBLIC_DNS}:53"]

[limits]
connections = 2000

[management]
listen = ["{management_address(number)}"]
allow = ["127.0.0.0/8"]

[log]
format = "text"
level = "info"
{more}
"""


def start(world, number=1, key_log=False, text=None, listens=None, **how):
    """Starts an edge, or Kamailio in its place, and waits until it serves.

    `key_log`: TLS secrets go to keys.txt, for a capture; `text` is the whole configuration, `how`
    is for `configuration` otherwise; `listens` is the address and port that show it serves.
    """
    if world.stand_in:
        return _stand_in(world)
    name = f"entente{number}"
    path = world.file(f"{name}.toml", text or configuration(world, number, **how))
    argv = [BINARY, "run", "-c", path, "--explain"]
    if key_log:
        argv += ["--key-log", f"{world.folder}/keys.txt"]
    where = WHERE.get(number, EDGE)
    process = world.spawn(where, name, argv, env={"RUST_BACKTRACE": "1"})
    world.wait_listening(where, *(listens or (INTERNAL[number], 5061)), process)
    address, port = management_address(number).split(":")
    world.wait_listening(where, address, int(port), process)
    return process


def _stand_in(world):
    home = os.path.join(world.folder, "stand-in")
    os.makedirs(home)
    sections = [(f"server:{EDGE_EXTERNAL}:5061", "edge-external"),
                (f"server:{EDGE_INTERNAL}:5061", "edge-internal"),
                ("server:default", "edge-external"), ("client:default", "edge-external")]
    world.file("stand-in/tls.cfg", "".join(
        f"[{name}]\nmethod = TLSv1.2+\nverify_certificate = yes\nrequire_certificate = yes\n"
        f"private_key = {world.pki}/{leaf}.key\ncertificate = {world.pki}/{leaf}.pem\n"
        f"ca_list = {world.pki}/ca.pem\n" for name, leaf in sections))
    world.file("resolv-edge.conf", f"nameserver {PUBLIC_DNS}\n")
    sh("mount", "--bind", f"{world.folder}/resolv-edge.conf", "/run/resolv.conf", check=False)
    world.name_server(EDGE, ["127.0.0.53"], [
        f"server={PUBLIC_DNS}", f"host-record=lsedge.contoso.example,{EDGE_INTERNAL}",
        f"host-record=pool.contoso.example,{ADDRESS['pool']}"])
    process = world.spawn(EDGE, "stand-in", [
        "kamailio", "-DD", "-E", "-m", "64", "-M", "8", "-w", home, "-Y", home,
        "-P", f"{home}/pid", "-A", f"EXTERNAL={EDGE_EXTERNAL}", "-A", f"INTERNAL={EDGE_INTERNAL}",
        "-A", f'FROM_INSIDE="tls:{EDGE_EXTERNAL}:5061"',
        "-A", f'FROM_OUTSIDE="tls:{EDGE_INTERNAL}:5061"',
        "-A", f'TLSCFG="{home}/tls.cfg"', "-A", f'POOL="sip:{ADDRESS["pool"]}:5061;transport=tls"',
        "-f", os.path.join(INTEROP, "kamailio", "stand-in.cfg")])
    world.wait_listening(EDGE, EDGE_INTERNAL, 5061, process)
    return process


def management(world, path, number=1, check=True):
    """Asks the management address; returns status and body."""
    done = world.run(WHERE.get(number, EDGE), [
        "curl", "-s", "-m", "5", "-w", "\n%{http_code}",
        f"http://{management_address(number)}{path}"], check=check)
    body, _, status = done.stdout.rpartition("\n")
    return int(status or 0), body


def reload(world, process, text, number=1):
    """Puts `text` in the edge's configuration and in force."""
    before = metric(world, "entente_control_config_epoch", number=number)
    world.file(f"entente{number}.toml", text)
    process.signal(HANGUP)
    wait_until("the reload",
               lambda: metric(world, "entente_control_config_epoch", number=number) > before, 30)


def metric(world, name, labels=(), number=1):
    """The sum of a series' samples whose labels hold every one of `labels`; 0 if it has none."""
    status, body = management(world, "/metrics", number)
    expect(status == 200, f"/metrics answered {status}")
    samples = [line for line in body.splitlines()
               if line.split("{")[0].split(" ")[0] == name and all(w in line for w in labels)]
    note_series(world, body)
    return sum(float(line.rsplit(" ", 1)[1]) for line in samples)


def note_series(world, body):
    """Notes which samples have moved; those of several shards are one."""
    for line in body.splitlines():
        if line and not line.startswith("#") and "_bucket{" not in line:
            series, value = line.rsplit(" ", 1)
            series = re.sub(r'\{shard="\d+"\}', "", series)
            world.series[series] = world.series.get(series, False) or float(value) > 0


def note_last_series(world):
    """Notes the samples of edges that still run."""
    for number in (1, 2, 3, 4):
        status, body = management(world, "/metrics", number, check=False)
        if status == 200:
            note_series(world, body)
