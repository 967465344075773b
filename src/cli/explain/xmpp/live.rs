//! The world as it is: the partner's records asked for, its server connected to, the stream looked
//! at up to its features.

use std::net::SocketAddr;

use serde::Serialize;

use crate::cli::ctl::span;
use crate::cli::explain::show;
use crate::cli::explain::told::Asked;
use crate::cli::stream::{Opening, look as open};
use crate::config::Config;
use crate::control;
use crate::dns::resolver::Resolver;
use crate::dns::{Domain, Question, Target};
use crate::edge::Class;
use crate::limits;
use crate::policy::{Snapshot, XmppPartner, address};
use crate::time::Clock;
use crate::tls::Material;

/// What was found.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Evidence {
    /// The address that took the connection.
    address: Option<SocketAddr>,
    /// Whether the proxy would have a way to exchange stanzas.
    pub(super) satisfied: bool,
    /// What there is to say, in order, the stream's own words among it.
    pub(super) sentences: Vec<String>,
}

/// Looks at a partner's server as the proxy would; returns what DNS said beside.
///
/// # Errors
/// A file of TLS, or the system's resolver.
pub(in crate::cli) fn look(
    config: &Config,
    snapshot: &Snapshot,
    partner: &XmppPartner,
    ours: &Domain,
    theirs: &Domain,
) -> anyhow::Result<(Vec<Asked>, Evidence)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let settings = control::resolver_settings(config);
    let resolver = runtime.block_on(async { Resolver::new(&settings, 0) })?;
    let question = match &partner.proxy {
        Some((fqdn, port)) => Question::Host { fqdn: fqdn.clone(), port: *port },
        None => Question::Xmpp(theirs.clone()),
    };
    let answer = runtime.block_on(resolver.answer(&question));
    let asked =
        Asked { question: show::question(&question), answer: show::answer(&answer.outcome) };
    let mut evidence = Evidence::default();
    if let Ok(targets) = &answer.outcome {
        let now_unix_s = Clock::start().now().unix_s;
        let material = Material::build(&control::tls_plan(config, 1, now_unix_s, None))?;
        let stated = partner.proxy.is_some();
        for (target, to) in addresses(snapshot, partner, targets, &mut evidence) {
            let class =
                if target.direct_tls && !stated { Class::XmppDirectTls } else { Class::Xmpp };
            let opening = Opening {
                address: to,
                class,
                ours,
                theirs,
                tls: partner.tls,
                anchors: partner.anchors,
                material: &material,
            };
            if conclude(&opening, partner, now_unix_s, &mut evidence) {
                break;
            }
        }
    }
    Ok((vec![asked], evidence))
}

/// Returns where the proxy would connect to, best first; notes what the address rule refuses.
fn addresses<'a>(
    snapshot: &Snapshot,
    partner: &XmppPartner,
    targets: &'a [Target],
    evidence: &mut Evidence,
) -> Vec<(&'a Target, SocketAddr)> {
    let mut ordered: Vec<&Target> = targets.iter().collect();
    ordered.sort_by_key(|target| target.priority);
    let mut kept = Vec::new();
    for target in ordered {
        for ip in &target.addresses {
            match address::permitted(&snapshot.rules().addresses, &partner.allow_networks, *ip) {
                Ok(ip) => kept.push((target, SocketAddr::new(ip, target.port))),
                Err(refusal) => {
                    evidence.sentences.push(format!("not connected to: {refusal}"));
                }
            }
        }
    }
    kept.truncate(limits::CONNECT_ADDRESSES_MAX);
    kept
}

/// Opens a stream; tells whether anybody was there.
fn conclude(
    opening: &Opening<'_>,
    partner: &XmppPartner,
    now_unix_s: u64,
    evidence: &mut Evidence,
) -> bool {
    let looked = open(opening);
    let (address, theirs) = (opening.address, opening.theirs);
    if looked.transcript.is_empty() {
        let why = looked.broken.unwrap_or_default();
        evidence.sentences.push(format!("{address} takes no connection: {why}"));
        return false;
    }
    evidence.address = Some(address);
    evidence.sentences.push(format!("{address} takes the connection"));
    evidence.sentences.extend(looked.transcript.iter().cloned());
    if let Some(why) = &looked.broken {
        evidence.sentences.push(format!("the stream does not come up: {why}"));
        return true;
    }
    if let Some(peer) = &looked.peer {
        let left = span(peer.expires_unix_s.saturating_sub(now_unix_s));
        let carries = match peer.carries_xmpp_domain(theirs) {
            true => format!("carries {theirs}"),
            false => {
                let names: Vec<&str> = peer.dns_names.iter().map(Domain::as_str).collect();
                format!("does not carry {theirs}: it has {}", names.join(", "))
            }
        };
        evidence.sentences.push(format!("its certificate is good for {left} and {carries}"));
    } else if looked.agreed.is_some() {
        evidence.sentences.push("its certificate is not trusted: it proves nothing".to_owned());
    }
    match looked.method(partner.methods(), theirs) {
        Ok(method) => {
            evidence.sentences.push(format!("would be used: {method}"));
            evidence.satisfied = true;
        }
        Err(why) => evidence.sentences.push(format!("no way: {why}")),
    }
    true
}
