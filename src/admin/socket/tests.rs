//! Over a real socket in a directory of its own.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use super::super::tests::Edge;
use super::super::{Outcome, Reply, Running, start};
use super::*;

/// An admin thread that no network is allowed to ask; its orders come out of the receiver.
fn begin(path: &Path) -> (Running, mpsc::Receiver<Order>) {
    let (orders, asked) = mpsc::channel(1);
    let desk = Desk { path: path.to_owned(), orders };
    let edge = Edge { closed_to_all: true.into(), ..Edge::default() };
    (start(&[], Some(desk), Arc::new(edge)).unwrap(), asked)
}

fn send(path: &Path, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may answer and close before all of it is written.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn ask(path: &Path, method: &str, target: &str, body: &str) -> String {
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}"
    );
    send(path, format!("{head}\r\n\r\n{body}").as_bytes())
}

#[test]
fn reading_needs_no_network_to_be_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let (_running, _asked) = begin(&path);
    assert!(ask(&path, "GET", "/status", "").contains("\"node\": \"edge1.contoso.example\""));
    assert!(ask(&path, "GET", "/metrics", "").ends_with("entente_test_total 1\n"));
    assert!(ask(&path, "GET", "/readyz", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_command_waits_for_its_answer_and_names_its_caller() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let (_running, mut asked) = begin(&path);
    let carried_out = std::thread::spawn(move || {
        let order = asked.blocking_recv().unwrap();
        assert_eq!(order.command, Command::Reload { confirm_within_s: Some(60) });
        assert_eq!(order.caller.pid, i32::try_from(std::process::id()).ok());
        let body = json!({ "epoch": 2 });
        order.reply.send(Reply { outcome: Outcome::Done, body }).unwrap();
        let order = asked.blocking_recv().unwrap();
        let why = "no reload waits to be confirmed";
        order.reply.send(Reply::not_done(Outcome::Conflict, why)).unwrap();
    });
    let answer = ask(&path, "POST", "/reload", "{\"confirm_within_s\": 60}");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("content-type: application/json"), "{answer}");
    assert!(answer.ends_with("{\n  \"epoch\": 2\n}\n"), "{answer}");
    let answer = ask(&path, "POST", "/confirm", "");
    assert!(answer.starts_with("HTTP/1.1 409"), "{answer}");
    assert!(answer.contains("\"error\": \"no reload waits to be confirmed\""), "{answer}");
    carried_out.join().unwrap();
}

#[test]
fn bad_input_is_answered_and_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let (_running, mut asked) = begin(&path);
    let statuses = [
        (ask(&path, "POST", "/walk", ""), "404"),
        (ask(&path, "PUT", "/reload", ""), "405"),
        (ask(&path, "POST", "/reload", "{\"confirm_within\": 60}"), "400"),
        (ask(&path, "POST", "/reload", &"x".repeat(BODY_BYTES_MAX + 1)), "413"),
        (send(&path, b"\x16\x03\x01\x00\x05hello\r\n\r\n"), "400"),
        (send(&path, format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(64 * 1024)).as_bytes()), ""),
    ];
    for (answer, status) in statuses {
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
        if !status.is_empty() {
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{status}: {answer}");
        }
    }
    assert!(asked.try_recv().is_err(), "none of it is a command");
}

#[test]
fn more_commands_than_wait_are_refused_and_none_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let (_running, mut asked) = begin(&path);
    let first = {
        let path = path.clone();
        std::thread::spawn(move || ask(&path, "POST", "/drain", ""))
    };
    let waits = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        asked.len() == 1
    });
    assert!(waits, "the first takes the only place");
    let refused = ask(&path, "POST", "/confirm", "");
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("other commands are being carried out; try again"), "{refused}");
    asked.close();
    let waiting = asked.try_recv().unwrap();
    drop(waiting);
    assert!(first.join().unwrap().contains("the edge drains"));
    assert!(ask(&path, "POST", "/drain", "").contains("the edge drains"));
}

#[test]
fn the_file_is_the_owners_alone_and_goes_with_the_edge() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let (running, _asked) = begin(&path);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (orders, _) = mpsc::channel(1);
    let desk = Desk { path: path.clone(), orders };
    let refused = start(&[], Some(desk), Arc::new(Edge::default())).unwrap_err().to_string();
    let expected = format!("admin socket {}: another process listens there", path.display());
    assert_eq!(refused, expected);
    drop(running);
    assert!(!path.exists());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_socket_left_behind_is_replaced_and_any_other_file_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "the kernel does not remove it");
    let (running, _asked) = begin(&path);
    assert!(ask(&path, "GET", "/livez", "").starts_with("HTTP/1.1 200"));
    drop(running);
    std::fs::write(&path, "precious").unwrap();
    let refused = Bound::new(&path).unwrap_err().to_string();
    assert!(refused.ends_with(": a file that is no socket stands there"), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    let long = directory.path().join("a".repeat(PATH_BYTES_MAX));
    let refused = Bound::new(&long).unwrap_err().to_string();
    assert!(refused.ends_with(": the path is longer than 107 bytes"), "{refused}");
}
