-- contoso.example is a component, so that a stanza costs one stream of a server and one of ours.
run_as_root = true
certificates = "@DIR@"
data_path = "@HOME@"
pidfile = "@HOME@/pid"
log = { { levels = { min = "warn" }, to = "console" } }
interfaces = { "127.0.0.1" }
s2s_ports = { @EDGE@ }
component_ports = { @INNER@ }
component_interfaces = { "127.0.0.1" }
c2s_ports = {}
modules_enabled = { "tls", "saslauth", "s2s_auth_certs" }
modules_disabled = { "offline", "c2s", "dialback" }
s2s_require_encryption = true
s2s_secure_auth = true
limits = {}
-- Collects as little garbage while measuring as its authors advise for servers that are busy.
gc = { mode = "generational" }
unbound = { resolvconf = false, hoststxt = false, forward = { "127.0.0.1@@DNS@" },
            options = { ["do-not-query-localhost:"] = "no" } }
ssl = { cafile = "@DIR@/ca.pem", certificate = "@DIR@/edge.pem", key = "@DIR@/edge.key" }
s2s_ssl = ssl
-- It does not start without one.
VirtualHost "server.contoso.example"
Component "contoso.example"
  component_secret = "secret"
