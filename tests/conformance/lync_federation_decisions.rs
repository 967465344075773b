//! Every kind of federation in every direction, against a naive oracle written from sections 4.2
//! and 5 of our notes on the product: who speaks for a domain, who may connect for it, what the
//! inside is told of its users, and what the sender is told otherwise.

use std::net::IpAddr;
use std::sync::Arc;

use entente::dns::{Answer, Cache, Failure, Question, Target};
use entente::policy::users::{Directory, DirectoryBuilder, Gate, Home, Marks, MarksCount, Role};
use entente::policy::{
    Decision, DefaultRoute, Inbound, Outbound, PartnerKind, PartnerRule, Pattern, Permit,
    ProviderKind, ProviderRule, Rules, SourceNetwork, Verification, compile,
};
use entente::time::Now;

use crate::lync_federation::{contoso, domain, peer};
use crate::lync_federation_users;

const PARTNER: &str = "fabrikam.example";
const OWN_EDGE: &str = "sip.fabrikam.example";
const STATED: &str = "edge.fabrikam-hosting.example";
const ELSEWHERE: &str = "sip.adatum.example";
const HOSTING: &str = "sipfed.online.example";
const PUBLIC: &str = "federation.skype.example";
const HUB: &str = "hub.clearing.example";
const HOSTS: [&str; 6] = [OWN_EDGE, STATED, ELSEWHERE, HOSTING, PUBLIC, HUB];

/// What the configuration says of the partner's domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Statement {
    Nothing,
    AllowedServer,
    AllowedDomain,
    /// An entry for all domains below a name, each with the same edge.
    ServerBelow,
    /// The same, each with the edge its record names.
    DomainsBelow,
    OfHostingProvider,
    OfPublicProvider,
}

impl Statement {
    fn is_pattern(self) -> bool {
        matches!(self, Self::ServerBelow | Self::DomainsBelow)
    }
}

/// One cell of the table.
#[derive(Clone, Copy, Debug)]
struct Case {
    statement: Statement,
    /// The host that the partner's SRV record names.
    record: Option<&'static str>,
    hosting: bool,
    public: bool,
    default_route: bool,
    /// The default route leads to a public service.
    hub_is_public: bool,
    discovery: bool,
    blocked: bool,
    verification: Verification,
    /// Whose certificate is shown; `None`: the request goes out.
    peer: Option<&'static str>,
}

/// What the oracle expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Permit(PartnerKind),
    Refuse(u16, u16),
}

const BLOCKED: Outcome = Outcome::Refuse(403, 1005);
const UNKNOWN: Outcome = Outcome::Refuse(403, 1005);
const HOSTED_NOT_LISTED: Outcome = Outcome::Refuse(403, 1028);
const NO_RECORD: Outcome = Outcome::Refuse(504, 1008);
const RECORD_ELSEWHERE: Outcome = Outcome::Refuse(504, 1009);
const NOT_ITS_EDGE: Outcome = Outcome::Refuse(403, 1016);

/// Sections 4.2 and 5.4, in their order, without any regard for speed.
fn oracle(case: &Case) -> Outcome {
    // 5.4: "any connection from or to a denied domain is dropped".
    if case.blocked {
        return BLOCKED;
    }
    let provider = |host: &str| match host {
        HOSTING if case.hosting => Some(PartnerKind::HostingProvider),
        PUBLIC if case.public => Some(PartnerKind::PublicProvider),
        _ => None,
    };
    // Who it is at this host, if the peer must be somebody.
    let connects = |host: &str, kind| match case.peer {
        Some(peer) if peer != host => NOT_ITS_EDGE,
        _ => Outcome::Permit(kind),
    };
    // Rule 11: a stated edge needs no record. Nobody else speaks for the domain.
    match case.statement {
        Statement::AllowedServer | Statement::ServerBelow => {
            return connects(STATED, PartnerKind::AllowedServer);
        }
        Statement::OfHostingProvider if case.hosting => {
            return connects(HOSTING, PartnerKind::HostingProvider);
        }
        Statement::OfPublicProvider if case.public => {
            return connects(PUBLIC, PartnerKind::PublicProvider);
        }
        _ => {}
    }
    let listed = matches!(case.statement, Statement::AllowedDomain | Statement::DomainsBelow);
    let may_be_found = listed || case.discovery;
    // 5.1: whoever takes what nothing names.
    if !listed && case.default_route {
        return match case.peer {
            Some(peer) if peer != HUB => UNKNOWN,
            _ => Outcome::Permit(PartnerKind::DefaultRoute),
        };
    }
    // An unlisted domain is looked up for discovery's sake, or because a provider is concerned.
    let looked_up = match case.peer {
        None => case.hosting || case.public,
        Some(peer) => provider(peer).is_some(),
    };
    if !may_be_found && !looked_up {
        return UNKNOWN;
    }
    // Rule 9: a domain whose record names a provider's edge belongs to that provider; one that
    // hosts is also subject to the allowed list (5.1).
    if let Some(kind) = case.record.and_then(provider) {
        if kind == PartnerKind::HostingProvider && !may_be_found {
            return HOSTED_NOT_LISTED;
        }
        return connects(case.record.unwrap_or_default(), kind);
    }
    if !may_be_found {
        return UNKNOWN;
    }
    let kind = if listed { PartnerKind::AllowedDomain } else { PartnerKind::Discovered };
    match case.record {
        // Rule 1.
        None => NO_RECORD,
        // Rules 2 and 3.
        Some(OWN_EDGE) => connects(OWN_EDGE, kind),
        Some(_) => RECORD_ELSEWHERE,
    }
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offer {
    Messages,
    Media,
}

/// What an own user may, as the policies of section 5.5 say it.
struct UserPolicies {
    /// What the policy of the user opens, bit by bit; `None`: there is no policy at all.
    open: Option<usize>,
    directory: Directory,
}

/// Every way to open and close the gates of one policy, and none.
fn user_policies() -> Vec<UserPolicies> {
    let all = (0..32).map(Some).chain([None]);
    all.map(|open| {
        let policies = open.map(|open| lync_federation_users::policy("own", open));
        let granted = if open.is_some() { "own" } else { "" };
        let policies = policies.into_iter().collect();
        let mut builder = DirectoryBuilder::new([1, 2], policies, MarksCount::Decide, 1);
        builder.add("kim", "contoso.example", "", granted, Home::Pool).expect("a user");
        UserPolicies { open, directory: builder.finish() }
    })
    .collect()
}

/// Sections 5.5 and 12.2, by the kind of partner alone: the number of the refusal, if it is one.
fn oracle_of_user(
    kind: PartnerKind,
    case: &Case,
    open: Option<usize>,
    role: Role,
    offer: Offer,
) -> Option<u16> {
    let open = open?;
    let bit = |place: usize| open >> place & 1 == 1;
    let (federation, public_im, public_av) = (bit(0), bit(2), bit(3));
    let is_public = match kind {
        PartnerKind::PublicProvider => true,
        PartnerKind::DefaultRoute => case.hub_is_public,
        _ => false,
    };
    let may = match (is_public, offer) {
        (false, _) => federation,
        (true, Offer::Messages) => public_im,
        (true, Offer::Media) => public_im && public_av,
    };
    match (may, role) {
        (true, _) => None,
        (false, Role::Sender) if !federation && !public_im => Some(1012),
        (false, _) if is_public => Some(1001),
        (false, _) => Some(1002),
    }
}

/// Asks for what policy lets pass whether each own user may; returns how many were asked about.
fn judge_users(case: &Case, permit: &Permit, users: &[UserPolicies]) -> usize {
    let role = if case.peer.is_some() { Role::Recipient } else { Role::Sender };
    for UserPolicies { open, directory } in users {
        for offer in [Offer::Messages, Offer::Media] {
            let gate = Gate::towards(permit.source_network());
            let gate = if offer == Offer::Media { gate.of_media() } else { gate };
            let judged = directory.judge(b"kim", b"contoso.example", gate, role, Marks::default());
            assert_eq!(
                judged.err().map(|closed| closed.diagnostics()),
                oracle_of_user(permit.kind(), case, *open, role, offer),
                "{case:?} {open:?} {role:?} {offer:?}"
            );
        }
    }
    users.len() * 2
}

/// Section 5.2: the source type, and whether the user counts as verified.
fn oracle_of_trust(kind: PartnerKind, case: &Case) -> (&'static str, SourceNetwork) {
    match kind {
        PartnerKind::DefaultRoute if case.hub_is_public => {
            ("AuthorizedServer", SourceNetwork::PublicCloud)
        }
        PartnerKind::AllowedServer => ("DirectPartner", SourceNetwork::Federation),
        PartnerKind::AllowedDomain | PartnerKind::Discovered => {
            ("AutoFederation", SourceNetwork::Federation)
        }
        PartnerKind::HostingProvider | PartnerKind::DefaultRoute => {
            ("AuthorizedServer", SourceNetwork::Federation)
        }
        PartnerKind::PublicProvider => ("AuthorizedServer", SourceNetwork::PublicCloud),
        PartnerKind::RemoteUser => ("InternetUser", SourceNetwork::Federation),
    }
}

fn rules(case: &Case) -> Rules {
    let verification = case.verification;
    let partner = domain(PARTNER);
    let below = Pattern::Below(domain("example"));
    let entry = if case.statement.is_pattern() { below.clone() } else { partner.clone().into() };
    let listed = match case.statement {
        Statement::AllowedServer | Statement::ServerBelow => {
            Some(PartnerRule::allowed_server(entry, domain(STATED), 5061))
        }
        Statement::AllowedDomain | Statement::DomainsBelow => {
            Some(PartnerRule::allowed_domain(entry))
        }
        _ => None,
    };
    let listed = listed.map(|rule| PartnerRule { verification, ..rule });
    let mut rules = contoso(listed.into_iter().collect(), case.discovery);
    rules.federation.discovered_verification = verification;
    let provider = |kind, name, edge, enabled, stated| ProviderRule {
        enabled,
        verification,
        domains: if case.statement == stated { vec![partner.clone()] } else { Vec::new() },
        ..ProviderRule::new(kind, name, domain(edge))
    };
    rules.providers = vec![
        provider(
            ProviderKind::Hosting,
            "online",
            HOSTING,
            case.hosting,
            Statement::OfHostingProvider,
        ),
        provider(ProviderKind::Public, "skype", PUBLIC, case.public, Statement::OfPublicProvider),
    ];
    if case.default_route {
        let route = DefaultRoute::new(domain(HUB));
        rules.default_route =
            Some(DefaultRoute { verification, public: case.hub_is_public, ..route });
    }
    if case.blocked || case.statement.is_pattern() {
        // Our own domain may not lie below a name that is listed or blocked.
        rules.own_domains = vec![domain("contoso.other")];
    }
    if case.blocked {
        // Of the same name it would be a contradiction where the partner is listed.
        let blocked = if case.statement.is_pattern() { partner.into() } else { below };
        rules.blocked = vec![blocked];
    }
    rules
}

/// DNS that has answered every question there may be.
fn dns(case: &Case) -> Cache {
    let address: IpAddr = "9.9.9.9".parse().expect("an address");
    let target = |host: &str| Target {
        fqdn: domain(host),
        port: 5061,
        priority: 0,
        weight: 0,
        addresses: vec![address],
        direct_tls: true,
    };
    let mut cache = Cache::new([1, 2]);
    let mut put = |question, outcome| {
        cache.put(Now::default(), &Arc::new(Answer { question, outcome, ttl_s: 300 }));
    };
    let record = case.record.map(|host| vec![target(host)]).ok_or(Failure::NoSuchService);
    put(Question::Federation(domain(PARTNER)), record);
    for host in HOSTS {
        put(Question::Host { fqdn: domain(host), port: 5061 }, Ok(vec![target(host)]));
    }
    cache
}

/// Judges one cell, for every policy that an own user may have; returns how many of these were asked.
fn judge(case: &Case, users: &[UserPolicies]) -> usize {
    let rules = rules(case);
    let (own, partner) = (rules.own_domains[0].clone(), domain(PARTNER));
    let policy = compile(rules, 1).unwrap_or_else(|found| panic!("{case:?}: {found:?}"));
    let (now, dns) = (Now::default(), dns(case));
    let decision = match case.peer {
        Some(host) => {
            let peer = peer(&[host]);
            policy.inbound(now, &Inbound { peer: &peer, from: &partner, to: &own }, &dns)
        }
        None => policy.outbound(now, &Outbound { from: &own, to: &partner }, &dns),
    };
    match (decision, oracle(case)) {
        (Decision::Permit(permit), expected) => {
            assert_eq!(Outcome::Permit(permit.kind()), expected, "{case:?}");
            for asserted in [false, true] {
                let verified = match case.verification {
                    Verification::Always => true,
                    Verification::Source => asserted,
                    Verification::Never => false,
                };
                let (source_type, network) = oracle_of_trust(permit.kind(), case);
                assert_eq!(
                    (
                        permit.source_type(),
                        permit.source_network(),
                        permit.source_verified(asserted)
                    ),
                    (source_type, network, verified),
                    "{case:?}"
                );
            }
            let route = permit.route().map(|route| route.targets().len());
            assert_eq!(route, case.peer.is_none().then_some(1), "{case:?}");
            judge_users(case, &permit, users)
        }
        (Decision::Refuse(refusal), expected) => {
            let got = Outcome::Refuse(refusal.status(), refusal.diagnostics());
            assert_eq!(got, expected, "{case:?}: {}", refusal.sentence());
            // Whom policy refuses, no policy of a user lets pass: he is not asked about.
            0
        }
        (Decision::Ask(question), _) => panic!("{case:?} asks {question:?}"),
    }
}

#[test]
fn s5_every_cell_of_the_table_of_decisions_is_what_the_oracle_says() {
    let statements = [
        Statement::Nothing,
        Statement::AllowedServer,
        Statement::AllowedDomain,
        Statement::ServerBelow,
        Statement::DomainsBelow,
        Statement::OfHostingProvider,
        Statement::OfPublicProvider,
    ];
    let records =
        [None, Some(OWN_EDGE), Some(ELSEWHERE), Some(HOSTING), Some(PUBLIC), Some(STATED)];
    let levels = [Verification::Always, Verification::Source, Verification::Never];
    let peers: Vec<Option<&str>> = HOSTS.into_iter().map(Some).chain([None]).collect();
    let users = user_policies();
    let (mut cells, mut of_users) = (0, 0);
    for statement in statements {
        for record in records {
            for verification in levels {
                for &peer in &peers {
                    for bits in 0..64_u8 {
                        let bit = |place: u8| bits & (1 << place) != 0;
                        let case = Case {
                            statement,
                            record,
                            hosting: bit(0),
                            public: bit(1),
                            default_route: bit(2),
                            discovery: bit(3),
                            blocked: bit(4),
                            hub_is_public: bit(5),
                            verification,
                            peer,
                        };
                        // 5.4: a default route stands alone.
                        if case.default_route && (case.hosting || case.public || case.discovery) {
                            continue;
                        }
                        if case.hub_is_public && !case.default_route {
                            continue;
                        }
                        of_users += judge(&case, &users);
                        cells += 1;
                    }
                }
            }
        }
    }
    assert_eq!(cells, 7 * 6 * 3 * 7 * (2 * 8 + 2 * 2));
    assert!(of_users > 100_000, "every kind is crossed with every user: {of_users}");
}

/// Section 5.1: in a shared address space our own domain is spoken for by the provider that has a
/// part of its users, and by nobody else.
#[test]
fn s5_1_a_shared_domain_is_spoken_for_by_its_provider_alone() {
    for (enabled, shared) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut rules = contoso(Vec::new(), true);
        let own = rules.own_domains[0].clone();
        let shared_domains = if shared { vec![own.clone()] } else { Vec::new() };
        rules.providers = vec![ProviderRule {
            enabled,
            shared: shared_domains,
            ..ProviderRule::new(ProviderKind::Hosting, "online", domain(HOSTING))
        }];
        let policy = compile(rules, 1).expect("no contradiction");
        let address: IpAddr = "9.9.9.9".parse().expect("an address");
        let edge = domain(HOSTING);
        let target = Target {
            fqdn: edge.clone(),
            port: 5061,
            priority: 0,
            weight: 0,
            addresses: vec![address],
            direct_tls: true,
        };
        let question = Question::Host { fqdn: edge, port: 5061 };
        let answer = Answer { question, outcome: Ok(vec![target]), ttl_s: 300 };
        let mut dns = Cache::new([1, 2]);
        dns.put(Now::default(), &Arc::new(answer));
        let open = enabled && shared;
        let judged = |decision| match decision {
            Decision::Permit(permit) => Outcome::Permit(permit.kind()),
            Decision::Refuse(refusal) => Outcome::Refuse(refusal.status(), refusal.diagnostics()),
            Decision::Ask(question) => panic!("asks {question:?}"),
        };
        let expected = |open: bool| match open {
            true => Outcome::Permit(PartnerKind::HostingProvider),
            false => Outcome::Refuse(403, 1017),
        };
        for host in HOSTS {
            let peer = peer(&[host]);
            let question = Inbound { peer: &peer, from: &own, to: &own };
            let decision = policy.inbound(Now::default(), &question, &dns);
            assert_eq!(
                judged(decision),
                expected(open && host == HOSTING),
                "{host} {enabled} {shared}"
            );
        }
        let question = Outbound { from: &own, to: &own };
        let decision = policy.outbound(Now::default(), &question, &dns);
        assert_eq!(judged(decision), expected(open), "{enabled} {shared}");
    }
}
