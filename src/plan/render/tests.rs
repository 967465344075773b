//! What is printed, letter by letter where people or programs read it.

use super::*;
use crate::dns::Domain;
use crate::edge::{Class, Side};
use crate::plan::{
    Addresses, Av, Deployment, Identity, Inner, Node, Planned, Section, Shows, Topology, Vips,
    Xmpp, plan,
};

fn domain(name: &str) -> Domain {
    Domain::parse(name.as_bytes()).expect("a name")
}

/// One edge with addresses of both families, SIP alone.
fn deployment() -> Deployment {
    let external = vec!["192.0.2.10".parse().unwrap(), "2001:db8::10".parse().unwrap()];
    Deployment {
        topology: Topology::Single,
        roles: Vec::new(),
        versions: Vec::new(),
        external_fqdn: domain("sip.contoso.example"),
        internal_fqdn: domain("lsedge.contoso.example"),
        domains: vec![domain("contoso.example")],
        conferencing_fqdn: "webcon.contoso.example".to_owned(),
        av_fqdn: "av.contoso.example".to_owned(),
        av: Av::default(),
        xmpp_fqdn: "sip.contoso.example".to_owned(),
        xmpp_domains: vec![domain("contoso.example")],
        xmpp: Xmpp::default(),
        web_fqdn: "webext.contoso.example".to_owned(),
        web_names: Vec::new(),
        web_addresses: Vec::new(),
        nodes: vec![Node {
            name: domain("edge1.contoso.example"),
            access: Addresses { bound: external.clone(), public: external },
            conferencing: Addresses::default(),
            av: Addresses::default(),
            relayed: Addresses::default(),
            relayed_ports: Vec::new(),
            internal: vec!["10.0.0.10".parse().unwrap()],
        }],
        vips: Vips::default(),
        federation_port: Some(5061),
        partner_ports: vec![5061],
        remote_user_port: None,
        internal_port: Some(5061),
        identities: vec![Identity {
            name: "access".to_owned(),
            classes: vec![Class::Federation, Class::Internal],
            gateway: Shows::ToNobody,
            media: Vec::new(),
        }],
        next_hops: vec![Inner {
            name: domain("pool.contoso.example"),
            port: 5061,
            addresses: Vec::new(),
        }],
        name_servers: vec!["10.0.0.53:53".parse().unwrap()],
        management: vec!["10.0.0.10:9464".parse().unwrap()],
        management_allow: vec!["10.0.9.0/24".parse().unwrap()],
        fetches_lists: true,
        client_eku: false,
        idle_timeout_s: 600,
    }
}

#[test]
fn a_table_has_the_reason_under_each_row() {
    let plan = plan(&deployment()).only(Section::Firewall).side(Side::Internal);
    let expected = "\
Firewall, internal
==================
way  protocol                  port  from                             to
out  DNS                  TCP  53    internal edge 10.0.0.10          name servers 10.0.0.53
    answers that do not fit a datagram
out  DNS                  UDP  53    internal edge 10.0.0.10          name servers 10.0.0.53
    SRV, A and AAAA of partners
in   SIP over mutual TLS  TCP  5061  next hops                        internal edge 10.0.0.10
    requests of the organisation's users for partners
out  SIP over mutual TLS  TCP  5061  internal edge 10.0.0.10          next hops
    requests of partners and remote users for the organisation
in   HTTP                 TCP  9464  management networks 10.0.9.0/24  management address 10.0.0.10
    metrics for Prometheus, /readyz for balancers
";
    assert_eq!(table(&plan), expected);
}

#[test]
fn markdown_has_the_reason_as_the_last_column() {
    let plan = plan(&deployment()).only(Section::Dns).side(Side::Internal);
    let expected = "\
## DNS, internal view

| name | type | value | why |
| --- | --- | --- | --- |
| lsedge.contoso.example | A | 10.0.0.10 | servers inside send what is for partners here |
";
    assert_eq!(markdown(&plan), expected);
}

#[test]
fn a_zone_fragment_has_both_families_and_names_relative_to_its_zone() {
    let plan = plan(&deployment()).side(Side::External);
    let expected = "\
; Records for the zones of the organisation. Serials are yours to raise.

; external view, zone contoso.example
$ORIGIN contoso.example.
; partners that list no name of this edge find it; the target stands directly below the domain, as \
strict partners demand
_sipfederationtls._tcp         3600 IN SRV   0 0 5061 sip.contoso.example.
; the Access Edge, under the name that its certificate carries
sip                            3600 IN A     192.0.2.10
sip                            3600 IN AAAA  2001:db8::10
";
    assert_eq!(zone(&plan, &["contoso.example"]), expected);
}

#[test]
fn a_record_without_a_known_address_is_a_comment() {
    let mut deployment = deployment();
    deployment.nodes[0].access = Addresses::default();
    let text = zone(&plan(&deployment), &["contoso.example"]);
    let line = "; sip                          3600 IN A  (the address is not known)";
    assert!(text.lines().any(|found| found == line), "{text}");
}

#[test]
fn a_zone_is_the_longest_own_domain_around_a_name() {
    let mut deployment = deployment();
    deployment.domains = vec![domain("contoso.example"), domain("eu.contoso.example")];
    let text = zone(&plan(&deployment), &["contoso.example", "eu.contoso.example"]);
    assert!(text.contains("\n; external view, zone eu.contoso.example\n"), "{text}");
    assert!(
        text.contains("\n_sipfederationtls._tcp         3600 IN SRV   0 0 5061 sip.eu.contoso")
    );
}

#[test]
fn a_rule_is_written_for_each_family_its_ends_have() {
    let text = nftables(&plan(&deployment()).side(Side::External));
    for line in [
        "        ip daddr @edge_access_4 tcp dport 5061 accept comment \"Access Edge 5061 in\"",
        "        ip6 daddr @edge_access_6 tcp dport 5061 accept comment \"Access Edge 5061 in\"",
        "        elements = { 2001:db8::10 }",
        "        ip6 saddr @edge_access_6 counter drop",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let inside = nftables(&plan(&deployment()).side(Side::Internal));
    assert!(!inside.contains("entente_external") && !inside.contains("ip6"), "{inside}");
}

#[test]
fn an_edge_without_known_address_has_an_empty_set_so_that_nothing_is_opened() {
    let mut deployment = deployment();
    deployment.nodes[0].access = Addresses::default();
    let text = nftables(&plan(&deployment).side(Side::External));
    assert!(text.contains("        # The addresses are not known: fill them in.\n"), "{text}");
    assert!(text.contains("        ip daddr @edge_access_4 tcp dport 5061 accept"), "{text}");
}

#[test]
fn a_translated_address_is_translated_both_ways() {
    let mut deployment = deployment();
    deployment.nodes[0].access = Addresses {
        bound: vec!["192.168.1.10".parse().unwrap()],
        public: vec!["192.0.2.10".parse().unwrap()],
    };
    let text = nftables(&plan(&deployment));
    assert!(text.contains("        ip daddr 192.0.2.10 dnat to 192.168.1.10\n"), "{text}");
    assert!(text.contains("        ip saddr 192.168.1.10 snat to 192.0.2.10\n"), "{text}");
    assert!(text.contains("        elements = { 192.168.1.10 }\n"), "{text}");
}

#[test]
fn one_request_stands_in_the_section_that_openssl_reads_by_itself() {
    let expected = "\
# Certificate requests; RSA, because partners with OCS or Lync may know nothing else.
# The key is made where the edge runs and leaves it only for other edges of the pool.

# access: partners, servers inside; issuer: public
# openssl req -new -config THIS_FILE -newkey rsa:2048 -noenc \\
#   -keyout access.key -out access.csr
# * one certificate for both sides: strangers read its internal names too
[ req ]
prompt = no
default_md = sha256
string_mask = utf8only
distinguished_name = access_subject
req_extensions = access_extensions

[ access_subject ]
CN = sip.contoso.example

[ access_extensions ]
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth
subjectAltName = @access_names

[ access_names ]
# checks look at this list alone, never at the subject
DNS.1 = sip.contoso.example
# servers inside connect to this name
DNS.2 = lsedge.contoso.example
";
    assert_eq!(csr(&plan(&deployment())), expected);
}

#[test]
fn several_requests_stand_in_sections_of_their_own() {
    let mut deployment = deployment();
    deployment.roles = vec![Planned::Web];
    let text = csr(&plan(&deployment));
    assert!(text.contains("\n[ access ]\n") && text.contains("\n[ reverse-proxy ]\n"), "{text}");
    assert!(text.contains("# openssl req -new -config THIS_FILE -section reverse-proxy -newkey"));
}

#[test]
fn a_subject_longer_than_a_common_name_may_be_is_left_to_the_names() {
    let mut deployment = deployment();
    let long = format!("{}.{}.contoso.example", "a".repeat(40), "b".repeat(40));
    deployment.external_fqdn = domain(&long);
    let text = csr(&plan(&deployment));
    assert!(text.contains("\nCN = sip.contoso.example\n"), "{text}");
    assert!(text.contains(&format!("\nDNS.1 = {long}\n")), "{text}");
}
