//! `entente explain relay PEER`: whether clients of the A/V Edge may reach an address, and which
//! rule says so. `entente explain relay USERNAME`: whether the relay believes a username, and what
//! made it.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use serde::Serialize;

use crate::config::Config;
use crate::config::pool::written;
use crate::control;
use crate::edge::Side;
use crate::edge::av::{self, Token};
use crate::policy::AddressRefusal;
use crate::time::Clock;

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// An address that clients want to reach, at a port of it or at any.
    Peer(IpAddr, Option<u16>),
    /// A username of credentials, as clients are given it.
    Username(String),
}

/// The verdict about one peer or username.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Explained {
    /// The address or the username.
    subject: String,
    /// On which side clients are; of a peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    side: Option<Side>,
    permitted: bool,
    /// Stable name of the rule.
    rule: &'static str,
    sentence: String,
    /// `file:line` that it rests on.
    place: String,
}

/// Reads what the relay is asked about.
///
/// # Errors
/// What to say instead.
pub(super) fn asked(about: Option<&str>) -> Result<Subject, String> {
    const EXAMPLE: &str = "entente explain relay 203.0.113.7:3478 -c entente.toml";
    let Some(about) = about else {
        return Err(format!(
            "what about the relay? Say an address that its clients want to reach, or a username of \
             its credentials: {EXAMPLE}"
        ));
    };
    subject(about).ok_or_else(|| {
        format!(
            "`{about}` is neither an address, with or without a port, nor a username of the \
             relay's credentials, such as 1767225600:alice: {EXAMPLE}"
        )
    })
}

/// Returns what `text` is about: an address with or without a port, or else a username of either
/// kind.
fn subject(text: &str) -> Option<Subject> {
    let address = |text: &str| text.parse::<SocketAddr>().ok();
    let ip = text.parse::<IpAddr>().ok().map(|ip| Subject::Peer(ip, None));
    let peer = ip.or_else(|| address(text).map(|at| Subject::Peer(at.ip(), Some(at.port()))));
    let named = || {
        let token = Token::from_text(text.as_bytes()).is_some();
        (token || av::time_limited_until(text.as_bytes()).is_some())
            .then(|| Subject::Username(text.to_owned()))
    };
    peer.or_else(named)
}

/// Prints the verdict; exit code 0 where the peer may be reached or the username is believed, else
/// 1.
pub(super) fn run(config: &Config, subject: &Subject, json: bool) -> anyhow::Result<ExitCode> {
    use std::io::Write as _;
    let explained = match subject {
        Subject::Peer(ip, port) => {
            let sides = sides(config).into_iter();
            let told = |side| {
                let mut explained = explain(config, side, *ip, *port);
                if explained.permitted {
                    explained.sentence.push_str(shared(config));
                }
                explained
            };
            sides.map(told).collect()
        }
        Subject::Username(name) => vec![username(config, name, Clock::start().now().unix_s)],
    };
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&explained)?)?;
    } else {
        for of_side in &explained {
            writeln!(out, "{}", line(of_side))?;
        }
    }
    let permitted = explained.iter().any(|explained| explained.permitted);
    Ok(if permitted { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Returns the sides on which the relay has clients; both where none listens yet.
fn sides(config: &Config) -> Vec<Side> {
    let both = [Side::External, Side::Internal];
    let listens = |side: &Side| config.av_listeners.iter().any(|l| l.side == *side);
    let sides: Vec<Side> = both.into_iter().filter(listens).collect();
    if sides.is_empty() { both.to_vec() } else { sides }
}

fn line(explained: &Explained) -> String {
    let Explained { subject, side, permitted, rule, sentence, place } = explained;
    let verdict = match (side, permitted) {
        // Permissions are of addresses, so nothing is refused.
        (Some(_), false) if *rule == "relayed_port" => "is nobody to any client",
        (Some(Side::External), true) => "may be a peer of clients outside",
        (Some(Side::External), false) => "is refused with 403 to clients outside",
        (Some(Side::Internal), true) => "may be a peer of clients inside",
        (Some(Side::Internal), false) => "is refused with 403 to clients inside",
        (None, true) => "is believed with its password",
        (None, false) => "is refused with 401",
    };
    format!("{subject} {verdict}: {sentence} ({place})")
}

/// Says what made a username, and until when it counts.
fn username(config: &Config, name: &str, unix_s: u64) -> Explained {
    let told = |permitted, rule, sentence: String, key: &str| Explained {
        subject: name.to_owned(),
        side: None,
        permitted,
        rule,
        sentence,
        place: config.source.whereabouts(key),
    };
    let time = |ends: u64| match ends.checked_sub(unix_s).filter(|left| *left > 0) {
        Some(left) => (true, format!("holds for {left} s more")),
        None => (false, format!("ended {} s ago", unix_s - ends)),
    };
    if let Some(token) = Token::from_text(name.as_bytes()) {
        let own_file = config.credentials_secrets.is_some();
        let key = if own_file { "av.credentials_secrets" } else { "edge.secrets" };
        let credentials = control::relay_credentials(config);
        let Some((place, ends)) = credentials.token(&token) else {
            let sentence = "no secret of this edge made it".to_owned();
            return told(false, "token_of_nobody", sentence, key);
        };
        let id = config.media_secrets().nth(place).map_or(0, |secret| secret.id);
        let (holds, time) = time(ends);
        let rule = if holds { "token" } else { "token_ended" };
        let whose = credentials.domain(&token);
        let whose = whose.map_or(String::new(), |domain| format!(" for a user of {domain}"));
        return told(holds, rule, format!("secret {id} made it{whose}, and it {time}"), key);
    }
    let ends = av::time_limited_until(name.as_bytes()).unwrap_or_default();
    if config.av_secrets.0.is_empty() {
        let sentence = "time-limited credentials count with av.secrets alone".to_owned();
        return told(false, "no_secret", sentence, "av");
    }
    let (holds, time) = time(ends);
    let rule = if holds { "time_limited" } else { "time_limited_ended" };
    told(holds, rule, format!("an issuer's name for it is in it, and it {time}"), "av.secrets")
}

fn explain(config: &Config, side: Side, peer: IpAddr, port: Option<u16>) -> Explained {
    let ip = peer.to_canonical();
    let av = &config.av;
    let told_at = |permitted, rule, sentence: String, place: String| Explained {
        subject: port.map_or_else(|| ip.to_string(), |port| SocketAddr::new(ip, port).to_string()),
        side: Some(side),
        permitted,
        rule,
        sentence,
        place,
    };
    let told = |permitted, rule, sentence: String, key: &str| {
        told_at(permitted, rule, sentence, config.source.whereabouts(key))
    };
    if config.relayed_public().contains(&ip) {
        let held = config.relayed_ports();
        if let Some(port) = port.filter(|port| !held.iter().any(|ports| ports.contains(port))) {
            let ports = written(&held);
            let sentence = format!(
                "it is a relayed address of this edge, {port} is none of its relayed ports \
                 {ports}, and nothing else there is reached"
            );
            return told(false, "relayed_port", sentence, "av.relayed");
        }
        let sentence = "it is a relayed address of this edge; its ports are reached within, under \
                        the permissions of both clients, and nothing else there is";
        return told(true, "relayed", sentence.to_owned(), "av.relayed");
    }
    let holds = |networks: &[ipnet::IpNet]| networks.iter().position(|net| net.contains(&ip));
    let (networks, rule, key) = match side {
        Side::External => (&av.external_networks, "external", "av.external_networks"),
        Side::Internal => (&av.internal_networks, "internal", "av.internal_networks"),
    };
    let peers = control::relay_peers(config);
    let listens = port.and_then(|port| peers.listener_of_pool(SocketAddr::new(ip, port)));
    match peers.judge(side, ip) {
        Ok(_) => {
            if let Some(relay) = listens {
                let name = &relay.name;
                let sentence = format!("clients of {name}, another edge of the pool, come in here");
                told_at(false, "sibling_listener", sentence, listed_at(config, relay, "listeners"))
            } else if let Some(relay) = peers.relay_of_pool(ip) {
                let reached = port.is_none_or(|port| relay.gives(port));
                let rule = if reached { "sibling" } else { "sibling_port" };
                told_at(reached, rule, of_pool(relay), listed_at(config, relay, "relayed"))
            } else if let Some(place) = holds(networks) {
                let sentence = format!("it is in {}, a network of this side", networks[place]);
                told(true, rule, sentence, key)
            } else if let Some(place) = holds(&config.addresses.allow_networks) {
                let network = config.addresses.allow_networks[place];
                let sentence = format!("it is in {network}, which is allowed");
                told(true, "allowed", sentence, "addresses.allow_networks")
            } else {
                told(true, "global", "it is globally routable".to_owned(), "av")
            }
        }
        Err(refusal) => {
            let (rule, key) = match refusal {
                AddressRefusal::NotGloballyRoutable(_) => ("not_global", key),
                AddressRefusal::OwnListener(_) => ("own", "av_listener[0].address"),
                AddressRefusal::Management(_) => ("management", "management.allow"),
            };
            told(false, rule, refusal.to_string(), key)
        }
    }
}

/// Says what several clients that want the same peer are to know where they share ports.
fn shared(config: &Config) -> &'static str {
    match (config.av.shared_ports.is_empty(), config.av.tcp_allocations) {
        (true, _) => "",
        (false, 0) => "; at each shared port a port of it is one client's, and 403 to others",
        (false, _) => {
            "; at each shared port a port of it is one client's, as are the TCP connections that \
             come from it, and 403 to others"
        }
    }
}

/// Says whose relayed address it is, and what may be reached there.
fn of_pool(relay: &av::PoolRelay) -> String {
    let (name, ports) = (&relay.name, written(&relay.ports));
    format!(
        "it is a relayed address of {name}, another edge of the pool; its relayed ports {ports} \
         may be reached, and nothing else there"
    )
}

/// Returns `file:line` of what the file of the pool says of an edge.
fn listed_at(config: &Config, relay: &av::PoolRelay, what: &str) -> String {
    let listed = config.pool.as_ref().and_then(|pool| {
        let (place, _) = pool.edge(&relay.name)?;
        Some(pool.source.whereabouts(&format!("edge[{place}].{what}")))
    });
    listed.unwrap_or_else(|| config.source.whereabouts("av.pool"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn each_peer_is_told_the_rule_it_meets() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/configs");
        let config = crate::config::load(&fixtures.join("full.toml")).unwrap();
        let rule = |text: &str| {
            let Some(Subject::Peer(ip, port)) = subject(text) else { panic!("{text}") };
            let explained = explain(&config, Side::Internal, ip, port);
            (explained.permitted, explained.rule)
        };
        assert_eq!(rule("93.184.216.34"), (true, "global"));
        assert_eq!(rule("[2606:4700::1]:5000"), (true, "global"));
        assert_eq!(rule("10.1.2.3"), (true, "internal"));
        assert_eq!(rule("192.0.2.12"), (true, "relayed"));
        assert_eq!(rule("192.0.2.12:3482"), (true, "relayed"));
        assert_eq!(rule("192.0.2.12:9000"), (false, "relayed_port"), "nobody is there");
        assert_eq!(rule("10.0.0.10"), (false, "own"), "in a network of the inside or not");
        assert_eq!(rule("64:ff9b::10.0.0.10"), (false, "own"), "by a translator too");
        assert_eq!(rule("192.168.1.1"), (false, "not_global"));
        assert_eq!(rule("169.254.169.254"), (false, "not_global"));
        assert!(!rule("::ffff:127.0.0.1").0);
        assert_eq!(rule("192.0.2.22"), (true, "sibling"));
        assert_eq!(rule("192.0.2.22:50007"), (true, "sibling"));
        assert_eq!(rule("192.0.2.22:3480"), (false, "sibling_port"));
        assert_eq!(rule("192.0.2.22:3478"), (false, "sibling_listener"));
        assert_eq!(rule("[64:ff9b::192.0.2.22]:3478"), (false, "not_global"));
        assert_eq!(rule("[64:ff9b::192.0.2.22]:22"), (false, "not_global"), "by a translator");
        assert_eq!(subject("example.net"), None);
    }

    #[test]
    fn where_ports_are_shared_it_is_said_what_a_peer_then_is() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/configs");
        let mut config = crate::config::load(&fixtures.join("full.toml")).unwrap();
        config.av.shared_ports.clear();
        assert_eq!(shared(&config), "", "each allocation has a port of its own");
        config.av.shared_ports = vec![3_480];
        assert!(shared(&config).contains("the TCP connections that come from it"));
        config.av.tcp_allocations = 0;
        assert!(!shared(&config).contains("TCP"));
    }

    #[test]
    fn each_side_has_rules_of_its_own() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/configs");
        let mut config = crate::config::load(&fixtures.join("full.toml")).unwrap();
        config.addresses.allow_networks.clear();
        assert_eq!(sides(&config), [Side::External, Side::Internal]);
        let told = |text: &str| {
            let Some(Subject::Peer(ip, port)) = subject(text) else { panic!("{text}") };
            let sides = sides(&config).into_iter();
            sides.map(|side| line(&explain(&config, side, ip, port))).collect()
        };
        let office: Vec<String> = told("10.1.2.3");
        let refused = "10.1.2.3 is refused with 403 to clients outside: 10.1.2.3 is not globally \
                       routable (";
        assert!(office[0].starts_with(refused), "{office:?}");
        let permitted = "10.1.2.3 may be a peer of clients inside: it is in 10.0.0.0/8, a network \
                         of this side (";
        assert!(office[1].starts_with(permitted), "{office:?}");
        let second: Vec<String> = told("192.0.2.22:22");
        let refused = "192.0.2.22:22 is refused with 403 to clients outside: it is a relayed \
                       address of edge2.contoso.example, another edge of the pool; its relayed \
                       ports 50000-54999 may be reached, and nothing else there (";
        assert!(second[0].starts_with(refused), "{second:?}");
        assert!(second[0].ends_with("pool.toml:11)"), "{second:?}");
        let nobody: Vec<String> = told("192.0.2.12:9000");
        assert!(nobody[0].starts_with("192.0.2.12:9000 is nobody to any client: "), "{nobody:?}");
        let carrier: Vec<String> = told("100.64.7.7");
        assert!(carrier[0].contains("may be a peer of clients outside"), "{carrier:?}");
        assert!(carrier[1].contains("is refused with 403 to clients inside"), "{carrier:?}");
    }

    #[test]
    fn a_username_is_told_what_made_it_and_how_long_it_counts() {
        use base64::Engine as _;
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/configs");
        let config = crate::config::load(&fixtures.join("full.toml")).unwrap();
        let now = 1_800_000_000;
        let rule = |text: &str| {
            assert_eq!(subject(text), Some(Subject::Username(text.to_owned())));
            let explained = username(&config, text, now);
            (explained.permitted, explained.rule, explained.sentence)
        };
        let text = |token: Token| base64::engine::general_purpose::STANDARD.encode(token.username);
        let own = control::relay_credentials(&config).mras.remove(0);
        let holds = "secret 8 made it, and it holds for 60 s more".to_owned();
        assert_eq!(rule(&text(own.issue("kim", now + 60))), (true, "token", holds));
        let whose = "secret 8 made it for a user of contoso.example, and it holds for 60 s more";
        let of_domain = own.issue("kim@contoso.example", now + 60);
        assert_eq!(rule(&text(of_domain)), (true, "token", whose.to_owned()));
        assert_eq!(rule(&text(own.issue("kim", now))).1, "token_ended");
        let strange = av::MrasKey::new(b"another secret").issue("kim", now + 60);
        assert_eq!(rule(&text(strange)).1, "token_of_nobody");
        assert_eq!(rule("1800000060:kim").1, "time_limited");
        assert_eq!(rule("1700000000:kim").1, "time_limited_ended");
    }
}
