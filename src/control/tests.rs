//! Edges that really run, on loopback.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fixture::{free_ports, world};
use super::*;
use crate::admin::{Outcome, Reply};
use crate::config::{self, Config, Poller};

fn text(poller: Poller) -> String {
    let poller = match poller {
        Poller::Auto => "auto",
        Poller::IoUring => "io_uring",
        Poller::Epoll => "epoll",
    };
    let [federation, internal] = free_ports();
    format!(
        r#"[edge]
external_fqdn = "sip.contoso.example"
domains = ["contoso.example"]
shards = 2
poller = "{poller}"
drain_notice_s = 0
drain_timeout_s = 5
[[listener]]
address = "127.0.0.1:{}"
class = "federation"
[[listener]]
address = "127.0.0.1:{}"
class = "internal"
[[identity]]
certificate = "sip.pem"
key = "sip.key"
[tls]
trust = ["ca.pem"]
[[next_hop]]
name = "pool.contoso.example"
[dns]
servers = ["127.0.0.1:53"]
[management]
listen = ["127.0.0.1:0"]
"#,
        federation, internal
    )
}

fn parse(directory: &Path, text: &str) -> Config {
    config::parse(&directory.join("e.toml"), text).unwrap_or_else(|report| panic!("{report}"))
}

fn ask(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits until nobody listens on `address`: the kernel takes a ring apart after its thread is gone.
fn closes(address: SocketAddr) -> bool {
    (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        TcpStream::connect(address).is_err()
    })
}

#[test]
fn an_edge_starts_tells_of_itself_and_drains() {
    for poller in [Poller::Epoll, Poller::Auto] {
        let directory = world(&["sip.contoso.example"]);
        let config = parse(directory.path(), &text(poller));
        let listener = config.listeners[0].address;
        let running = start(config, Options::default()).unwrap();
        let management = running.management()[0];
        assert!(ask(management, "/readyz").starts_with("HTTP/1.1 200"));
        assert!(ask(management, "/livez").starts_with("HTTP/1.1 200"));
        let status = ask(management, "/status");
        assert!(status.contains("\"stage\": \"serving\""), "{status}");
        let metrics = ask(management, "/metrics");
        assert!(metrics.contains("entente_control_config_epoch 1\n"), "{metrics}");
        assert!(metrics.contains("entente_access_pings_total 0\n"), "{metrics}");
        assert!(metrics.contains("entente_shard_turns_total{shard=\"1\"}"), "{metrics}");
        drop(TcpStream::connect(listener).unwrap());
        running.drain_and_wait().unwrap();
        assert!(closes(listener));
        assert!(closes(management));
    }
}

#[test]
fn a_reload_takes_everything_or_nothing() {
    let directory = world(&["sip.contoso.example"]);
    let text = text(Poller::Epoll);
    let running = start(parse(directory.path(), &text), Options::default()).unwrap();
    let path = directory.path().join("e.toml");
    let mut reloads = Reloads::new(path.clone());
    let mut reload = |text: &str| {
        std::fs::write(&path, text).unwrap();
        reloads.reload(&running, None, "a test")
    };
    let refusal = |reply: Reply| {
        assert_eq!(reply.outcome, Outcome::Refused);
        reply.body["error"].as_str().unwrap_or_default().to_owned()
    };

    let partner = format!("{text}[[partner]]\ndomain = \"fabrikam.example\"\n");
    let done = reload(&partner);
    assert_eq!(done.outcome, Outcome::Done);
    assert_eq!(done.body["difference"]["sentences"][0], "fabrikam.example gets in");
    assert_eq!(running.epoch(), 2);

    let moved = partner.replace("shards = 2", "shards = 1").replace("fabrikam", "tailspin");
    let place = path.display();
    let only = format!("only a restart changes edge.shards ({place}:4)");
    assert_eq!(refusal(reload(&moved)), only);

    let wrong_key = partner.replace("sip.key", "other.key").replace("fabrikam", "tailspin");
    let refused = refusal(reload(&wrong_key));
    assert!(refused.contains("is not the private key of"), "{refused}");
    assert_eq!(running.epoch(), 2, "nothing of it is in force");

    let metrics = ask(running.management()[0], "/metrics");
    let expected = "entente_control_reloads_total{result=\"refused\"} 2\n";
    assert!(metrics.contains(expected), "{metrics}");
    assert!(metrics.contains("entente_control_partners 1\n"), "{metrics}");
    running.drain_and_wait().unwrap();
}

#[test]
fn rows_of_a_list_count_as_partners() {
    let directory = world(&["sip.contoso.example"]);
    let rows = "domain\nfabrikam.example\ntailspin.example\n";
    std::fs::write(directory.path().join("partners.csv"), rows).unwrap();
    let text = format!("{}[federation]\npartners_csv = \"partners.csv\"\n", text(Poller::Epoll));
    std::fs::write(directory.path().join("e.toml"), text).unwrap();
    let config = config::load(&directory.path().join("e.toml")).unwrap();
    let running = start(config, Options::default()).unwrap();
    let metrics = ask(running.management()[0], "/metrics");
    assert!(metrics.contains("entente_control_partners 2\n"), "{metrics}");
    running.drain_and_wait().unwrap();
}

#[test]
fn two_edges_run_in_one_process_and_not_on_one_address() {
    let (one, two) = (world(&["sip.contoso.example"]), world(&["sip.contoso.example"]));
    let first = parse(one.path(), &text(Poller::Epoll));
    let same = first.clone();
    let address = first.listeners[0].address;
    let first = start(first, Options::default()).unwrap();
    let second = start(parse(two.path(), &text(Poller::Epoll)), Options::default()).unwrap();
    let refused = start(same, Options::default()).unwrap_err().to_string();
    let process = std::process::id();
    assert_eq!(refused, format!("{address} is served already by process {process}"));
    drop(second);
    assert!(ask(first.management()[0], "/readyz").starts_with("HTTP/1.1 200"));
    first.drain_and_wait().unwrap();
}

#[test]
fn a_socket_of_the_service_manager_serves_the_listener_of_its_address() {
    let directory = world(&["sip.contoso.example"]);
    let config = parse(directory.path(), &text(Poller::Epoll));
    let address = config.listeners[1].address;
    let passed = TcpListener::bind(address).unwrap();
    let held = passed.try_clone().unwrap();
    let options = Options { sockets: vec![passed], ..Options::default() };
    let running = start(config.clone(), options).unwrap();
    drop(TcpStream::connect(address).unwrap());
    running.drain_and_wait().unwrap();
    assert!(TcpStream::connect(address).is_ok(), "it stays open for the next process");
    drop(held);

    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = stranger.local_addr().unwrap();
    let options = Options { sockets: vec![stranger], ..Options::default() };
    let refused = start(config, options).unwrap_err().to_string();
    assert_eq!(
        refused,
        format!("a socket for {other} was passed, which no listener of the configuration names")
    );
}

#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    let directory = world(&["sip.contoso.example"]);
    let text = text(Poller::Epoll);
    std::fs::remove_file(directory.path().join("ca.pem")).unwrap();
    let config = parse(directory.path(), &text);
    let listener = config.listeners[0].address;
    let refused = start(config, Options::default()).unwrap_err().to_string();
    assert!(refused.contains("ca.pem: cannot be read"), "{refused}");
    assert!(TcpStream::connect(listener).is_err());
}

#[test]
fn only_allowed_networks_are_told_anything() {
    let directory = world(&["sip.contoso.example"]);
    let closed = format!("{}allow = [\"192.0.2.0/24\"]\n", text(Poller::Epoll));
    let running = start(parse(directory.path(), &closed), Options::default()).unwrap();
    assert!(ask(running.management()[0], "/metrics").starts_with("HTTP/1.1 403"));
    running.drain_and_wait().unwrap();
}

/// Symptom: after a roll-back or `ctl shadow` the exporter told the end of a certificate that was
/// not served. Cause: it was read from disk again while what had been loaded stayed in force.
#[test]
fn the_end_of_a_certificate_is_told_as_it_is_served() {
    let directory = world(&["sip.contoso.example"]);
    let text = text(Poller::Epoll);
    let running = start(parse(directory.path(), &text), Options::default()).unwrap();
    let ends = |running: &Running| {
        let metrics = ask(running.management()[0], "/metrics");
        let line = metrics.lines().find(|line| line.contains("not_after_seconds{")).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let served = ends(&running);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut other = rcgen::CertificateParams::new(vec!["sip.contoso.example".to_owned()]).unwrap();
    other.not_after = rcgen::date_time_ymd(2035, 1, 1);
    let other = other.self_signed(&key).unwrap();
    std::fs::write(directory.path().join("sip.pem"), other.pem()).unwrap();
    let file = directory.path().join("e.toml");
    std::fs::write(&file, &text).unwrap();
    let mut reloads = Reloads::new(file);
    let shadow = crate::admin::Command::Shadow { file: None };
    let edition = running.published.material.load().edition();
    reloads.carry_out(&running, &shadow, "a test");
    assert_eq!(running.epoch(), 2);
    assert_eq!(running.published.material.load().edition(), edition, "no leg is judged again");
    assert_eq!(ends(&running), served);
    std::fs::write(directory.path().join("sip.key"), key.serialize_pem()).unwrap();
    reloads.reload(&running, None, "a test");
    assert_eq!(ends(&running), "2051222400", "2035-01-01");
    running.drain_and_wait().unwrap();
}

/// What `bytes` brings on a stream until `last` has come.
fn hear(stream: &mut TcpStream, last: &str) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (mut heard, mut room) = (String::new(), [0; 4096]);
    // Bound: the peer's silence or end.
    while !heard.contains(last) {
        let read = stream.read(&mut room).unwrap();
        assert!(read > 0, "it ended after {heard}");
        heard.push_str(std::str::from_utf8(&room[..read]).unwrap());
    }
    heard
}

#[test]
fn an_edge_serves_sip_and_xmpp_side_by_side_and_ends_streams_when_it_drains() {
    for poller in [Poller::Epoll, Poller::Auto] {
        let directory = world(&["sip.contoso.example", "contoso.example"]);
        let [xmpp, link] = free_ports();
        let text = text(poller)
            + &format!(
                r#"[[listener]]
address = "127.0.0.1:{xmpp}"
class = "xmpp"
[[listener]]
address = "127.0.0.1:{link}"
class = "xmpp_link"
[xmpp]
gateways = ["gw.contoso.example"]
[[xmpp_partner]]
domain = "partner.example"
kind = "federated"
"#
            );
        let running = start(parse(directory.path(), &text), Options::default()).unwrap();
        let management = running.management()[0];
        let connect = || TcpStream::connect(("127.0.0.1", xmpp)).unwrap();
        let header = |from: &str| {
            format!(
                "<?xml version='1.0'?><stream:stream from='{from}' to='contoso.example' \
                 version='1.0' xmlns='jabber:server' \
                 xmlns:stream='http://etherx.jabber.org/streams'>"
            )
        };
        let mut stranger = connect();
        stranger.write_all(header("stranger.example").as_bytes()).unwrap();
        let heard = hear(&mut stranger, "</stream:stream>");
        assert!(heard.contains("<stream:error>"), "{heard}");
        let mut partner = connect();
        partner.write_all(header("partner.example").as_bytes()).unwrap();
        let heard = hear(&mut partner, "</stream:features>");
        assert!(heard.contains("urn:ietf:params:xml:ns:xmpp-tls"), "{heard}");
        let counted = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            ask(management, "/metrics").contains("entente_xmpp_proxy_streams_accepted_total 2\n")
        });
        assert!(counted, "{}", ask(management, "/metrics"));
        let drained = std::thread::spawn(move || running.drain_and_wait());
        let heard = hear(&mut partner, "</stream:stream>");
        assert!(heard.contains("system-shutdown"), "{heard}");
        drained.join().unwrap().unwrap();
    }
}

#[test]
fn a_gateway_links_with_the_proxy_of_its_own_process_and_keeps_its_store() {
    for poller in [Poller::Epoll, Poller::Auto] {
        let directory = world(&["sip.contoso.example", "contoso.example"]);
        let [xmpp, link, sip] = free_ports();
        let text = text(poller)
            + &format!(
                r#"[[listener]]
address = "127.0.0.1:{xmpp}"
class = "xmpp"
[[listener]]
address = "127.0.0.1:{link}"
class = "xmpp_link"
[xmpp]
gateways = ["sip.contoso.example"]
[[xmpp_partner]]
domain = "partner.example"
kind = "federated"
[gateway]
listen = ["127.0.0.1:{sip}"]
store = "{}/gateway.redb"
[[gateway_edge]]
name = "sip.contoso.example"
port = {link}
addresses = ["127.0.0.1"]
[addresses]
allow_networks = ["127.0.0.0/8"]
"#,
                directory.path().display()
            );
        let running = start(parse(directory.path(), &text), Options::default()).unwrap();
        let management = running.management()[0];
        let links = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            let metrics = ask(management, "/metrics");
            metrics.contains("entente_gateway_links 1\n")
                && metrics.contains("entente_xmpp_proxy_links_total 1\n")
        });
        assert!(links, "{}", ask(management, "/metrics"));
        let in_use = start(parse(directory.path(), &text), Options::default()).unwrap_err();
        assert!(in_use.to_string().contains("in use"), "{in_use}");
        running.drain_and_wait().unwrap();
        std::fs::write(directory.path().join("gateway.redb"), "no store at all").unwrap();
        let damaged = start(parse(directory.path(), &text), Options::default()).unwrap_err();
        assert!(damaged.to_string().contains("is damaged"), "{damaged}");
    }
}

/// Writes the configuration of an edge that has nothing but a relay; returns it, its path, and
/// where the relay listens.
fn relay_alone(directory: &Path) -> (String, PathBuf, std::net::SocketAddr) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    drop(socket);
    let text = format!(
        "[edge]\nexternal_fqdn = \"sip.contoso.example\"\ndomains = [\"contoso.example\"]\n\
         drain_notice_s = 0\ndrain_timeout_s = 5\n\
         [management]\nlisten = [\"127.0.0.1:0\"]\n\
         [[av_listener]]\naddress = \"{address}\"\n\
         [[av_listener]]\naddress = \"{address}\"\ntransport = \"tcp\"\n\
         [av]\nrelayed = [\"127.0.0.9\"]\nsecrets = \"turn-secrets.txt\"\n"
    );
    std::fs::write(directory.join("turn-secrets.txt"), "a-secret-of-enough-length").unwrap();
    let path = directory.join("e.toml");
    std::fs::write(&path, &text).unwrap();
    (text, path, address)
}

/// Media ends before signalling may: what is scraped between shows nothing of what is gone.
#[test]
fn a_relay_that_has_ended_has_nothing_and_what_it_counted_stays() {
    let directory = tempfile::tempdir().unwrap();
    let (_, path, address) = relay_alone(directory.path());
    let config = config::load(&path).unwrap_or_else(|report| panic!("{report}"));
    let running = start(config, Options::default()).unwrap();
    let management = running.management()[0];
    let shows = |expected: &[&str]| {
        let mut told = String::new();
        let shown = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            told = ask(management, "/metrics");
            expected.iter().all(|line| told.contains(&format!("\n{line}\n")))
        });
        assert!(shown, "{expected:?} not in {told}");
        told
    };
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    // An Allocate without credentials (RFC 8656 section 7.1), which is challenged.
    let allocate =
        [&[0, 3, 0, 8, 0x21, 0x12, 0xA4, 0x42][..], &[7; 12], &[0, 25, 0, 4, 17, 0, 0, 0]];
    client.send_to(&allocate.concat(), address).unwrap();
    let stream = TcpStream::connect(address).unwrap();
    let challenged = "entente_relay_errors_total{code=\"challenge\"} 1";
    let told = shows(&["entente_relay_streams 1", "entente_relay_free_ports 10000", challenged]);
    let threads: Vec<&str> =
        told.lines().filter(|line| line.starts_with("entente_relay_threads{")).collect();
    let [one] = threads[..] else { panic!("{threads:?}") };
    let none = format!("{}0", one.strip_suffix('1').unwrap());

    running.board.relays.end();
    let draining = "entente_relay_draining 1";
    let told = shows(&[&none, "entente_relay_streams 0", draining, challenged]);
    assert!(!told.contains("\nentente_relay_free_ports "), "{told}");
    assert!(told.contains("\nentente_relay_allocations{class=\"udp\"} 0\n"), "{told}");
    let status = crate::admin::RelayOrder::Status;
    let refused = running.relay(&status, "a test");
    assert_eq!(refused.outcome, Outcome::Conflict);
    assert_eq!(refused.body["error"], "the A/V Edge has ended: the edge drains");
    drop(stream);
    running.drain_and_wait().unwrap();
}

#[test]
fn a_relay_alone_starts_is_told_of_reloads_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let (text, path, address) = relay_alone(directory.path());
    let config = config::load(&path).unwrap_or_else(|report| panic!("{report}"));
    let running = start(config, Options::default()).unwrap();
    let management = running.management()[0];
    let told = format!("\"{address}\"");
    assert!(ask(management, "/status").contains(&told));
    assert!(ask(management, "/metrics").contains("entente_relay_allocations{class=\"udp\"} 0\n"));
    drop(TcpStream::connect(address).unwrap());
    let mut reloads = Reloads::new(path.clone());
    std::fs::write(&path, format!("{text}allocations = 7\n")).unwrap();
    assert_eq!(reloads.reload(&running, None, "a test").outcome, Outcome::Done);
    std::fs::write(&path, format!("{text}ports_first = 40000\n")).unwrap();
    let refused = reloads.reload(&running, None, "a test");
    assert_eq!(refused.outcome, Outcome::Refused);
    assert!(refused.body["error"].as_str().unwrap().contains("av.ports_first"));
    let list = crate::admin::Command::Relay(crate::admin::RelayOrder::List { skip: 0 });
    let listed = reloads.carry_out(&running, &list, "a test");
    assert_eq!(listed.body["allocations"], 0);
    running.drain_and_wait().unwrap();
    std::net::UdpSocket::bind(address).expect("its socket is closed");
    assert!(closes(address));
}
