//! The quickstart as a user runs it: the built program, its output, its exit code, what it leaves.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// Two at once would choose the same free ports.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn quickstart(arguments: &[&str], temporary: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_entente"));
    command.arg("quickstart").args(arguments).env("TMPDIR", temporary.path());
    command.stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    let _alone = alone();
    let temporary = tempfile::tempdir().unwrap();
    let output = quickstart(arguments, &temporary).output().unwrap();
    let left = std::fs::read_dir(temporary.path()).unwrap().count();
    assert_eq!(left, 0, "keys and certificates are removed at the end");
    output
}

fn assert_every_step_is_ok(output: &Output) {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (summary, steps) = lines.split_last().expect(&errors);
    for step in steps {
        assert_eq!(step["ok"], true, "{step:#}\n{errors}");
        assert!(!step["messages"].as_array().unwrap().is_empty(), "{step:#}");
        assert!(!step["decisions"].as_array().unwrap().is_empty(), "unexplained: {step:#}");
    }
    assert_steps_of_xmpp(steps);
    assert_voices_are_relayed(steps);
    assert_eq!(summary["ok"], true);
    assert_eq!(summary["steps"], steps.len());
    assert!(output.status.success());
}

/// The partner that speaks XMPP comes in and is answered, and a stranger is told why it is not.
fn assert_steps_of_xmpp(steps: &[Value]) {
    let find = |part: &str| {
        let has = |step: &&Value| step["title"].as_str().unwrap().contains(part);
        steps.iter().find(has).unwrap_or_else(|| panic!("no step is about {part}"))
    };
    let said = |step: &Value| {
        let decisions = step["decisions"].as_array().unwrap().iter();
        decisions.map(|d| d["sentence"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join("\n")
    };
    let whats = |step: &Value| {
        let messages = step["messages"].as_array().unwrap().iter();
        messages.map(|m| m["what"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let comes = find("carol@adatum.example writes to alice");
    assert!(said(comes).contains("listed partner domain adatum.example, federated"), "{comes:#}");
    assert!(whats(comes).contains(&"INVITE".to_owned()), "{comes:#}");
    let answered = find("alice answers carol");
    assert!(whats(answered).contains(&"auth EXTERNAL".to_owned()), "{answered:#}");
    assert_eq!(whats(answered).last().map(String::as_str), Some("200 OK"), "{answered:#}");
    let stranger = find("tailspin.example, an XMPP server nobody listed");
    assert_eq!(whats(stranger), ["stream", "policy-violation"], "{stranger:#}");
    assert!(said(stranger).contains("no XMPP partner is listed"), "{stranger:#}");
}

/// A second of audio each way goes through a port of each relay, and nothing is lost.
fn assert_voices_are_relayed(steps: &[Value]) {
    let with_media: Vec<_> = steps.iter().filter(|step| step["media"].is_object()).collect();
    let [talk] = with_media[..] else { panic!("one step has media: {with_media:#?}") };
    assert_eq!(talk["media"]["packets_sent"], 100, "{talk:#}");
    assert_eq!(talk["media"]["packets_heard"], 100, "{talk:#}");
    let [p50, p99] = ["delay_p50_us", "delay_p99_us"].map(|key| talk["media"][key].as_u64());
    assert!(p50.is_some() && p50 <= p99, "{talk:#}");
    let decisions = talk["decisions"].as_array().unwrap();
    let edges: Vec<_> = decisions.iter().map(|decision| decision["edge"].as_str()).collect();
    assert_eq!(edges, [Some("contoso edge"), Some("fabrikam edge")]);
    for decision in decisions {
        let sentence = decision["sentence"].as_str().unwrap();
        assert!(sentence.ends_with("relayed 50 packets to the peer, 50 to the user"), "{sentence}");
    }
}

#[test]
fn every_step_does_what_it_should_over_io_uring_where_there_is_one() {
    assert_every_step_is_ok(&run(&["--json"]));
}

#[test]
fn every_step_does_what_it_should_over_epoll() {
    assert_every_step_is_ok(&run(&["--json", "--epoll"]));
}

#[test]
fn output_that_is_no_terminal_has_neither_colours_nor_progress() {
    let output = run(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(!text.contains('\x1b') && output.stderr.is_empty());
    assert!(text.contains("├─ MESSAGE ───────────┼─────────────────────┼────────────────────>│"));
    assert!(text.contains("<─ 403 "));
    assert!(text.contains("├─ auth EXTERNAL ────>│"), "{text}");
    assert!(text.contains("├─ 50 x RTP ──────────┼─────────────────────┼────────────────────>│"));
    assert!(text.contains("100 packets sent, 100 heard, 0.0 % lost; delay p50 "), "{text}");
}

#[test]
fn with_keep_it_serves_metrics_until_it_is_interrupted() {
    let _alone = alone();
    let temporary = tempfile::tempdir().unwrap();
    let mut command = quickstart(&["--keep", "--json"], &temporary);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let serving = lines.into_iter().find(|line| line["serving"] == true).expect("it serves");
    let urls = serving["metrics"].as_array().unwrap();
    assert_eq!(urls.len(), 2);
    for url in urls {
        let url = url.as_str().unwrap();
        let address = url.strip_prefix("http://").and_then(|u| u.strip_suffix("/metrics")).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\nentente_"), "{answer}");
    }
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert!(child.wait().unwrap().success(), "Ctrl-C is how --keep ends");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}
