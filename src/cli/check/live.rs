//! With `--live`: whom the edge reaches, and what they show.
//!
//! Next hops and listed partners are connected to as the edge would, one after the other, each with
//! a bounded wait; nothing is sent but the handshake with this edge's certificate.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::certificates::EXPIRY_NOTICE_S;
use super::{Checker, Severity};
use crate::config::{Partner, PeerName};
use crate::control;
use crate::dns::{Domain, Failure, Question, Target};
use crate::edge::Class;
use crate::policy::{AnchorSet, ExpectedNames, PeerNames, Revocation};
use crate::tls::{Fault, Material, Session, State};

/// Listed partners that are connected to.
const PARTNERS_MAX: usize = 64;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 2;
/// How long a connection may take to open, and each answer to come.
const WAIT: Duration = Duration::from_secs(3);
/// How long a peer that did not like this edge's certificate has to say so.
const AFTERTHOUGHT: Duration = Duration::from_millis(300);
/// Answers read in one handshake.
const READS_MAX: usize = 16;

/// What connecting to one address led to.
enum Reached {
    Yes(Arc<PeerNames>),
    /// No connection.
    No(String),
    /// A connection, but no handshake.
    Refused(String),
}

impl Checker<'_> {
    /// Connects to next hops and partners.
    pub(super) fn live(&mut self) {
        let plan = control::tls_plan(self.config, 1, self.now_unix_s, None);
        // What is wrong with certificates has been told.
        let Ok(material) = Material::build(&plan) else { return };
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return;
        };
        let servers = self.config.dns.servers.clone();
        let resolver = runtime.block_on(async { self.resolver(servers) });
        let Some(resolver) = resolver else { return };
        let ask = |question| runtime.block_on(resolver.answer(&question)).outcome;
        self.next_hops(&material, &ask);
        self.partners(&material, &ask);
    }

    fn next_hops(
        &mut self,
        material: &Material,
        ask: &impl Fn(Question) -> Result<Vec<Target>, Failure>,
    ) {
        for (index, hop) in self.config.next_hops.iter().enumerate() {
            let key = format!("next_hop[{index}].name");
            let mut addresses = hop.addresses.clone();
            if addresses.is_empty() {
                let found = ask(Question::Host { fqdn: hop.name.clone(), port: hop.port });
                addresses =
                    found.unwrap_or_default().into_iter().flat_map(|t| t.addresses).collect();
            }
            if addresses.is_empty() {
                let sentence = format!("{} has no address", hop.name);
                let advice = "publish one, or set next_hop.addresses";
                self.at(&key, Severity::Warning, "next-hop-not-found", sentence, advice);
            }
            let expected = ExpectedNames::host(hop.name.clone());
            for address in addresses.into_iter().take(ADDRESSES_MAX) {
                let address = SocketAddr::new(address, hop.port);
                let who = format!("{} at {address}", hop.name);
                match reach(material, Class::Internal, None, address, &hop.name, &expected) {
                    Reached::Yes(names) => self.expiry_of(&key, &hop.name, &names, "next-hop"),
                    Reached::No(why) => self.at(
                        &key,
                        Severity::Warning,
                        "next-hop-unreachable",
                        format!("{who} cannot be reached: {why}"),
                        "start it, or let the rule of `entente plan --section firewall` through",
                    ),
                    Reached::Refused(why) => self.at(
                        &key,
                        Severity::Warning,
                        "next-hop-handshake",
                        format!("{who} does not become a peer: {why}"),
                        "compare its certificate with internal.names and tls.internal_trust",
                    ),
                }
            }
        }
    }

    fn partners(
        &mut self,
        material: &Material,
        ask: &impl Fn(Question) -> Result<Vec<Target>, Failure>,
    ) {
        let rules = control::rules(self.config);
        let partners = self.config.partners.iter().zip(&rules.partners).enumerate();
        for (index, (partner, rule)) in partners.take(PARTNERS_MAX) {
            let key = format!("partner[{index}].domain");
            let question = match (&partner.edge, partner.domain.exact()) {
                (Some(edge), _) => Question::Host { fqdn: edge.clone(), port: partner.port },
                (None, Some(domain)) => Question::Federation(domain.clone()),
                // Which domains there are below a name, nobody can be asked.
                (None, None) => continue,
            };
            let targets = match ask(question) {
                Ok(targets) => targets,
                Err(failure) => {
                    let sentence =
                        format!("the edge of {} is not found: {}", partner.domain, told(failure));
                    let advice = "ask its administrator; until then its users are not reached";
                    self.at(&key, Severity::Warning, "partner-not-found", sentence, advice);
                    continue;
                }
            };
            let Some(target) = targets.first() else { continue };
            self.partner(&key, partner, material, rule.anchors, target);
        }
    }

    pub(super) fn partner(
        &mut self,
        key: &str,
        partner: &Partner,
        material: &Material,
        anchors: Option<AnchorSet>,
        target: &Target,
    ) {
        let host = matches!(partner.names, PeerName::Fqdn | PeerName::Both);
        let sip_domain = matches!(partner.names, PeerName::SipDomain | PeerName::Both);
        let expected = ExpectedNames {
            host: host.then(|| target.fqdn.clone()),
            sip_domain: sip_domain.then(|| partner.domain.name().clone()),
            common_name: partner.common_name,
            // Lists are the running edge's to fetch; one that is known counts here too.
            revocation: Revocation::Soft,
        };
        let mut failed: Option<Reached> = None;
        for address in target.addresses.iter().take(ADDRESSES_MAX) {
            let address = SocketAddr::new(*address, target.port);
            match reach(material, Class::Federation, anchors, address, &target.fqdn, &expected) {
                Reached::Yes(names) => {
                    self.shown_by(key, partner, &names);
                    return;
                }
                reached => failed = Some(reached),
            }
        }
        let who = format!("{}:{} of {}", target.fqdn, target.port, partner.domain);
        match failed {
            Some(Reached::No(why)) => self.at(
                key,
                Severity::Warning,
                "partner-unreachable",
                format!("{who} cannot be reached: {why}"),
                "let this edge's outgoing connections through, or ask its administrator",
            ),
            Some(Reached::Refused(why)) => self.at(
                key,
                Severity::Warning,
                "partner-handshake",
                format!("{who} does not become a peer: {why}"),
                "compare certificates with its administrator: names, issuer, dates, both ways",
            ),
            Some(Reached::Yes(_)) | None => {}
        }
    }

    /// Looks at what a partner has shown for what will fail later.
    fn shown_by(&mut self, key: &str, partner: &Partner, names: &PeerNames) {
        let domain = partner.domain.name();
        self.expiry_of(key, domain, names, "partner");
        if partner.require_client_eku && !names.client_auth {
            self.at(
                key,
                Severity::Warning,
                "partner-without-client-eku",
                format!(
                    "the certificate of {domain} has no clientAuth, which its entry demands: what \
                     it opens is refused"
                ),
                "have it renewed with clientAuth, or remove partner.require_client_eku",
            );
        }
    }

    fn expiry_of(&mut self, key: &str, who: &Domain, names: &PeerNames, kind: &'static str) {
        let left_s = names.expires_unix_s.saturating_sub(self.now_unix_s);
        if left_s >= EXPIRY_NOTICE_S {
            return;
        }
        let code = match kind {
            "partner" => "partner-certificate-expires-soon",
            _ => "next-hop-certificate-expires-soon",
        };
        self.at(
            key,
            Severity::Warning,
            code,
            format!("the certificate of {who} ends in {} days", left_s / 86_400),
            "tell its administrator",
        );
    }
}

/// Returns a failure of the look-up in words.
const fn told(failure: Failure) -> &'static str {
    match failure {
        Failure::NoSuchService => "there is no SRV record",
        Failure::ServiceRefused => "its SRV record says that it does not federate",
        Failure::NoAddress => "its name has no address",
        Failure::ServerFailure => "the name servers fail",
        Failure::Timeout => "the name servers do not answer",
    }
}

/// Connects and shakes hands as the edge would.
fn reach(
    material: &Material,
    class: Class,
    anchors: Option<AnchorSet>,
    address: SocketAddr,
    name: &Domain,
    expected: &ExpectedNames,
) -> Reached {
    let stream = match TcpStream::connect_timeout(&address, WAIT) {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            return Reached::No(format!("no answer in {} s", WAIT.as_secs()));
        }
        Err(error) => return Reached::No(reason(&error)),
    };
    let session = material
        .client(class, anchors, name, expected)
        .and_then(|(client, name)| Session::client(&client, name));
    match session.map_err(|fault| fault.to_string()).and_then(|session| shake(stream, session)) {
        Ok(names) => Reached::Yes(names),
        Err(why) => Reached::Refused(why),
    }
}

/// Returns an error of the system without its number.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        ErrorKind::HostUnreachable => "no route to the host".to_owned(),
        ErrorKind::NetworkUnreachable => "no route to its network".to_owned(),
        _ => error.to_string(),
    }
}

/// Completes the handshake and waits a moment for second thoughts: in TLS 1.3 a peer judges this
/// edge's certificate only after this edge is done.
fn shake(mut stream: TcpStream, mut session: Session) -> Result<Arc<PeerNames>, String> {
    let system = |error: std::io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("no answer to the handshake in {} s", WAIT.as_secs())
        }
        _ => reason(&error),
    };
    let fault = |fault: Fault| fault.to_string();
    stream.set_read_timeout(Some(WAIT)).map_err(system)?;
    stream.set_write_timeout(Some(WAIT)).map_err(system)?;
    let (mut input, mut out) = (Vec::new(), Vec::new());
    session.start(&mut out).map_err(fault)?;
    let mut state = State::Handshaking;
    for _ in 0..READS_MAX {
        stream.write_all(&out).map_err(system)?;
        out.clear();
        if state == State::Established {
            break;
        }
        state = turn(&mut stream, &mut session, &mut input, &mut out).map_err(
            |failed| match failed {
                Failed::System(error) => system(error),
                Failed::Tls(fault) => fault.to_string(),
                Failed::Closed => "it closes during the handshake".to_owned(),
            },
        )?;
    }
    if state != State::Established {
        return Err(format!("the handshake is not done after {READS_MAX} answers"));
    }
    let names = session.peer().ok_or("it shows no certificate")?;
    stream.set_read_timeout(Some(AFTERTHOUGHT)).map_err(system)?;
    match turn(&mut stream, &mut session, &mut input, &mut out) {
        Err(Failed::Tls(fault)) => Err(format!("it refuses this edge's certificate: {fault}")),
        Err(Failed::Closed) => Err("it closes after the handshake".to_owned()),
        // Silence is consent.
        Ok(_) | Err(Failed::System(_)) => {
            out.clear();
            session.close_notify(&mut out);
            // The peer has shown what was asked; whether the farewell arrives does not matter.
            let _ = stream.write_all(&out);
            Ok(names)
        }
    }
}

enum Failed {
    System(std::io::Error),
    Tls(Fault),
    Closed,
}

/// Reads once and processes what came.
fn turn(
    stream: &mut TcpStream,
    session: &mut Session,
    input: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<State, Failed> {
    let mut chunk = [0; 16 * 1024];
    let count = stream.read(&mut chunk).map_err(Failed::System)?;
    if count == 0 {
        return Err(Failed::Closed);
    }
    input.extend_from_slice(&chunk[..count]);
    let fed = session.feed(input, out, |_| ()).map_err(Failed::Tls)?;
    input.drain(..fed.consumed);
    Ok(fed.state)
}
