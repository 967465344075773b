//! What a decision costs: remembered, fresh, and among a million partners.
//!
//! Budgets (DESIGN 12): `policy/verdict_warm` 100 ns, `policy/csv_to_policy_1m` (which holds
//! `policy/csv_1m` and `policy/compile_1m`) 2 s, 64 bytes a domain (printed once by `compile_1m`).
//! A user costs 14 bytes (printed by `users/build_1m`). Results: `benches/record/`.

use std::cell::{Cell, LazyCell};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use entente::config::Config;
use entente::config::lists::PartnerList;
use entente::control::{Side, difference};
use entente::dns::{Cache, Domain};
use entente::policy::scores::Parties;
use entente::policy::users::{
    AccessPolicy, Directory, DirectoryBuilder, Gate, Home, Marks, MarksCount, Role,
};
use entente::policy::{
    Anchors, Decision, Direction, Inbound, Limits, Outbound, PartnerRule, PeerNames,
    RevocationState, Rules, Scores, Snapshot, Verdict, VerdictCache, compile,
};
use entente::time::Now;

// Without optimisation nothing is measured: the parts run once, so that they cannot rot.
const MILLION: usize = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };

fn domain(text: &str) -> Domain {
    Domain::parse(text.as_bytes()).expect("a domain")
}

fn partner_name(place: usize) -> Domain {
    domain(&format!("partner{place}.example"))
}

/// Half of the partners by SRV, half with a stated edge.
fn rules(partners: usize) -> Rules {
    let partners = (0..partners)
        .map(|place| {
            let name = partner_name(place);
            let edge = domain(&format!("sip.{name}"));
            if place % 2 == 0 {
                PartnerRule::allowed_server(name, edge, 5061)
            } else {
                PartnerRule::allowed_domain(name)
            }
        })
        .collect();
    Rules {
        blocked: vec![domain("litware.example").into()],
        partners,
        internal_names: vec![domain("pool.contoso.example")],
        ..Rules::new(
            domain("edge1.contoso.example"),
            domain("sip.contoso.example"),
            domain("lsedge.contoso.example"),
            vec![domain("contoso.example")],
        )
    }
}

fn peer(name: &str) -> PeerNames {
    PeerNames {
        dns_names: vec![domain(name)],
        sip_domains: Vec::new(),
        common_name: None,
        client_auth: true,
        anchors: Anchors::General,
        fingerprint: [9; 32],
        expires_unix_s: u64::MAX,
        revocation: RevocationState::Unknown,
        xmpp: None,
    }
}

fn warm(criterion: &mut Criterion) {
    let snapshot = compile(rules(1_000), 1).expect("no contradiction");
    let (peer, from, to) =
        (peer("sip.partner0.example"), domain("partner0.example"), domain("contoso.example"));
    let now = Now::default();
    let mut cache = VerdictCache::new([3, 4]);
    let key = cache.key(Direction::Inbound, Some(&peer), &from, Some(&to));
    let question = Inbound { peer: &peer, from: &from, to: &to };
    cache.put(now, key, &snapshot.inbound(now, &question, &Cache::new([1, 2])));
    criterion.bench_function("policy/verdict_warm", |bencher| {
        bencher.iter(|| {
            let key =
                cache.key(Direction::Inbound, Some(black_box(&peer)), black_box(&from), Some(&to));
            assert!(matches!(cache.get(now, 1, key), Some(Verdict::Permit(_))));
        });
    });
    criterion.bench_function("policy/is_own", |bencher| {
        bencher.iter(|| assert!(snapshot.is_own(black_box(b"Contoso.Example"))));
    });
}

/// Decides for a hundred thousand partners in an order that no processor cache foresees.
fn decide_all(snapshot: &Snapshot, dns: &Cache, names: &[Domain], peer: &PeerNames, own: &Domain) {
    let now = Now::default();
    for place in 0..names.len() {
        let name = &names[place.wrapping_mul(7_919) % names.len()];
        let inbound = Inbound { peer, from: name, to: own };
        black_box(snapshot.inbound(now, &inbound, dns));
    }
}

fn cold(criterion: &mut Criterion) {
    let dns = Cache::new([1, 2]);
    let (own, peer) = (domain("contoso.example"), peer("sip.partner0.example"));
    for partners in [1_000, MILLION] {
        // Compiled when a bench of this size is chosen, not for every filter.
        let snapshot = LazyCell::new(|| compile(rules(partners), 1).expect("no contradiction"));
        let stride = partners / 1_000;
        let names: Vec<Domain> = (0..1_000).map(|i| partner_name(i * stride)).collect();
        criterion.bench_function(&format!("policy/inbound_cold_1000_of_{partners}"), |bencher| {
            bencher.iter(|| decide_all(&snapshot, &dns, &names, &peer, &own));
        });
        let to = partner_name(partners - 1);
        let outbound = Outbound { from: &own, to: &to };
        criterion.bench_function(&format!("policy/outbound_asks_of_{partners}"), |bencher| {
            bencher.iter(|| {
                let decision = snapshot.outbound(Now::default(), black_box(&outbound), &dns);
                assert!(matches!(decision, Decision::Ask(_)));
            });
        });
    }
}

fn compile_million(criterion: &mut Criterion) {
    let memory = Cell::new(0);
    let mut group = criterion.benchmark_group("policy");
    group.sample_size(10).measurement_time(Duration::from_secs(20));
    group.bench_function("compile_1m", |bencher| {
        bencher.iter_batched(
            || rules(MILLION),
            |rules| {
                let snapshot = compile(rules, 1).expect("no contradiction");
                memory.set(snapshot.memory_bytes());
                snapshot
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
    let bytes = memory.get();
    println!("policy/compile_1m: {bytes} bytes, {} a domain", bytes / MILLION);
}

const CONFIGURATION: &str = include_str!("../tests/fixtures/least.toml");

/// A million rows as an operator would have them: half with a stated edge, some with a date, some
/// with a limit. One in a thousand has another name in another `turn`, and one other limits.
fn list(turn: usize) -> String {
    use std::fmt::Write as _;
    let mut text = "domain,edge,version,messages_per_s,expires,owner,ticket\n".to_owned();
    for place in 0..MILLION {
        let turned = if place % 1_000 == 1 { turn * MILLION } else { 0 };
        let name = format!("partner{}.example", place + turned);
        let edge = if place % 2 == 0 { format!("sip.{name}") } else { String::new() };
        let limit = if place % 1_000 == turn { "500" } else { "" };
        let expires = if place % 10 == 0 { "2099-12-31" } else { "" };
        let _ = writeln!(text, "{name},{edge},lync2013,{limit},{expires},uc team,UC-{place}");
    }
    text
}

/// The least configuration with the list of a `turn`, and its policy.
fn listed(turn: usize, added: &str) -> (Config, Snapshot) {
    let text = format!("{CONFIGURATION}{added}");
    let mut config = entente::config::parse(Path::new("e.toml"), &text).expect("it is sound");
    let list = PartnerList::parse(Path::new("partners.csv"), list(turn)).expect("sound rows");
    config.partner_list = Some(Arc::new(list));
    let policy = compile(entente::control::rules(&config), 1).expect("no contradiction");
    (config, policy)
}

/// What a reload of the million finds out: two thousand changed rows; and all of them judged,
/// because a switch changed that they all rest on.
fn difference_million(criterion: &mut Criterion) {
    let old = LazyCell::new(|| listed(0, ""));
    let mut group = criterion.benchmark_group("policy");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    for (name, turn, added, changed) in [
        ("difference_1m", 1, "", 2 * MILLION / 1_000),
        ("difference_of_all_1m", 0, "[federation]\nenabled = false\n", MILLION),
    ] {
        let new = LazyCell::new(|| listed(turn, added));
        group.bench_function(name, |bencher| {
            let side = |(config, policy)| Side { config, policy };
            let (old, new) = (side((&old.0, &old.1)), side((&new.0, &new.1)));
            bencher.iter(|| {
                let found = difference(&old, &new, Now::default());
                assert!(found.cut_off.count + found.let_in.count >= changed, "{found:?}");
            });
        });
    }
    group.finish();
}

fn list_million(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy");
    group.sample_size(10).measurement_time(Duration::from_secs(20));
    let text = LazyCell::new(|| list(0));
    let read = |text| PartnerList::parse(Path::new("partners.csv"), text).expect("sound rows");
    group.bench_function("csv_1m", |bencher| {
        bencher.iter_batched(|| text.clone(), read, BatchSize::PerIteration);
    });
    let config = entente::config::parse(Path::new("e.toml"), CONFIGURATION).expect("it is sound");
    group.bench_function("csv_to_policy_1m", |bencher| {
        bencher.iter_batched(
            || (config.clone(), text.clone()),
            |(mut config, text)| {
                config.partner_list = Some(Arc::new(read(text)));
                let rules = entente::control::rules(&config);
                (compile(rules, 1).expect("no contradiction"), config)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// A million users of five sites, half of them with a policy of their own.
fn directory(users: usize) -> Directory {
    let policy = |name: &str, federation| AccessPolicy {
        name: name.to_owned(),
        federation,
        ..AccessPolicy::default()
    };
    let policies = vec![
        policy("global", false),
        policy("site:site1", true),
        policy("site:site2", false),
        policy("sales", true),
    ];
    let mut builder = DirectoryBuilder::new([5, 6], policies, MarksCount::Decide, users);
    let mut user = String::new();
    for place in 0..users {
        use std::fmt::Write as _;
        user.clear();
        let _ = write!(user, "first.last{place}");
        let policy = if place % 2 == 0 { "sales" } else { "" };
        let site = ["site0", "site1", "site2", "site3", "site4"][place % 5];
        builder.add(&user, "contoso.example", site, policy, Home::Pool).expect("told apart");
    }
    builder.finish()
}

fn users(criterion: &mut Criterion) {
    let users = LazyCell::new(|| directory(MILLION));
    let names: Vec<String> =
        (0..1_000).map(|place| format!("First.Last{}", place * 7_919 % MILLION)).collect();
    let mut place = 0;
    criterion.bench_function("users/judge_1m", |bencher| {
        bencher.iter(|| {
            place = (place + 1) % names.len();
            let (user, host) = (names[place].as_bytes(), b"Contoso.example");
            black_box(users.judge(user, host, Gate::Federation, Role::Sender, Marks::default()))
                .is_ok()
        });
    });
    let memory = Cell::new(0);
    let mut group = criterion.benchmark_group("users");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.bench_function("build_1m", |bencher| {
        bencher.iter(|| {
            let directory = directory(MILLION);
            memory.set(directory.memory_bytes());
            directory
        });
    });
    group.finish();
    println!("users/build_1m: {} tenths of a byte a user", memory.get() * 10 / MILLION);
}

/// What a message of a partner under limits costs above one without.
fn scores(criterion: &mut Criterion) {
    let scores = Scores::new([7, 8]);
    let limits = Limits { messages_per_s: 1_000_000, ..Limits::default() };
    let parties: Vec<(String, u64)> =
        (0..1_000).map(|place| (format!("stranger{place}.example"), place)).collect();
    let mut tick = 0_u64;
    criterion.bench_function("scores/charge_and_address", |bencher| {
        bencher.iter(|| {
            tick += 1;
            let (domain, certificate) = &parties[(tick % 1_000) as usize];
            let now = Now::default().plus_ms(tick);
            let parties = Parties {
                domain: domain.as_bytes(),
                listed: false,
                domain_key: scores.domain_key(domain.as_bytes()),
                certificate: *certificate,
                host: "sip.stranger.example",
            };
            let toll = scores.charge(now, &parties, &limits);
            let user = scores.address(now, &parties, b"first.last", b"contoso.example", &limits);
            black_box((toll, user))
        });
    });
}

criterion_group!(
    benches,
    warm,
    cold,
    compile_million,
    users,
    scores,
    list_million,
    difference_million
);
criterion_main!(benches);
