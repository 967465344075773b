//! What cannot hold together of the A/V Edge.

use std::net::{IpAddr, SocketAddr};

use super::{Finder, paths};
use crate::config::AvListener;
use crate::edge::Class;
use crate::edge::av::Transport;
use crate::limits;

/// Notes every contradiction of `[av]` and `[[av_listener]]`.
pub(super) fn find(finder: &mut Finder<'_>) {
    listeners(finder);
    handing_out(finder);
    if finder.config.av_listeners.is_empty() {
        return;
    }
    relayed(finder);
    ports(finder);
    credentials(finder);
    draining(finder);
}

/// Clients that are sent away must not be sent back. The pool's own address may be: its balancer
/// knows who drains.
fn draining(finder: &mut Finder<'_>) {
    let config = finder.config;
    let Some(to) = config.av.drain_to else { return };
    let same = |l: &AvListener| to == l.node.unwrap_or(l.address) || to == l.address;
    if let Some(place) = config.av_listeners.iter().position(same) {
        let message = "clients would be sent to the edge that drains";
        finder.at("av.drain_to", message, "this edge itself");
        finder.beside(&format!("av_listener[{place}].address"), "where clients come in");
        finder
            .help("name another edge of the pool, or leave it out: clients try their next server");
    }
}

fn listeners(finder: &mut Finder<'_>) {
    let config = finder.config;
    let mut addresses: Vec<(String, String)> = Vec::new();
    for (place, listener) in config.av_listeners.iter().enumerate() {
        let path = format!("av_listener[{place}]");
        let key = format!("{path}.address");
        if listener.address.ip().is_unspecified() {
            let message = format!("{} stands for every address", listener.address);
            finder.at(&key, message, "expected one address");
            finder.help("answers leave from it; write a listener for each address");
        }
        for (name, other) in [("node", listener.node), ("vip", listener.vip)] {
            if other.is_some_and(|other| other.is_ipv4() != listener.address.is_ipv4()) {
                let message = format!("`{name}` is of another family than `address`");
                finder.at(&format!("{path}.{name}"), message, "of the other family");
                finder.beside(&key, "where clients come in");
            }
        }
        let named = |name: &String| config.identities.iter().any(|known| known.name == *name);
        if let Some(name) = listener.identity.as_ref().filter(|name| !named(name)) {
            let message = format!("there is no identity `{name}`");
            finder.at(&format!("{path}.identity"), message, "unknown identity");
        }
        if listener.vip.is_some() && listener.vip == Some(listener.node.unwrap_or(listener.address))
        {
            let message = "clients of the pool would be sent to where they came";
            finder.at(&format!("{path}.vip"), message, "this is the node as well");
        }
        let transport = if listener.transport == Transport::Udp { "udp" } else { "tcp" };
        addresses.push((key, format!("{} ({transport})", listener.address)));
    }
    finder.no_repetition(&addresses, "address");
}

/// What servers inside need to get credentials for their users, and what only they need.
fn handing_out(finder: &mut Finder<'_>) {
    let config = finder.config;
    let place = config.listeners.iter().position(|l| l.class == Class::Credentials);
    let Some(place) = place else {
        let keys =
            ["credentials_names", "credentials_lifetime_s", "external_fqdn", "internal_fqdn"];
        for key in keys.map(|key| format!("av.{key}")) {
            if config.source.says(&key) {
                finder.at(&key, "nobody can ask for credentials", "has no effect");
                finder.help("add a listener with class = \"credentials\", inside at port 5062");
            }
        }
        return;
    };
    let key = format!("listener[{place}].class");
    if config.av_listeners.is_empty() {
        let message = "credentials are handed out for an A/V Edge that does not run here";
        finder.at(&key, message, "no [[av_listener]]");
    }
    if config.av.credentials_secrets.is_none() && config.edge.secrets.is_none() {
        let message = "there is nothing that credentials could be made from";
        finder.at(&key, message, "neither av.credentials_secrets nor edge.secrets is set");
        finder.help("every edge of the pool needs the same file");
    }
    if config.credentials_names().is_empty() {
        finder.at(&key, "nobody may ask for credentials", "everybody would be refused");
        finder.help("name them: [av], credentials_names = [\"pool.contoso.example\"]");
    }
    let names = paths("av.credentials_names", config.av.credentials_names.iter().cloned());
    finder.no_repetition(&names, "name");
}

fn relayed(finder: &mut Finder<'_>) {
    let av = &finder.config.av;
    let family = |addresses: &[IpAddr]| matches!(addresses, [a, b] if a.is_ipv4() == b.is_ipv4());
    if av.relayed.is_empty() {
        finder.at("av.relayed", "no address to relay by", "expected one address at least");
        finder.help("write for example: relayed = [\"192.0.2.12\"] under [av]");
    } else if family(&av.relayed) {
        finder.at("av.relayed", "two relayed addresses of one family", "expected one of each");
    }
    if av.relayed.iter().any(IpAddr::is_unspecified) {
        finder.at("av.relayed", "a wildcard is no address to give to clients", "a wildcard");
    }
    let same = av.relayed_public.iter().zip(&av.relayed);
    let matched = same.filter(|(public, bound)| public.is_ipv4() == bound.is_ipv4()).count();
    if !av.relayed_public.is_empty() && matched != av.relayed.len().max(av.relayed_public.len()) {
        let message = "not one public address for each relayed one, in their order";
        finder.at("av.relayed_public", message, "does not match");
        finder.beside("av.relayed", "the relayed addresses");
    }
}

fn ports(finder: &mut Finder<'_>) {
    let config = finder.config;
    let av = &config.av;
    if u32::from(av.ports_first) + u32::from(av.ports_count) > 65_536 {
        let message =
            format!("{} ports from {} on end above 65535", av.ports_count, av.ports_first);
        finder.at("av.ports_count", message, "too many");
        finder.beside("av.ports_first", "from here on");
    }
    let count = match av.shared_ports.len() {
        0 => usize::from(av.ports_count),
        shared => shared,
    };
    if av.threads > count {
        let message = format!("{} threads and {count} relayed ports", av.threads);
        finder.at("av.threads", message, "each has a port at least");
    }
    let shared = paths("av.shared_ports", av.shared_ports.iter().copied());
    finder.no_repetition(&shared, "port");
    let relayed_ports = config.relayed_ports();
    let relays_there = |address: SocketAddr| {
        let held = relayed_ports.iter().any(|ports| ports.contains(&address.port()));
        av.relayed.contains(&address.ip()) && held
    };
    for (place, listener) in config.av_listeners.iter().enumerate() {
        if listener.transport == Transport::Udp && relays_there(listener.address) {
            let message = format!("{} is a relayed port too", listener.address);
            finder.at(&format!("av_listener[{place}].address"), message, "taken");
            finder.beside("av.relayed", "relayed here");
        }
    }
}

fn credentials(finder: &mut Finder<'_>) {
    let config = finder.config;
    let av = &config.av;
    let secrets = [&av.secrets, &av.credentials_secrets, &config.edge.secrets];
    if secrets.iter().all(|secrets| secrets.is_none()) {
        let message = "nobody could prove who he is to the A/V Edge";
        finder.at("av", message, "neither av.secrets nor edge.secrets is set");
        finder.help("av.secrets names a file of secrets of time-limited credentials");
    }
    let realm = config.av.realm.as_ref().or_else(|| config.edge.domains.first());
    let realm = realm.map_or("", |realm| realm.as_str());
    if realm.len() > limits::TURN_REALM_BYTES_MAX {
        let most = limits::TURN_REALM_BYTES_MAX;
        let message = format!("the realm `{realm}` has more than {most} bytes");
        let key = if config.av.realm.is_some() { "av.realm" } else { "edge.domains" };
        finder.at(key, message, "too long for an answer to strangers");
        finder.help("av.realm sets a shorter one");
    }
}
