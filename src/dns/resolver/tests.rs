//! Against a real server (hickory's) in process on loopback, and against sockets that misbehave.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_resolver::proto::rr::{LowerName, Name, Record};
use hickory_server::Server;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::time::Monotonic;

fn domain(text: &str) -> Domain {
    Domain::parse(text.as_bytes()).unwrap()
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn question(domain_name: &str) -> Question {
    Question::Federation(domain(domain_name))
}

fn srv(ttl_s: u32, owner: &str, priority: u16, weight: u16, target: &str) -> Record {
    let owner = name(&format!("_sipfederationtls._tcp.{owner}"));
    let srv = SRV::new(priority, weight, 5061, name(target));
    Record::from_rdata(owner, ttl_s, RData::SRV(srv))
}

fn a(ttl_s: u32, owner: &str, address: [u8; 4]) -> Record {
    Record::from_rdata(name(owner), ttl_s, RData::A(A(Ipv4Addr::from(address))))
}

fn aaaa(ttl_s: u32, owner: &str, address: &str) -> Record {
    Record::from_rdata(name(owner), ttl_s, RData::AAAA(AAAA(address.parse().unwrap())))
}

fn zone(origin: &str, negative_ttl_s: u32, records: Vec<Record>) -> (LowerName, Catalogued) {
    let origin = name(origin);
    let mut zone: InMemoryZoneHandler<TokioRuntimeProvider> =
        InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny);
    let soa = SOA::new(origin.clone(), origin.clone(), 1, 60, 60, 60, negative_ttl_s);
    zone.upsert_mut(Record::from_rdata(origin.clone(), 3_600, RData::SOA(soa)), 1);
    for record in records {
        zone.upsert_mut(record, 1);
    }
    (LowerName::new(&origin), Arc::new(zone))
}

type Catalogued = Arc<dyn hickory_server::zone_handler::ZoneHandler>;

/// Serves the zones on a free loopback port until the server is dropped.
async fn serving(zones: Vec<(LowerName, Catalogued)>) -> (Server<Catalog>, SocketAddr) {
    let mut catalog = Catalog::new();
    for (origin, zone) in zones {
        catalog.upsert(origin, vec![zone]);
    }
    let mut server = Server::new(catalog);
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
    server.register_socket(socket);
    server.register_listener(listener, Duration::from_secs(5), 4_096);
    (server, address)
}

fn resolver(server: SocketAddr) -> Resolver {
    Resolver::new(&settings(server), 1).unwrap()
}

fn settings(server: SocketAddr) -> Settings {
    let servers = vec![server];
    Settings { servers, timeout_ms: 300, attempts: 1, hold_down_s: 30, sips_srv: false }
}

async fn example() -> (Server<Catalog>, SocketAddr) {
    let canonical = CNAME(name("front.fabrikam.example."));
    serving(vec![
        zone(
            "fabrikam.example.",
            7,
            vec![
                srv(300, "fabrikam.example.", 10, 60, "sip.fabrikam.example."),
                srv(300, "fabrikam.example.", 5, 0, "sip2.fabrikam.example."),
                a(120, "sip.fabrikam.example.", [192, 0, 2, 1]),
                a(120, "sip.fabrikam.example.", [192, 0, 2, 2]),
                aaaa(240, "sip.fabrikam.example.", "2001:db8::1"),
                a(600, "front.fabrikam.example.", [192, 0, 2, 3]),
                Record::from_rdata(name("sip2.fabrikam.example."), 90, RData::CNAME(canonical)),
            ],
        ),
        zone("litware.example.", 86_400, Vec::new()),
        zone(
            "adatum.example.",
            3_600,
            vec![srv(60, "adatum.example.", 0, 0, "sip.adatum.example.")],
        ),
        zone("refusing.example.", 7, vec![srv(60, "refusing.example.", 0, 0, ".")]),
    ])
    .await
}

#[tokio::test]
async fn a_federation_question_finds_targets_with_all_their_addresses() {
    let (_server, address) = example().await;
    let answer = resolver(address).answer(&question("fabrikam.example")).await;
    let targets = answer.outcome.unwrap();
    let found: Vec<_> = targets.iter().map(|t| (t.fqdn.as_str(), t.priority, t.weight)).collect();
    assert_eq!(found, [("sip2.fabrikam.example", 5, 0), ("sip.fabrikam.example", 10, 60)]);
    let addresses = |place: usize| {
        let mut texts: Vec<String> =
            targets[place].addresses.iter().map(ToString::to_string).collect();
        texts.sort();
        texts
    };
    assert_eq!(addresses(0), ["192.0.2.3"]);
    assert_eq!(addresses(1), ["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    // The shortest life of anything it rests on: the alias.
    assert_eq!(answer.ttl_s, 90);
}

fn xmpp_srv(service: &str, owner: &str, priority: u16, port: u16, target: &str) -> Record {
    let owner = name(&format!("{service}._tcp.{owner}.example."));
    let srv = SRV::new(priority, 0, port, name(target));
    Record::from_rdata(owner, 300, RData::SRV(srv))
}

/// RFC 6120 section 3.2, XEP-0368 section 4.
#[tokio::test]
async fn an_xmpp_question_orders_both_kinds_of_server_and_falls_back_to_the_domain_itself() {
    let (_server, address) = serving(vec![zone(
        "example.",
        7,
        vec![
            xmpp_srv("_xmpp-server", "both", 10, 5269, "clear.example."),
            xmpp_srv("_xmpps-server", "both", 5, 5270, "direct.example."),
            xmpp_srv("_xmpps-server", "direct", 0, 443, "direct.example."),
            xmpp_srv("_xmpp-server", "none", 0, 0, "."),
            a(60, "clear.example.", [192, 0, 2, 1]),
            a(60, "direct.example.", [192, 0, 2, 2]),
            a(60, "bare.example.", [192, 0, 2, 3]),
            a(60, "none.example.", [192, 0, 2, 4]),
        ],
    )])
    .await;
    let resolver = resolver(address);
    let asked = async |name: &str| {
        let answer = resolver.answer(&Question::Xmpp(domain(name))).await;
        answer.outcome.map(|targets| {
            let told = |t: &Target| (t.fqdn.to_string(), t.port, t.direct_tls);
            targets.iter().map(told).collect::<Vec<_>>()
        })
    };
    let clear = ("clear.example".to_owned(), 5269, false);
    let direct = |port| ("direct.example".to_owned(), port, true);
    assert_eq!(asked("both.example").await, Ok(vec![direct(5270), clear]));
    assert_eq!(asked("direct.example").await, Ok(vec![direct(443)]));
    assert_eq!(asked("bare.example").await, Ok(vec![("bare.example".to_owned(), 5269, false)]));
    assert_eq!(asked("none.example").await, Err(Failure::ServiceRefused), "no fallback from that");
}

#[tokio::test]
async fn the_record_of_rfc_3263_counts_only_by_setting_and_only_where_there_is_no_other() {
    let service = |service: &str, owner: &str, target: &str| {
        let owner = name(&format!("{service}._tcp.{owner}.example."));
        let srv = SRV::new(0, 0, 5061, name(&format!("{target}.example.")));
        Record::from_rdata(owner, 300, RData::SRV(srv))
    };
    let (_server, address) = serving(vec![zone(
        "example.",
        7,
        vec![
            service("_sips", "one", "sips.one"),
            service("_sips", "both", "sips.both"),
            service("_sipfederationtls", "both", "sip.both"),
            a(60, "sips.one.example.", [192, 0, 2, 1]),
            a(60, "sips.both.example.", [192, 0, 2, 2]),
            a(60, "sip.both.example.", [192, 0, 2, 3]),
        ],
    )])
    .await;
    let found = async |sips_srv, of| {
        let settings = Settings { sips_srv, ..settings(address) };
        let answer = Resolver::new(&settings, 1).unwrap().answer(&question(of)).await;
        answer.outcome.map(|targets| targets[0].fqdn.to_string())
    };
    assert_eq!(found(false, "one.example").await, Err(Failure::NoSuchService));
    assert_eq!(found(true, "one.example").await.as_deref(), Ok("sips.one.example"));
    assert_eq!(found(true, "both.example").await.as_deref(), Ok("sip.both.example"));
    assert_eq!(found(true, "neither.example").await, Err(Failure::NoSuchService));
}

#[tokio::test]
async fn an_answer_too_large_for_a_datagram_comes_whole_and_is_cut_to_the_best() {
    let records = (0..100_u16)
        .flat_map(|i| {
            let host = format!("sip{i}.wingtip.example.");
            [srv(60, "wingtip.example.", 100 - i, 0, &host), a(60, &host, [192, 0, 2, 1])]
        })
        .collect();
    let (_server, address) = serving(vec![zone("wingtip.example.", 7, records)]).await;
    let answer = resolver(address).answer(&question("wingtip.example")).await;
    let targets = answer.outcome.unwrap();
    let priorities: Vec<u16> = targets.iter().map(|target| target.priority).collect();
    assert_eq!(priorities, (1..=16).collect::<Vec<u16>>());
    assert!(targets.iter().all(|target| target.addresses.len() == 1));
}

#[tokio::test]
async fn a_host_question_carries_its_port_through() {
    let (_server, address) = example().await;
    let fqdn = domain("sip.fabrikam.example");
    let answer = resolver(address).answer(&Question::Host { fqdn, port: 5099 }).await;
    let targets = answer.outcome.unwrap();
    assert_eq!((targets.len(), targets[0].port), (1, 5099));
    assert_eq!(targets[0].addresses.len(), 3);
    assert_eq!(answer.ttl_s, 120);
}

#[tokio::test]
async fn what_a_zone_does_not_have_is_held_down_as_long_as_it_says_within_bounds() {
    let (_server, address) = example().await;
    let resolver = resolver(address);
    let cases = [
        ("nobody.fabrikam.example", Failure::NoSuchService, 7),
        ("litware.example", Failure::NoSuchService, 900),
        ("adatum.example", Failure::NoAddress, 900),
        ("refusing.example", Failure::ServiceRefused, 60),
    ];
    for (of, failure, ttl_s) in cases {
        let answer = resolver.answer(&question(of)).await;
        assert_eq!((answer.outcome, answer.ttl_s), (Err(failure), ttl_s), "{of}");
    }
    let fqdn = domain("nobody.fabrikam.example");
    let answer = resolver.answer(&Question::Host { fqdn, port: 5061 }).await;
    assert_eq!((answer.outcome, answer.ttl_s), (Err(Failure::NoAddress), 7));
}

#[tokio::test]
async fn a_server_that_refuses_is_a_failure_held_down_with_jitter() {
    let (_server, address) = example().await;
    let resolver = resolver(address);
    let mut held = Vec::new();
    for i in 0..8 {
        let answer = resolver.answer(&question(&format!("d{i}.northwind.example"))).await;
        assert_eq!(answer.outcome, Err(Failure::ServerFailure));
        assert!((23..=37).contains(&answer.ttl_s), "{}", answer.ttl_s);
        held.push(answer.ttl_s);
    }
    held.sort_unstable();
    held.dedup();
    assert!(held.len() > 1, "everything would be asked again at once");
}

#[tokio::test]
async fn a_server_that_is_silent_is_a_timeout() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let resolver = resolver(silent.local_addr().unwrap());
    let answer = resolver.answer(&question("fabrikam.example")).await;
    assert!(
        matches!(answer.outcome, Err(Failure::Timeout | Failure::ServerFailure)),
        "{:?}",
        answer.outcome
    );
    assert!((23..=37).contains(&answer.ttl_s));
}

/// Answers each query with SERVFAIL after a while, and counts them.
async fn failing(asked: Arc<AtomicUsize>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut message = [0_u8; 512];
        while let Ok((length, from)) = socket.recv_from(&mut message).await {
            asked.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
            message[2] |= 0x80;
            message[3] = (message[3] & 0xf0) | 2;
            let _ = socket.send_to(&message[..length], from).await;
        }
    });
    address
}

#[tokio::test]
async fn a_dead_server_is_asked_once_for_all_shards_and_messages() {
    let count = Arc::new(AtomicUsize::new(0));
    let server = failing(count.clone()).await;
    let (ask, questions) = mpsc::channel(64);
    let (told, mut answers) = mpsc::unbounded_channel();
    let service =
        serve(resolver(server), Clock::start(), [1, 2], questions, move |shard, answer| {
            let _ = told.send((shard, answer));
        });
    let service = tokio::spawn(service);
    let question = question("fabrikam.example");
    for shard in [0, 1, 2, 1] {
        ask.send(Asked { shard, question: question.clone() }).await.unwrap();
    }
    let mut waited = Vec::new();
    for _ in 0..3 {
        let (shard, answer) = answers.recv().await.unwrap();
        assert_eq!(answer.outcome, Err(Failure::ServerFailure));
        waited.push(shard);
    }
    assert_eq!(waited, [0, 1, 2]);
    let first_time = count.load(Ordering::Relaxed);
    // Held down: shard 3 is told at once and the server hears nothing.
    ask.send(Asked { shard: 3, question: question.clone() }).await.unwrap();
    let (shard, answer) = answers.recv().await.unwrap();
    assert_eq!((shard, &answer.outcome), (3, &Err(Failure::ServerFailure)));
    assert_eq!(count.load(Ordering::Relaxed), first_time);
    // hickory may repeat the one question to the server, but only for the first asker.
    assert!((1..=2).contains(&first_time), "{first_time} queries");
    drop(ask);
    service.await.unwrap();
    assert!(answers.recv().await.is_none(), "each asker is answered once");
}

fn at_s(seconds: u64) -> Now {
    Now { monotonic: Monotonic(0).plus_ms(seconds * 1_000), unix_s: seconds }
}

#[test]
fn a_late_asker_gets_the_time_that_is_left() {
    let mut desk = Desk { cache: Cache::new([1, 2]), waiting: HashMap::new() };
    let question = question("fabrikam.example");
    let asked = |shard| Asked { shard, question: question.clone() };
    assert!(matches!(desk.ask(at_s(0), &asked(0)), Step::Resolve));
    assert!(matches!(desk.ask(at_s(0), &asked(1)), Step::Wait));
    let outcome = Err(Failure::NoSuchService);
    let answer = Arc::new(Answer { question: question.clone(), outcome, ttl_s: 60 });
    assert_eq!(desk.answered(at_s(1), &answer), [0, 1]);
    let Step::Deliver(aged) = desk.ask(at_s(41), &asked(2)) else { panic!("not known") };
    assert_eq!(aged.ttl_s, 20);
    assert!(matches!(desk.ask(at_s(61), &asked(2)), Step::Resolve));
}

#[test]
fn a_question_out_for_too_long_is_still_out_only_once() {
    let mut desk = Desk { cache: Cache::new([1, 2]), waiting: HashMap::new() };
    let asked = |shard| Asked { shard, question: question("fabrikam.example") };
    assert!(matches!(desk.ask(at_s(0), &asked(0)), Step::Resolve));
    let late = Now::default().plus_ms(limits::DNS_PENDING_MS);
    assert!(matches!(desk.ask(late, &asked(1)), Step::Wait));
}
