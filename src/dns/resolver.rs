//! The shell that asks name servers, on the control thread.
//!
//! [`Resolver`] turns one question into one answer. [`serve`] does it for every shard: one question
//! per name however many shards wait, a bounded number at the servers, failures held down so that a
//! dead name server is not asked per message.

use std::collections::hash_map::{Entry, HashMap};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{RData, RecordType};
use siphasher::sip::SipHasher13;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Answer, Cache, DnsView, Domain, Failure, Question, SharedAnswer, Target, Want};
use crate::limits;
use crate::time::{Clock, Now};

/// What the configuration says of name servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The servers; empty: those of the system.
    pub servers: Vec<SocketAddr>,
    /// How long one try may take, milliseconds.
    pub timeout_ms: u64,
    /// Tries per server, at least 1.
    pub attempts: usize,
    /// How long a failure of the servers is held down, seconds; jittered by a quarter.
    pub hold_down_s: u32,
    /// `_sips._tcp` (RFC 3263) counts where there is no `_sipfederationtls._tcp`.
    pub sips_srv: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let servers = Vec::new();
        Self { servers, timeout_ms: 2_000, attempts: 2, hold_down_s: 30, sips_srv: false }
    }
}

/// The resolver could not be made, most likely from the system's configuration.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no resolver: {0}")]
pub struct SetupFailed(String);

/// Asks name servers. Make and use it in one runtime.
#[derive(Clone)]
pub struct Resolver {
    inner: TokioResolver,
    hold_down_s: u32,
    sips_srv: bool,
    seed: u64,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("hold_down_s", &self.hold_down_s).finish_non_exhaustive()
    }
}

impl Resolver {
    /// Makes a resolver; `seed` spreads its hold-downs against those of other edges.
    ///
    /// # Errors
    /// [`SetupFailed`] if the system's configuration cannot be read.
    pub fn new(settings: &Settings, seed: u64) -> Result<Self, SetupFailed> {
        let failed = |error: NetError| SetupFailed(error.to_string());
        let mut builder = if settings.servers.is_empty() {
            TokioResolver::builder_tokio().map_err(failed)?
        } else {
            let servers = settings.servers.iter().map(|&server| name_server(server)).collect();
            let config = ResolverConfig::from_name_servers(servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        set_options(builder.options_mut(), settings);
        let inner = builder.build().map_err(failed)?;
        let (hold_down_s, sips_srv) = (settings.hold_down_s.max(1), settings.sips_srv);
        Ok(Self { inner, hold_down_s, sips_srv, seed })
    }

    /// Answers `question`; a failure is an answer too, with the time it is held down.
    pub async fn answer(&self, question: &Question) -> Answer {
        let deadline = Duration::from_millis(limits::DNS_QUESTION_MS);
        let found = match question {
            Question::Federation(domain) => {
                tokio::time::timeout(deadline, self.federation(domain)).await
            }
            Question::Xmpp(domain) => tokio::time::timeout(deadline, self.xmpp(domain)).await,
            Question::Host { fqdn, port } => {
                tokio::time::timeout(deadline, self.host(fqdn, *port)).await
            }
        };
        let found = found.unwrap_or(Err(Gone::for_now(Failure::Timeout)));
        let (outcome, ttl_s) = match found {
            Ok(found) => {
                let ceiling = if found.partial { self.hold_down_s } else { limits::DNS_TTL_S_MAX };
                (Ok(found.targets), found.ttl_s.min(ceiling).max(limits::DNS_TTL_S_MIN))
            }
            Err(gone) => (Err(gone.failure), self.held_down_s(question, &gone)),
        };
        Answer { question: question.clone(), outcome, ttl_s }
    }

    /// Returns where any SRV record points, best priority first, without addresses.
    ///
    /// # Errors
    /// Why there is nothing.
    pub async fn srv(&self, name: &str) -> Result<Vec<Target>, Failure> {
        let deadline = Duration::from_millis(limits::DNS_QUESTION_MS);
        let question = self.inner.lookup(format!("{name}."), RecordType::SRV);
        let asked = tokio::time::timeout(deadline, question).await;
        let lookup = asked.map_err(|_| Failure::Timeout)?.map_err(|error| gone(&error).failure)?;
        srv_targets(&lookup).map(|(targets, _)| targets).map_err(|gone| gone.failure)
    }

    async fn federation(&self, domain: &Domain) -> Result<Found, Gone> {
        let (targets, ttl_s) = match self.service("_sipfederationtls", domain).await {
            // A record that refuses the service is an answer; only where there is none we go on.
            Err(none) if self.sips_srv && none.failure == Failure::NoSuchService => {
                self.service("_sips", domain).await?
            }
            found => found?,
        };
        self.with_addresses(targets, ttl_s).await
    }

    /// Both kinds of XMPP server, ordered together (XEP-0368 section 4); without any record the
    /// domain itself (RFC 6120 section 3.2.2).
    async fn xmpp(&self, domain: &Domain) -> Result<Found, Gone> {
        let (clear, direct) = tokio::join!(
            self.service("_xmpp-server", domain),
            self.service("_xmpps-server", domain),
        );
        let no_record = |found: &Result<_, Gone>| {
            found.as_ref().is_err_and(|gone: &Gone| gone.failure == Failure::NoSuchService)
        };
        if no_record(&clear) && no_record(&direct) {
            let mut found = self.host(domain, XMPP_PORT).await?;
            found.targets.iter_mut().for_each(|target| target.direct_tls = false);
            return Ok(found);
        }
        let in_the_clear = |(mut targets, ttl_s): (Vec<Target>, u32)| {
            targets.iter_mut().for_each(|target| target.direct_tls = false);
            (targets, ttl_s)
        };
        let (mut targets, ttl_s) = match (clear.map(in_the_clear), direct) {
            (Ok((mut both, ttl_s)), Ok((direct, direct_ttl_s))) => {
                both.extend(direct);
                (both, ttl_s.min(direct_ttl_s))
            }
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => one,
            // That one kind is refused says more than that the other does not exist.
            (Err(gone), Err(other)) => {
                return Err(if gone.failure == Failure::NoSuchService { other } else { gone });
            }
        };
        targets.sort_by_key(|target| target.priority);
        targets.truncate(limits::DNS_TARGETS_MAX);
        self.with_addresses(targets, ttl_s).await
    }

    /// Looks up the addresses of all targets at once.
    async fn with_addresses(
        &self,
        mut targets: Vec<Target>,
        mut ttl_s: u32,
    ) -> Result<Found, Gone> {
        let mut lookups = JoinSet::new();
        for (place, target) in targets.iter().enumerate() {
            let (this, fqdn) = (self.clone(), target.fqdn.clone());
            lookups.spawn(async move { (place, this.addresses(&fqdn).await) });
        }
        let mut transient = None;
        let mut negative_ttl_s = None;
        while let Some(done) = lookups.join_next().await {
            let (place, addresses) = done.expect("a look-up does not panic");
            match addresses {
                Ok(addresses) => {
                    ttl_s = ttl_s.min(addresses.ttl_s);
                    targets[place].addresses = addresses.addresses;
                }
                Err(gone) if gone.failure == Failure::NoAddress => {
                    negative_ttl_s = least(negative_ttl_s, gone.negative_ttl_s);
                }
                Err(gone) => transient = Some(gone.failure),
            }
        }
        if targets.iter().any(|target| !target.addresses.is_empty()) {
            return Ok(Found { targets, ttl_s, partial: transient.is_some() });
        }
        Err(match transient {
            Some(failure) => Gone::for_now(failure),
            None => Gone { failure: Failure::NoAddress, negative_ttl_s },
        })
    }

    /// Looks up the SRV records of one service; the targets have no addresses yet.
    async fn service(&self, service: &str, domain: &Domain) -> Result<(Vec<Target>, u32), Gone> {
        let name = format!("{service}._tcp.{domain}.");
        let lookup = self.inner.lookup(name, RecordType::SRV).await.map_err(|e| gone(&e))?;
        srv_targets(&lookup)
    }

    async fn host(&self, fqdn: &Domain, port: u16) -> Result<Found, Gone> {
        let Addresses { addresses, ttl_s } = self.addresses(fqdn).await?;
        let target = Target {
            fqdn: fqdn.clone(),
            port,
            priority: 0,
            weight: 0,
            addresses,
            direct_tls: true,
        };
        Ok(Found { targets: vec![target], ttl_s, partial: false })
    }

    /// Looks up A and AAAA at once; one family is enough (RFC 7984 section 3).
    async fn addresses(&self, fqdn: &Domain) -> Result<Addresses, Gone> {
        let name = format!("{fqdn}.");
        let (v4, v6) = tokio::join!(
            self.inner.lookup(name.clone(), RecordType::A),
            self.inner.lookup(name.clone(), RecordType::AAAA),
        );
        let mut found = Addresses { addresses: Vec::new(), ttl_s: u32::MAX };
        let mut absent = Gone { failure: Failure::NoAddress, negative_ttl_s: None };
        for family in [v6, v4] {
            match family.map_err(|e| gone(&e)) {
                Ok(lookup) => found.add(&lookup),
                Err(why) if why.failure == Failure::NoSuchService => {
                    absent.negative_ttl_s = least(absent.negative_ttl_s, why.negative_ttl_s);
                }
                Err(why) => absent.failure = why.failure,
            }
        }
        if found.addresses.is_empty() { Err(absent) } else { Ok(found) }
    }

    /// Returns how long a failure is held down.
    ///
    /// What the zone says of itself counts for as long as the zone says; what the servers failed
    /// at, for the configured time, spread by a quarter so that not everything is asked at once.
    fn held_down_s(&self, question: &Question, gone: &Gone) -> u32 {
        match gone.failure {
            Failure::NoSuchService | Failure::NoAddress => {
                let (least, most) = limits::DNS_NEGATIVE_TTL_S.into_inner();
                gone.negative_ttl_s.unwrap_or(self.hold_down_s).clamp(least, most)
            }
            Failure::ServiceRefused => gone.negative_ttl_s.unwrap_or(self.hold_down_s),
            Failure::ServerFailure | Failure::Timeout => self.jittered_hold_down_s(question),
        }
    }

    fn jittered_hold_down_s(&self, question: &Question) -> u32 {
        let mut hasher = SipHasher13::new_with_keys(self.seed, 0);
        question.hash(&mut hasher);
        let spread = u64::from(self.hold_down_s / 4);
        let jitter = hasher.finish() % (2 * spread + 1);
        let held = u64::from(self.hold_down_s) - spread + jitter;
        u32::try_from(held).unwrap_or(u32::MAX).max(1)
    }
}

/// Where an XMPP server listens that no SRV record names (RFC 6120 section 14.7).
const XMPP_PORT: u16 = 5269;

/// Targets, and for how long.
struct Found {
    targets: Vec<Target>,
    ttl_s: u32,
    /// The servers failed for some targets: look again soon.
    partial: bool,
}

struct Addresses {
    addresses: Vec<IpAddr>,
    ttl_s: u32,
}

impl Addresses {
    /// Adds one family. An alias on the way counts with its own lifetime.
    fn add(&mut self, lookup: &Lookup) {
        for record in lookup.answers() {
            self.ttl_s = self.ttl_s.min(record.ttl);
        }
        let addresses = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        });
        self.addresses.extend(addresses.take(limits::DNS_ADDRESSES_MAX));
    }
}

/// Nothing, and what the zone says of how long.
#[derive(Clone, Copy)]
struct Gone {
    failure: Failure,
    negative_ttl_s: Option<u32>,
}

impl Gone {
    const fn for_now(failure: Failure) -> Self {
        Self { failure, negative_ttl_s: None }
    }
}

/// Sorts hickory's errors into ours; that nothing exists is `NoSuchService` here.
fn gone(error: &NetError) -> Gone {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            Gone { failure: Failure::NoSuchService, negative_ttl_s: none.negative_ttl }
        }
        NetError::Timeout => Gone::for_now(Failure::Timeout),
        _ => Gone::for_now(Failure::ServerFailure),
    }
}

fn least(a: Option<u32>, b: Option<u32>) -> Option<u32> {
    a.into_iter().chain(b).min()
}

/// Returns the targets of an SRV answer without addresses, best priority first, and their TTL.
fn srv_targets(lookup: &Lookup) -> Result<(Vec<Target>, u32), Gone> {
    let ttl_s = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
    let records: Vec<&SRV> = lookup
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(srv),
            _ => None,
        })
        .collect();
    if !records.is_empty() && records.iter().all(|srv| srv.target.is_root()) {
        return Err(Gone { failure: Failure::ServiceRefused, negative_ttl_s: Some(ttl_s.max(1)) });
    }
    let mut targets: Vec<Target> = records.into_iter().filter_map(target).collect();
    if targets.is_empty() {
        return Err(Gone::for_now(Failure::NoSuchService));
    }
    targets.sort_by_key(|target| target.priority);
    targets.truncate(limits::DNS_TARGETS_MAX);
    Ok((targets, ttl_s))
}

/// Reads one SRV record; a target that is no host name, or port 0, is none.
fn target(srv: &SRV) -> Option<Target> {
    let fqdn = Domain::parse(srv.target.to_ascii().as_bytes()).ok()?;
    let (port, priority, weight) = (srv.port, srv.priority, srv.weight);
    (port != 0).then_some(Target {
        fqdn,
        port,
        priority,
        weight,
        addresses: Vec::new(),
        direct_tls: true,
    })
}

/// UDP first, TCP for what is truncated or fails, both at the configured port.
fn name_server(server: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    NameServerConfig::new(server.ip(), true, connections)
}

fn set_options(options: &mut ResolverOpts, settings: &Settings) {
    options.timeout = Duration::from_millis(settings.timeout_ms.max(1));
    options.attempts = settings.attempts.max(1);
    options.try_tcp_on_error = true;
    // What is in this host's file is no statement of the partner's.
    options.use_hosts_file = ResolveHosts::Never;
    // Each question in flight may have all its targets' addresses out at once.
    options.max_active_requests = limits::DNS_IN_FLIGHT_MAX * limits::DNS_TARGETS_MAX;
}

/// A shard's question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who wants to know.
    pub shard: u16,
    /// What.
    pub question: Question,
}

/// Answers the shards' questions until every sender is gone.
///
/// `deliver` is called once for each shard that asked, with the time that is left of the answer;
/// it must not block. At most [`limits::DNS_IN_FLIGHT_MAX`] questions are out; while they are, the
/// rest waits in `questions`, whose room is the caller's bound: a shard that finds it full answers
/// as for a dead name server ([`Cache::withdraw`]).
pub async fn serve(
    resolver: Resolver,
    clock: Clock,
    key: [u64; 2],
    mut questions: mpsc::Receiver<Asked>,
    mut deliver: impl FnMut(u16, SharedAnswer),
) {
    let mut desk = Desk { cache: Cache::new(key), waiting: HashMap::new() };
    let mut out: JoinSet<Answer> = JoinSet::new();
    loop {
        tokio::select! {
            asked = questions.recv(), if out.len() < limits::DNS_IN_FLIGHT_MAX => {
                let Some(asked) = asked else { break };
                match desk.ask(clock.now(), &asked) {
                    Step::Deliver(answer) => deliver(asked.shard, answer),
                    Step::Wait => {}
                    Step::Resolve => {
                        let resolver = resolver.clone();
                        out.spawn(async move { resolver.answer(&asked.question).await });
                    }
                }
            }
            Some(done) = out.join_next(), if !out.is_empty() => {
                let answer = Arc::new(done.expect("a look-up does not panic"));
                for shard in desk.answered(clock.now(), &answer) {
                    deliver(shard, answer.clone());
                }
            }
        }
    }
}

/// Who waits for what; pure, so that its rules are tested without a server.
#[derive(Debug)]
struct Desk {
    cache: Cache,
    waiting: HashMap<Question, Vec<u16>>,
}

/// What to do with a question.
#[derive(Clone, Debug)]
enum Step {
    Deliver(SharedAnswer),
    Wait,
    Resolve,
}

impl Desk {
    fn ask(&mut self, now: Now, asked: &Asked) -> Step {
        let Asked { shard, question } = asked;
        match self.cache.want(now, question) {
            Want::Known(answer) => Step::Deliver(self.aged(now, &answer)),
            Want::Asked | Want::Ask => match self.waiting.entry(question.clone()) {
                Entry::Occupied(mut waiting) => {
                    if !waiting.get().contains(shard) {
                        waiting.get_mut().push(*shard);
                    }
                    Step::Wait
                }
                Entry::Vacant(place) => {
                    place.insert(vec![*shard]);
                    Step::Resolve
                }
            },
        }
    }

    fn answered(&mut self, now: Now, answer: &SharedAnswer) -> Vec<u16> {
        self.cache.put(now, answer);
        self.waiting.remove(&answer.question).unwrap_or_default()
    }

    /// Returns the answer with the time it has left, or a shard would start that time afresh.
    fn aged(&self, now: Now, answer: &SharedAnswer) -> SharedAnswer {
        let left_ms = self.cache.valid_until(now, &answer.question).ms_since(now.monotonic);
        let ttl_s = u32::try_from(left_ms / 1_000).unwrap_or(u32::MAX).max(limits::DNS_TTL_S_MIN);
        if ttl_s >= answer.ttl_s {
            return answer.clone();
        }
        Arc::new(Answer { ttl_s, ..Answer::clone(answer) })
    }
}

#[cfg(test)]
mod tests;
