//! `entente explain` as a command, and what it finds at the door of an edge that runs.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// A name server for whom every host is at one address.
struct Names {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Names {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Names {
    fn start(host: [u8; 4]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut query = [0; 512];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut query) else { continue };
                let _ = socket.send_to(&answer(&query[..length], host), from);
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

/// Answers one question (RFC 1035 section 4.1): A with `host`, anything else with nothing.
fn answer(query: &[u8], host: [u8; 4]) -> Vec<u8> {
    let mut end = 12;
    while query[end] != 0 {
        end += 1 + usize::from(query[end]);
    }
    let question = &query[12..end + 5];
    let is_a = query[end + 1..end + 3] == [0, 1];
    let mut answer = query[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
    answer.extend(question);
    if is_a {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(host);
    }
    answer
}

fn explain(world: &World, arguments: &[&str]) -> Output {
    let mut entente = Command::new(env!("CARGO_BIN_EXE_entente"));
    entente.arg("explain").args(arguments).arg("--config").arg(world.file());
    entente.env("RUST_BACKTRACE", "0").output().unwrap()
}

#[test]
fn a_refusal_ends_with_1_and_names_its_line() {
    let world = World::new();
    let text = fs::read_to_string(world.file()).unwrap();
    world.write(&format!("{text}[[blocked]]\ndomain = \"litware.example\"\n"));
    let line = text.lines().count() + 1;
    let message = ["sip:alice@contoso.example", "to", "sip:eve@litware.example"];
    let output = explain(&world, &message);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let rule = format!("rule              blocked[0], {}:{line}\n", world.file().display());
    assert!(said(&output).contains(&rule), "{}", said(&output));

    let output = explain(&world, &[&message[..], &["--json"]].concat());
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["verdict"], "refused");
    assert_eq!(printed["status"], 403);
    let stopped = printed["screens"].as_array().unwrap();
    let stopped = stopped.iter().find(|step| step["said"] == "stopped").unwrap();
    assert_eq!(stopped["screen"], "blocked");

    let output = explain(&world, &["sip:alice@contoso.example", "and", "sip:eve@litware.example"]);
    assert_eq!(output.status.code(), Some(2));
    let example = "say it as: entente explain sip:alice@contoso.example to sip:eve@litware.example";
    assert!(said(&output).contains(example), "{}", said(&output));
    let output = explain(&world, &["relay"]);
    assert_eq!(output.status.code(), Some(2));
    let example = ": entente explain relay 203.0.113.7:3478 -c entente.toml\n";
    assert!(said(&output).ends_with(example), "{}", said(&output));
}

/// The configuration of a partner of `world`'s edge, which says that edge is called `edge`.
fn partners_text(world: &World, names: &Names, edge: &str, port: u16) -> String {
    let text = world.text().replace("sip.contoso.example", "sip.fabrikam.example");
    let text = text.replace("contoso.example", "fabrikam.example");
    let text = text.replace("127.0.0.1:53", &names.address.to_string());
    let text = text.replace("[log]", "allow = [\"127.0.0.1\"]\n[log]");
    format!(
        "{text}[[partner]]\ndomain = \"contoso.example\"\nkind = \"allowed_server\"\n\
         edge = \"{edge}\"\nport = {port}\nallow_networks = [\"127.0.0.2\"]\n"
    )
}

#[test]
fn live_evidence_is_what_the_partners_edge_shows() {
    let mut world = World::new();
    world.federation.set_ip([127, 0, 0, 2].into());
    world.write(&world.text());
    let _edge = world.run(|_| {});
    let names = Names::start([127, 0, 0, 2]);
    let port = world.federation.port();

    world.write(&partners_text(&world, &names, "sip.contoso.example", port));
    let out = ["bob@fabrikam.example", "to", "alice@contoso.example", "--live"];
    let output = explain(&world, &out);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("DNS               sip.contoso.example A and AAAA: "), "{told}");
    assert!(told.contains("live              certificate 1: "), "{told}");
    assert!(told.contains("for any usage, names sip.contoso.example\n"), "{told}");
    assert!(told.contains("live              the edge would speak with it: TLS 1.3"), "{told}");
    let back = ["alice@contoso.example", "to", "bob@fabrikam.example", "--live"];
    let told = said(&explain(&world, &back));
    assert!(told.contains("the sender shows the certificate its edge showed us"), "{told}");

    world.write(&partners_text(&world, &names, "edge.contoso.example", port));
    let told = said(&explain(&world, &out));
    let mismatch = "the edge would not speak with it: the peer's certificate is for \
                    sip.contoso.example, not for edge.contoso.example";
    assert!(told.contains(mismatch), "{told}");

    world.write(&partners_text(&world, &names, "sip.contoso.example", 1));
    let told = said(&explain(&world, &out));
    assert!(told.contains("live              127.0.0.2:1 takes no connection: "), "{told}");
}

#[test]
fn the_running_edge_is_asked_for_scores_and_looked_at_by_check() {
    let world = World::new();
    let text = world.text().replace("[log]", "socket = \"admin.sock\"\n[log]");
    world.write(&format!("{text}[federation]\ndiscovery = true\n"));
    let message = ["sip:eve@wingtip.example", "to", "sip:alice@contoso.example"];
    let absent = explain(&world, &message);
    // It depends on DNS, and nobody runs.
    assert_eq!(absent.status.code(), Some(3), "{}", said(&absent));
    assert!(said(&absent).contains("score             not known: no edge listens on "));

    let _edge = world.run(|_| {});
    let told = said(&explain(&world, &message));
    let none =
        "score             none: the running edge has counted nothing of it since it started";
    assert!(told.contains(none), "{told}");
    assert!(world.ask("/scores/wingtip.example").contains("\"scores\": []"));

    let check = |world: &World| world.command("check").args(["--live", "--running"]).output();
    let own = |output: &Output| -> Vec<String> {
        let told = said(output);
        let lines = told.lines().filter(|line| line.contains("[listener-"));
        lines.map(str::to_owned).collect()
    };
    let sound = check(&world).unwrap();
    assert_eq!(own(&sound), Vec::<String>::new(), "{}", said(&sound));

    // A certificate that is renewed in the file and not yet in force.
    let other = World::new();
    for file in ["sip.pem", "sip.key", "ca.pem"] {
        fs::copy(other.directory.path().join(file), world.directory.path().join(file)).unwrap();
    }
    let differs = own(&check(&world).unwrap());
    assert_eq!(differs.len(), 2, "both listeners: {differs:?}");
    assert!(differs[0].starts_with("warning[listener-certificate-differs]: 127.0.0.1:"));
}
