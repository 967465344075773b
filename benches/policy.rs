//! What a decision costs: remembered, fresh, and among a million partners.
//!
//! Budgets (DESIGN 12): `policy/verdict_warm` 100 ns, `policy/csv_to_policy_1m` (which holds
//! `policy/csv_1m` and `policy/compile_1m`) 2 s, 64 bytes a domain (printed once by `compile_1m`).

use std::cell::{Cell, LazyCell};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use entente::config::lists::PartnerList;
use entente::dns::{Cache, Domain};
use entente::policy::{
    AddressRule, Anchors, Decision, Direction, FederationSwitches, Inbound, Outbound, PartnerRule,
    PeerNames, RemoteUserSwitches, Rules, Snapshot, Verdict, VerdictCache, compile,
};
use entente::time::Now;

const MILLION: usize = 1_000_000;

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
        node: domain("edge1.contoso.example"),
        external_fqdn: domain("sip.contoso.example"),
        internal_fqdn: domain("lsedge.contoso.example"),
        own_domains: vec![domain("contoso.example")],
        federation: FederationSwitches::default(),
        remote_users: RemoteUserSwitches::default(),
        blocked: vec![domain("litware.example").into()],
        partners,
        providers: Vec::new(),
        default_route: None,
        internal_names: vec![domain("pool.contoso.example")],
        next_hops: Vec::new(),
        addresses: AddressRule::default(),
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

const CONFIGURATION: &str = r#"
[edge]
external_fqdn = "sip.contoso.example"
domains = ["contoso.example"]
[[listener]]
address = "192.0.2.1:5061"
class = "federation"
[[identity]]
certificate = "sip.pem"
key = "sip.key"
[[next_hop]]
name = "pool.contoso.example"
"#;

/// A million rows as an operator would have them: half with a stated edge, some with a date.
fn list() -> String {
    use std::fmt::Write as _;
    let mut text = "domain,edge,version,expires,owner,ticket\n".to_owned();
    for place in 0..MILLION {
        let edge =
            if place % 2 == 0 { format!("sip.partner{place}.example") } else { String::new() };
        let expires = if place % 10 == 0 { "2099-12-31" } else { "" };
        let _ =
            writeln!(text, "partner{place}.example,{edge},lync2013,{expires},uc team,UC-{place}");
    }
    text
}

fn list_million(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy");
    group.sample_size(10).measurement_time(Duration::from_secs(20));
    let text = LazyCell::new(list);
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

criterion_group!(benches, warm, cold, compile_million, list_million);
criterion_main!(benches);
