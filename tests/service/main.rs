//! The program as a service: signals, exit codes, the service manager's socket, and what `check`
//! says beside it. Runs the binary itself on loopback.

mod credentials;
mod ctl;
mod decisions;
mod explain;
mod loadgen;
mod pool;
mod relay;
mod relay_marks;
mod relay_metrics;
mod revocation;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// Longest wait for anything here, in steps of 50 ms.
const STEPS_MAX: u32 = 400;

/// A directory with certificates, and ports for one edge.
struct World {
    directory: tempfile::TempDir,
    federation: SocketAddr,
    management: SocketAddr,
}

/// A running edge that is killed when its test ends early.
struct Edge(Child);

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = authority.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::from_params(&authority, &authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["sip.contoso.example".to_owned()];
        let leaf = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let write = |name: &str, text: String| fs::write(directory.path().join(name), text);
        write("sip.pem", leaf.pem()).unwrap();
        write("sip.key", key.serialize_pem()).unwrap();
        write("ca.pem", ca.pem()).unwrap();
        let world = Self { directory, federation: free(), management: free() };
        world.write(&world.text());
        world
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("entente.toml")
    }

    fn write(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
    }

    fn text(&self) -> String {
        format!(
            r#"[edge]
external_fqdn = "sip.contoso.example"
domains = ["contoso.example"]
shards = 2
drain_notice_s = 1
drain_timeout_s = 5
[[listener]]
address = "{}"
class = "federation"
[[listener]]
address = "{}"
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
timeout_ms = 100
attempts = 1
[limits]
connections = 64
half_open = 16
transactions = 1000
[management]
listen = ["{}"]
[log]
format = "json"
"#,
            self.federation,
            free(),
            self.management
        )
    }

    fn command(&self, command: &str) -> Command {
        let mut entente = Command::new(env!("CARGO_BIN_EXE_entente"));
        entente.arg(command).arg("--config").arg(self.file()).env("RUST_BACKTRACE", "0");
        entente
    }

    /// Starts the edge and waits until it is ready; its log goes to a file.
    fn run(&self, with: impl FnOnce(&mut Command)) -> Edge {
        let mut command = self.command("run");
        let log = fs::File::create(self.log()).unwrap();
        command.stderr(log).stdout(Stdio::null());
        with(&mut command);
        let edge = Edge(command.spawn().unwrap());
        assert!(within(|| self.ask("/readyz").starts_with("HTTP/1.1 200")), "{}", self.logged());
        edge
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn logged(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Waits until the log says `words`: it is written by a thread of its own, after the fact.
    fn logs(&self, words: &str) -> bool {
        within(|| self.logged().contains(words))
    }

    /// Asks the management address; an empty answer if nobody is there.
    fn ask(&self, path: &str) -> String {
        let Ok(mut stream) = TcpStream::connect(self.management) else { return String::new() };
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut answer = String::new();
        if stream.write_all(head.as_bytes()).is_ok() {
            let _ = stream.read_to_string(&mut answer);
        }
        answer
    }
}

/// Looks until `holds`, for a bounded time.
fn within(mut holds: impl FnMut() -> bool) -> bool {
    (0..STEPS_MAX).any(|_| {
        let held = holds();
        if !held {
            sleep(Duration::from_millis(50));
        }
        held
    })
}

fn signal(edge: &Edge, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(edge.0.id().to_string()).status();
    assert!(status.unwrap().success());
}

fn exit_code(mut edge: Edge) -> Option<i32> {
    let mut code = None;
    let ended = within(|| match edge.0.try_wait().unwrap() {
        Some(status) => {
            code = status.code();
            true
        }
        None => false,
    });
    assert!(ended, "the edge ends in time");
    code
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn sigterm_drains_readiness_first_and_ends_with_0() {
    let world = World::new();
    world.write(&world.text().replace("drain_notice_s = 1", "drain_notice_s = 3"));
    let edge = world.run(|_| {});
    signal(&edge, "TERM");
    assert!(within(|| world.ask("/readyz").starts_with("HTTP/1.1 503")));
    assert!(world.ask("/readyz").ends_with("the edge drains; listeners are open still\n"));
    assert!(TcpStream::connect(world.federation).is_ok(), "the balancer has time to notice");
    assert_eq!(exit_code(edge), Some(0));
    assert!(world.logs("\"message\":\"the edge has drained\""), "{}", world.logged());
    // The kernel takes a ring apart after its process is gone.
    assert!(within(|| TcpStream::connect(world.federation).is_err()));
}

#[test]
fn a_second_sigterm_ends_at_once_with_1() {
    let world = World::new();
    world.write(
        &world
            .text()
            .replace("drain_notice_s = 1", "drain_notice_s = 30")
            .replace("drain_timeout_s = 5", "drain_timeout_s = 60"),
    );
    let edge = world.run(|_| {});
    signal(&edge, "TERM");
    assert!(within(|| world.ask("/readyz").starts_with("HTTP/1.1 503")));
    signal(&edge, "INT");
    assert_eq!(exit_code(edge), Some(1));
}

#[test]
fn sighup_reloads_everything_or_nothing_and_says_which_line() {
    let world = World::new();
    let edge = world.run(|_| {});
    let text = fs::read_to_string(world.file()).unwrap();
    world.write(&format!("{text}[[partner]]\ndomain = \"fabrikam.example\"\n"));
    signal(&edge, "HUP");
    let epoch = |number: u32| format!("entente_control_config_epoch {number}\n");
    assert!(within(|| world.ask("/metrics").contains(&epoch(2))), "{}", world.logged());
    assert!(world.logs("\"changed\":\"partner[0].domain\""), "{}", world.logged());

    world.write(&format!("{text}[[partner]]\ndomian = \"tailspin.example\"\n"));
    signal(&edge, "HUP");
    let refused = "entente_control_reloads_total{result=\"refused\"} 1\n";
    assert!(within(|| world.ask("/metrics").contains(refused)), "{}", world.logged());
    let line = text.lines().count() + 2;
    let place = format!("entente.toml:{line}\"");
    assert!(world.logs(&place), "{}", world.logged());
    assert!(world.ask("/metrics").contains(&epoch(2)));
    assert!(world.logged().lines().all(|line| line.starts_with('{')), "{}", world.logged());
    signal(&edge, "TERM");
    assert_eq!(exit_code(edge), Some(0));
}

#[test]
fn the_service_manager_hears_ready_reloading_and_stopping() {
    let world = World::new();
    let path = world.directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let hear = || {
        let mut bytes = [0; 512];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let edge = world.run(|command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    assert!(hear().contains("READY=1"));
    signal(&edge, "HUP");
    let reloading = hear();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="));
    assert!(hear().contains("READY=1"));
    signal(&edge, "TERM");
    assert!(hear().contains("STOPPING=1"));
    assert_eq!(exit_code(edge), Some(0));
}

#[test]
fn a_second_edge_on_the_same_address_names_the_first() {
    let world = World::new();
    let edge = world.run(|_| {});
    let second = world.command("run").output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let process = edge.0.id();
    let expected = format!("{} is served already by process {process}", world.federation);
    assert!(said(&second).contains(&expected), "{}", said(&second));
}

#[test]
fn check_fails_on_a_port_in_use_unless_the_edge_is_known_to_run() {
    let world = World::new();
    let before = world.command("check").output().unwrap();
    assert_eq!(before.status.code(), Some(0), "{}", said(&before));
    let _edge = world.run(|_| {});
    let beside = world.command("check").output().unwrap();
    assert_eq!(beside.status.code(), Some(1));
    assert!(said(&beside).contains("error[port-in-use]"), "{}", said(&beside));
    let known = world.command("check").arg("--running").output().unwrap();
    assert_eq!(known.status.code(), Some(0), "{}", said(&known));
}

#[test]
fn check_prints_findings_as_json() {
    let world = World::new();
    world.write("[edge]\nexternal_fqdn = 7\n");
    let refused = world.command("check").arg("--json").output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let printed: serde_json::Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(printed["ok"], false);
    assert_eq!(printed["findings"][0]["severity"], "error");
    let place = printed["findings"][1]["place"].as_str().unwrap();
    assert!(place.ends_with("entente.toml:2"), "{printed}");
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let output = Command::new(env!("CARGO_BIN_EXE_entente")).arg("walk").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let missing = Path::new("/nowhere/entente.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_entente"));
    let output = command.args(["run", "--config"]).arg(missing).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("cannot read /nowhere/entente.toml"), "{}", said(&output));
}
