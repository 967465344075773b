//! The world as it is: name servers asked, the partner's edge connected to, its chain looked at.
//!
//! Two connections are made. The first only records the chain, because a handshake that fails
//! shows none. The second is the edge's own: its identity, its anchors, its judgement.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use serde::Serialize;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::cli::ctl::span;
use crate::cli::handshake::{After, Shaken, WAIT, shake};
use crate::config::Config;
use crate::control;
use crate::dns::resolver::Resolver;
use crate::dns::{Answer, Domain, Question};
use crate::edge::Connect;
use crate::limits;
use crate::policy::{ExpectedNames, PeerNames, Revocation};
use crate::time::Clock;
use crate::tls::{Fault, Material, Session, shown_chain};

/// What was found at the partner's door.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Evidence {
    /// The address that took the connection.
    pub(super) address: Option<SocketAddr>,
    /// Whether the edge would speak with what answers there.
    pub(super) satisfied: bool,
    /// What there is to say, in order.
    pub(super) sentences: Vec<String>,
    /// Who it is, if the edge would speak with it.
    #[serde(skip)]
    pub(super) peer: Option<Arc<PeerNames>>,
}

/// What is needed to look.
pub(super) struct Probe {
    runtime: tokio::runtime::Runtime,
    resolver: Resolver,
    material: Material,
}

impl Probe {
    /// Loads identities and anchors as the edge does.
    ///
    /// # Errors
    /// A file of TLS, or the system's resolver.
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let settings = control::resolver_settings(config);
        // The resolver belongs to the runtime it is made in.
        let resolver = runtime.block_on(async { Resolver::new(&settings, 0) })?;
        let now_unix_s = Clock::start().now().unix_s;
        let material = Material::build(&control::tls_plan(config, 1, now_unix_s, None))?;
        Ok(Self { runtime, resolver, material })
    }

    /// Asks the name servers.
    pub(super) fn answer(&self, question: &Question) -> Answer {
        self.runtime.block_on(self.resolver.answer(question))
    }

    /// Connects as the edge would and tells what it finds.
    pub(super) fn look(&self, connect: &Connect, now_unix_s: u64) -> Evidence {
        let mut evidence = Evidence::default();
        let Some(address) = reach(connect, &mut evidence.sentences) else { return evidence };
        evidence.address = Some(address);
        match chain(&connect.server_name, address) {
            Ok(chain) => {
                let told = chain.iter().enumerate();
                let told = told.map(|(place, der)| certificate(place, der, now_unix_s));
                evidence.sentences.extend(told);
            }
            Err(error) => evidence.sentences.push(format!("no chain was seen: {error:#}")),
        }
        match self.handshake(connect, address) {
            Ok(Shaken { peer, agreed, .. }) => {
                let usage = if peer.client_auth { "may" } else { "may not (no clientAuth usage)" };
                let left = span(peer.expires_unix_s.saturating_sub(now_unix_s));
                evidence.sentences.push(format!(
                    "the edge would speak with it: {agreed}; its certificate is good for {left} \
                     and {usage} come in as a client"
                ));
                if connect.expected_names.revocation == Revocation::Hard {
                    let sentence = "its entry wants its revocation list too (revocation = \
                        \"hard\"); no list was fetched for this look";
                    evidence.sentences.push(sentence.to_owned());
                }
                evidence.satisfied = true;
                evidence.peer = Some(peer);
            }
            Err(error) => {
                evidence.sentences.push(format!("the edge would not speak with it: {error:#}"));
            }
        }
        evidence
    }

    /// Handshakes as the edge does, and gives the partner time to object to our certificate.
    fn handshake(&self, connect: &Connect, address: SocketAddr) -> anyhow::Result<Shaken> {
        let Connect { class, anchors, server_name, expected_names, .. } = connect;
        // No list is fetched for a look, so nothing is known of revocation; it is said beside.
        let expected = ExpectedNames { revocation: Revocation::Soft, ..expected_names.clone() };
        let (client, name) = self.material.client(*class, *anchors, server_name, &expected)?;
        let session = Session::client(&client, name)?;
        let shaken = shake(open(address)?, session).map_err(|broken| anyhow!("{broken}"))?;
        match shaken.after {
            After::Refuses(fault @ Fault::Refused(_)) => {
                bail!("it refuses our certificate: {fault}")
            }
            After::Refuses(fault) => bail!("{fault}"),
            // Whoever closes without a word does not object.
            After::Waits | After::Closes => Ok(shaken),
        }
    }
}

/// Returns the first address that takes a connection, in the order of the edge.
fn reach(connect: &Connect, sentences: &mut Vec<String>) -> Option<SocketAddr> {
    for &address in connect.addresses.iter().take(limits::CONNECT_ADDRESSES_MAX) {
        match open(address) {
            Ok(_) => return Some(address),
            Err(error) => sentences.push(format!("{address} takes no connection: {error:#}")),
        }
    }
    None
}

fn open(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_millis(limits::CONNECT_MS))?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.set_write_timeout(Some(WAIT))?;
    Ok(stream)
}

/// Returns the chain that `address` shows for `server_name`, in DER and judged by nobody.
///
/// # Errors
/// No connection, or no certificate.
pub(in crate::cli) fn chain(
    server_name: &Domain,
    address: SocketAddr,
) -> anyhow::Result<Vec<Vec<u8>>> {
    open(address).and_then(|stream| Ok(shown_chain(server_name.as_str(), stream)?))
}

/// Tells one certificate of a chain in a sentence.
fn certificate(place: usize, der: &[u8], now_unix_s: u64) -> String {
    let place = place + 1;
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return format!("certificate {place} cannot be decoded");
    };
    let ends = certificate.validity().not_after.timestamp();
    let ends = match u64::try_from(ends).ok().and_then(|ends| ends.checked_sub(now_unix_s)) {
        Some(left) => format!("ends in {}", span(left)),
        None => "HAS ENDED".to_owned(),
    };
    let (subject, issuer) = (certificate.subject(), certificate.issuer());
    let mut told = format!("certificate {place}: {subject}, issued by {issuer}, {ends}");
    if place == 1 {
        told.push_str(&format!(", {}, names {}", usage(&certificate), names(&certificate)));
    }
    told
}

fn names(certificate: &X509Certificate<'_>) -> String {
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.iter().flat_map(|extension| &extension.value.general_names);
    let told: Vec<&str> = names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) => Some(*name),
            _ => None,
        })
        .take(limits::CERTIFICATE_NAMES_MAX)
        .collect();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

fn usage(certificate: &X509Certificate<'_>) -> String {
    let Some(extension) = certificate.extended_key_usage().ok().flatten() else {
        return "for any usage".to_owned();
    };
    let usage = extension.value;
    let told =
        [("serverAuth", usage.server_auth), ("clientAuth", usage.client_auth), ("any", usage.any)];
    let told: Vec<&str> = told.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect();
    format!("for {}", if told.is_empty() { "other usages".to_owned() } else { told.join(" and ") })
}
