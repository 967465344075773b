//! What of XMPP cannot hold together, with its exact message.

use super::*;

/// Both sides of a proxy, and a partner.
const PROXY: &str = "
[[listener]]
address = \"192.0.2.1:5269\"
class = \"xmpp\"
[[listener]]
address = \"10.0.0.1:23456\"
class = \"xmpp_link\"
[xmpp]
gateways = [\"gw.contoso.example\"]
[[xmpp_partner]]
domain = \"partner.example\"
";

fn with(added: &str) -> String {
    format!("{PROXY}{added}")
}

fn accepted(added: &str) -> Config {
    let text = format!("{LEAST}{added}");
    parse(Path::new("e.toml"), &text).unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn a_proxy_needs_both_of_its_sides() {
    let listener = |class: &str, port: u16| {
        format!("[[listener]]\naddress = \"192.0.2.1:{port}\"\nclass = \"{class}\"\n")
    };
    assert_eq!(
        one(&listener("xmpp", 5269)),
        triple(
            "XMPP partners may connect, but no gateway can",
            "stanzas would have nowhere to go",
            "add a listener with class = \"xmpp_link\", on the inside at port 23456"
        )
    );
    let gateways = "[xmpp]\ngateways = [\"gw.contoso.example\"]\n";
    assert_eq!(
        one(&format!("{}{gateways}", listener("xmpp_link", 23456))),
        triple(
            "gateways may connect, but no XMPP partner can",
            "partners would never reach it",
            "add a listener with class = \"xmpp\", on the outside at port 5269"
        )
    );
    assert_eq!(
        one(&format!(
            "{}{}{gateways}",
            listener("xmpp_direct_tls", 5270),
            listener("xmpp_link", 23456)
        )),
        triple(
            "only XMPP partners that begin with TLS may connect",
            "a dialback key is verified at the other port (XEP-0220)",
            "add a listener with class = \"xmpp\", at port 5269"
        )
    );
    assert_eq!(
        one(&PROXY.replace("[\"gw.contoso.example\"]", "[]")),
        triple(
            "a listener for gateways, and no gateway may use it",
            "everybody would be refused",
            "name them: [xmpp], gateways = [\"gw.contoso.example\"]"
        )
    );
}

#[test]
fn a_row_of_the_matrix_without_a_way_is_refused() {
    let without_tls = triple(
        "partner.example: SASL EXTERNAL without TLS",
        "needs a certificate, which only TLS shows",
        "write sasl = \"not_supported\", or tls = \"optional\"",
    );
    for said in [
        "tls = \"not_supported\"\n",
        "tls = \"not_supported\"\nsasl = \"optional\"\n",
        "tls = \"not_supported\"\nsasl = \"required\"\ndialback = false\n",
        "tls = \"not_supported\"\nsasl = \"optional\"\ndialback = false\n",
    ] {
        assert_eq!(one(&with(said)), without_tls, "{said}");
    }
    let nothing_left = triple(
        "partner.example: neither SASL EXTERNAL nor dialback",
        "nothing is left to prove its domain",
        "write dialback = true, or sasl = \"required\" with tls = \"required\"",
    );
    for tls in ["required", "optional", "not_supported"] {
        let said = format!("tls = \"{tls}\"\nsasl = \"not_supported\"\ndialback = false\n");
        assert_eq!(one(&with(&said)), nothing_left, "{tls}");
    }
    accepted(&with("tls = \"not_supported\"\nsasl = \"not_supported\"\n"));
}

#[test]
fn a_domain_is_one_partners_and_not_our_own_or_blocked() {
    let second = "[[xmpp_partner]]\ndomain = \"b.example\"\n\
                  additional_domains = [\"partner.example\"]\n";
    assert_eq!(
        one(&with(second)),
        triple("XMPP partner partner.example is given twice", "given again here", "")
    );
    assert_eq!(
        one(&with("additional_domains = [\"contoso.example\"]\n")),
        triple("contoso.example is an own domain", "cannot be a partner too", "")
    );
    assert_eq!(
        one(&with("[[blocked]]\ndomain = \"partner.example\"\n")),
        triple("partner.example is an XMPP partner and blocked", "never reached: blocked wins", "")
    );
    accepted(&with("[[partner]]\ndomain = \"partner.example\"\n"));
}

#[test]
fn bounds_of_streams_go_together() {
    let said = |key: &str| PROXY.replace("[xmpp]\n", &format!("[xmpp]\n{key}\n"));
    assert_eq!(
        one(&said("stanza_bytes = 9999")),
        triple("`xmpp.stanza_bytes` is out of range", "expected 10000 to 1048576", "")
    );
    assert_eq!(
        one(&said("keep_alive_s = 700")),
        triple(
            "a silent stream would be closed before it is pinged",
            "expected at most inactivity_s",
            ""
        )
    );
    assert_eq!(
        one(&said("connections = 10")),
        triple("more streams to one partner than to all", "expected at most connections", "")
    );
    assert_eq!(
        one(&said("gateway_addresses = [\"10.0.0.30\"]")),
        triple(
            "addresses of a gateway without its name",
            "has no effect",
            "add for example: gateway_sip = \"gw.contoso.example:5061\""
        )
    );
    assert_eq!(
        one(&said("gateway_sip = \"gw.contoso.example\"")),
        triple(
            "`gw.contoso.example` is not a name with port",
            "expected a name with a port, such as xmpp.contoso.example:5269",
            ""
        )
    );
    let named = "[internal]\nnames = [\"pool.contoso.example\"]\n";
    assert_eq!(
        one(&format!("{}{named}", said("gateway_sip = \"gw.contoso.example:5061\""))),
        triple("gw.contoso.example is no internal name", "its own requests would be refused", "")
    );
}

#[test]
fn several_gateways_have_an_address_each_or_none() {
    let said = |key: &str| {
        let two = "gateway_sip = [\"a.contoso.example:5061\", \"b.contoso.example:5062\"]";
        PROXY.replace("[xmpp]\n", &format!("[xmpp]\n{two}\n{key}\n"))
    };
    let both = accepted(&said("gateway_addresses = [\"10.0.0.30\", \"10.0.0.31\"]"));
    let told: Vec<_> = both.gateways_sip().into_iter().map(|g| (g.port, g.addresses)).collect();
    let address = |text: &str| vec![text.parse::<std::net::IpAddr>().unwrap()];
    assert_eq!(told, [(5061, address("10.0.0.30")), (5062, address("10.0.0.31"))]);
    assert!(accepted(&said("")).gateways_sip().iter().all(|g| g.addresses.is_empty()));
    assert_eq!(
        one(&said("gateway_addresses = [\"10.0.0.30\"]")),
        triple("1 addresses of 2 gateways", "expected one of each, in the same order, or none", "")
    );
    let twice = said("").replace("b.contoso.example:5062", "a.contoso.example:5062");
    assert_eq!(
        one(&twice),
        triple("gateway a.contoso.example is given twice", "given again here", "")
    );
}

#[test]
fn a_gateway_needs_edges_and_an_identity_that_is_there() {
    assert_eq!(
        one("[gateway]\nlisten = [\"10.0.0.1:5062\"]\n"),
        triple(
            "a gateway that connects to no edge",
            "has no effect",
            "add [[gateway_edge]] with the name of each edge"
        )
    );
    let edge = "[[gateway_edge]]\nname = \"edge1.contoso.example\"\n";
    assert_eq!(
        one(&format!("[gateway]\nidentity = \"inner\"\n{edge}")),
        triple("there is no identity `inner`", "unknown identity", "identities are: default")
    );
    assert_eq!(
        one(&format!("{edge}{edge}")),
        triple("edge edge1.contoso.example:23456 is given twice", "given again here", "")
    );
    assert_eq!(
        one(&format!("[gateway]\nlisten = [\"192.0.2.1:5061\"]\n{edge}")),
        triple("address 192.0.2.1:5061 is given twice", "given again here", "")
    );
}

#[test]
fn a_gateway_alone_has_no_listeners_and_the_edge_beside_it_finds_it() {
    let edge = "[[gateway_edge]]\nname = \"edge1.contoso.example\"\n";
    let gateway = format!("[gateway]\nlisten = [\"10.0.0.1:5062\"]\n{edge}");
    let from = LEAST.find("[[listener]]").unwrap();
    let to = LEAST.find("[[identity]]").unwrap();
    let alone = format!("{}{}{gateway}", &LEAST[..from], &LEAST[to..]);
    let alone = parse(Path::new("e.toml"), &alone).unwrap_or_else(|report| panic!("{report}"));
    assert!(alone.runs_gateway() && !alone.runs_xmpp_proxy() && !alone.runs_access_edge());
    let beside = accepted(&with(&gateway));
    let own = &beside.gateways_sip()[0];
    assert_eq!((own.name.as_str(), own.port), ("sip.contoso.example", 5062));
    assert_eq!(own.addresses, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert!(beside.internal_names().contains(&own.name));
    assert!(accepted(PROXY).gateways_sip().is_empty());
}
