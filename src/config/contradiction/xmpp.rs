//! What of XMPP cannot hold together.

use std::collections::BTreeMap;

use super::{Finder, paths};
use crate::config::XmppPartner;
use crate::edge::Class;
use crate::policy::{Methods, Negotiation, Pattern};

/// Notes every contradiction of the proxy, its partners and the gateway.
pub(super) fn find(finder: &mut Finder<'_>) {
    listeners(finder);
    gateways_of_the_proxy(finder);
    domains(finder);
    for (index, partner) in finder.config.xmpp_partners.iter().enumerate() {
        proofs(finder, index, partner);
    }
    gateway(finder);
    edges(finder);
}

/// The proxy has two sides, and one without the other leads nowhere.
fn listeners(finder: &mut Finder<'_>) {
    let config = finder.config;
    let first = |classes: &[Class]| {
        let index = config.listeners.iter().position(|l| classes.contains(&l.class))?;
        Some(format!("listener[{index}].class"))
    };
    let outside = first(&[Class::Xmpp, Class::XmppDirectTls]);
    match (outside, first(&[Class::XmppLink])) {
        (Some(key), None) => {
            let message = "XMPP partners may connect, but no gateway can";
            finder.at(&key, message, "stanzas would have nowhere to go");
            finder.help("add a listener with class = \"xmpp_link\", on the inside at port 23456");
        }
        (None, Some(key)) => {
            let message = "gateways may connect, but no XMPP partner can";
            finder.at(&key, message, "partners would never reach it");
            finder.help("add a listener with class = \"xmpp\", on the outside at port 5269");
        }
        _ => {}
    }
    if let (Some(key), None) = (first(&[Class::XmppDirectTls]), first(&[Class::Xmpp])) {
        let message = "only XMPP partners that begin with TLS may connect";
        finder.at(&key, message, "a dialback key is verified at the other port (XEP-0220)");
        finder.help("add a listener with class = \"xmpp\", at port 5269");
    }
}

fn gateways_of_the_proxy(finder: &mut Finder<'_>) {
    let config = finder.config;
    let names = paths("xmpp.gateways", config.xmpp.gateways.iter().cloned());
    finder.no_repetition(&names, "gateway");
    let link = config.listeners.iter().position(|l| l.class == Class::XmppLink);
    if let (Some(index), true) = (link, names.is_empty()) {
        let message = "a listener for gateways, and no gateway may use it";
        finder.at(&format!("listener[{index}].class"), message, "everybody would be refused");
        finder.help("name them: [xmpp], gateways = [\"gw.contoso.example\"]");
    }
    gateways_by_sip(finder);
    if config.xmpp.keep_alive_s > config.xmpp.inactivity_s {
        let message = "a silent stream would be closed before it is pinged";
        finder.at("xmpp.keep_alive_s", message, "expected at most inactivity_s");
        finder.beside("xmpp.inactivity_s", "closed after this time");
    }
    if u32::from(config.xmpp.partner_connections) > config.xmpp.connections {
        let message = "more streams to one partner than to all";
        finder.at("xmpp.partner_connections", message, "expected at most connections");
        finder.beside("xmpp.connections", "all streams");
    }
}

fn gateways_by_sip(finder: &mut Finder<'_>) {
    let config = finder.config;
    let named: Vec<_> = config.xmpp.gateway_sip.iter().map(|gateway| &gateway.host).collect();
    let addresses = config.xmpp.gateway_addresses.len();
    match (named.len(), addresses) {
        (0, 1..) => {
            let message = "addresses of a gateway without its name";
            finder.at("xmpp.gateway_addresses", message, "has no effect");
            finder.help("add for example: gateway_sip = \"gw.contoso.example:5061\"");
        }
        (gateways @ 2.., 1..) if addresses != gateways => {
            let message = format!("{addresses} addresses of {gateways} gateways");
            let label = "expected one of each, in the same order, or none";
            finder.at("xmpp.gateway_addresses", message, label);
            finder.beside("xmpp.gateway_sip", "these gateways");
        }
        _ => {}
    }
    finder.no_repetition(&paths("xmpp.gateway_sip", named.iter().copied().cloned()), "gateway");
    let stated = &config.internal.names;
    for (index, name) in named.into_iter().enumerate() {
        if !stated.is_empty() && !stated.contains(name) {
            let message = format!("{name} is no internal name");
            let key = format!("xmpp.gateway_sip[{index}]");
            finder.at(&key, message, "its own requests would be refused");
            finder.beside("internal.names", "missing in this list");
        }
    }
}

fn domains(finder: &mut Finder<'_>) {
    let config = finder.config;
    let mut listed = Vec::new();
    for (index, partner) in config.xmpp_partners.iter().enumerate() {
        listed.push((format!("xmpp_partner[{index}].domain"), partner.domain.clone()));
        let key = format!("xmpp_partner[{index}].additional_domains");
        listed.extend(paths(&key, partner.additional_domains.iter().cloned()));
    }
    finder.no_repetition(&listed, "XMPP partner");
    let blocked: BTreeMap<&Pattern, usize> =
        config.blocked.iter().enumerate().map(|(at, blocked)| (&blocked.domain, at)).collect();
    for (key, domain) in &listed {
        if config.edge.domains.contains(domain) {
            finder.at(key, format!("{domain} is an own domain"), "cannot be a partner too");
        }
        if let Some(at) = blocked.get(&Pattern::Exact(domain.clone())) {
            let message = format!("{domain} is an XMPP partner and blocked");
            finder.at(key, message, "never reached: blocked wins");
            finder.beside(&format!("blocked[{at}].domain"), "blocked here");
        }
    }
}

/// The rows of lync-federation 7.3 that leave no way.
fn proofs(finder: &mut Finder<'_>, index: usize, partner: &XmppPartner) {
    let keyed = |key: &str| format!("xmpp_partner[{index}].{key}");
    // What the file does not say is shown at the entry itself.
    let said = |finder: &Finder<'_>, key: &str| {
        let key = keyed(key);
        if finder.config.source.says(&key) { key } else { keyed("domain") }
    };
    let domain = &partner.domain;
    if Methods::of(partner.tls, partner.sasl, partner.dialback).any() {
        return;
    }
    if partner.tls == Negotiation::NotSupported && partner.sasl != Negotiation::NotSupported {
        let key = said(finder, "sasl");
        let message = format!("{domain}: SASL EXTERNAL without TLS");
        finder.at(&key, message, "needs a certificate, which only TLS shows");
        finder.beside(&keyed("tls"), "turned off here");
        finder.help("write sasl = \"not_supported\", or tls = \"optional\"");
        return;
    }
    let key = said(finder, "dialback");
    let message = format!("{domain}: neither SASL EXTERNAL nor dialback");
    finder.at(&key, message, "nothing is left to prove its domain");
    finder.beside(&keyed("sasl"), "turned off here");
    finder.help("write dialback = true, or sasl = \"required\" with tls = \"required\"");
}

fn gateway(finder: &mut Finder<'_>) {
    let config = finder.config;
    let runs = config.runs_gateway();
    if config.source.says("gateway") && !runs {
        let message = "a gateway that connects to no edge";
        finder.at("gateway", message, "has no effect");
        finder.help("add [[gateway_edge]] with the name of each edge");
    }
    if let Some(name) = &config.gateway.identity
        && !config.identities.iter().any(|identity| identity.name == *name)
    {
        let names: Vec<&str> = config.identities.iter().map(|i| i.name.as_str()).collect();
        finder.at("gateway.identity", format!("there is no identity `{name}`"), "unknown identity");
        finder.help(format!("identities are: {}", names.join(", ")));
    }
    let listeners = config.listeners.iter().enumerate();
    let mut addresses: Vec<_> = listeners
        .map(|(index, listener)| (format!("listener[{index}].address"), listener.address))
        .collect();
    addresses.extend(paths("gateway.listen", config.gateway.listen.iter().copied()));
    // Listeners among themselves are judged where all of them are.
    let (listeners, own) = addresses.split_at(config.listeners.len());
    let taken = |address| listeners.iter().find(|(_, taken)| taken == address);
    let twice: Vec<_> = own.iter().filter_map(|(key, at)| Some((key, at, taken(at)?))).collect();
    for (key, address, (first, _)) in twice {
        finder.at(key, format!("address {address} is given twice"), "given again here");
        finder.beside(first, "given here first");
    }
    finder.no_repetition(own, "address");
}

fn edges(finder: &mut Finder<'_>) {
    let edges = finder.config.gateway_edges.iter().enumerate();
    let names: Vec<_> = edges
        .map(|(at, edge)| {
            let name = format!("{}:{}", edge.name, edge.port);
            (format!("gateway_edge[{at}].name"), name)
        })
        .collect();
    finder.no_repetition(&names, "edge");
}
