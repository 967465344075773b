//! `entente explain relay PEER`: whether clients of the A/V Edge may reach an address, and which
//! rule says so.

use std::net::IpAddr;
use std::process::ExitCode;

use serde::Serialize;

use crate::config::Config;
use crate::control;
use crate::policy::AddressRefusal;

/// The verdict about one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Explained {
    peer: String,
    permitted: bool,
    /// Stable name of the rule.
    rule: &'static str,
    sentence: String,
    /// `file:line` that it rests on.
    place: String,
}

/// Returns the address in `text`, with or without a port.
pub(super) fn peer(text: &str) -> Option<IpAddr> {
    let ip = text.parse::<IpAddr>().ok();
    ip.or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
}

/// Prints the verdict; exit code 0 where the peer may be reached, else 1.
pub(super) fn run(config: &Config, peer: IpAddr, json: bool) -> anyhow::Result<ExitCode> {
    use std::io::Write as _;
    let explained = explain(config, peer);
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&explained)?)?;
    } else {
        let verdict = if explained.permitted { "may be a peer" } else { "is refused with 403" };
        let Explained { peer, sentence, place, .. } = &explained;
        writeln!(out, "{peer} {verdict}: {sentence} ({place})")?;
    }
    Ok(if explained.permitted { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn explain(config: &Config, peer: IpAddr) -> Explained {
    let ip = peer.to_canonical();
    let av = &config.av;
    let told = |permitted, rule, sentence: String, key: &str| Explained {
        peer: ip.to_string(),
        permitted,
        rule,
        sentence,
        place: config.source.whereabouts(key),
    };
    let relayed = if av.relayed_public.is_empty() { &av.relayed } else { &av.relayed_public };
    if relayed.contains(&ip) {
        let sentence = "it is a relayed address of this edge; its ports are reached within, under \
                        the permissions of both clients, and nothing else there is";
        return told(true, "relayed", sentence.to_owned(), "av.relayed");
    }
    let holds = |networks: &[ipnet::IpNet]| networks.iter().position(|net| net.contains(&ip));
    match control::relay_peers(config).judge(ip) {
        Ok(_) => {
            if let Some(place) = holds(&av.internal_networks) {
                let network = av.internal_networks[place];
                let sentence = format!("it is in {network}, a network of the inside");
                told(true, "internal", sentence, "av.internal_networks")
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
                AddressRefusal::NotGloballyRoutable(_) => ("not_global", "av.internal_networks"),
                AddressRefusal::OwnListener(_) => ("own", "av_listener[0].address"),
                AddressRefusal::Management(_) => ("management", "management.allow"),
            };
            told(false, rule, refusal.to_string(), key)
        }
    }
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
            let explained = explain(&config, peer(text).unwrap());
            (explained.permitted, explained.rule)
        };
        assert_eq!(rule("93.184.216.34"), (true, "global"));
        assert_eq!(rule("[2606:4700::1]:5000"), (true, "global"));
        assert_eq!(rule("10.1.2.3"), (true, "internal"));
        assert_eq!(rule("192.0.2.12"), (true, "relayed"));
        assert_eq!(rule("10.0.0.10"), (false, "own"), "in a network of the inside or not");
        assert_eq!(rule("64:ff9b::10.0.0.10"), (false, "own"), "by a translator too");
        assert_eq!(rule("192.168.1.1"), (false, "not_global"));
        assert_eq!(rule("169.254.169.254"), (false, "not_global"));
        assert!(!rule("::ffff:127.0.0.1").0);
        assert_eq!(peer("example.net"), None);
    }
}
