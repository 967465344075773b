//! Over a real socket on loopback.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[derive(Default)]
pub(super) struct Edge {
    pub(super) draining: AtomicBool,
    pub(super) closed_to_all: AtomicBool,
}

impl View for Edge {
    fn metrics(&self) -> String {
        "entente_test_total 1\n".to_owned()
    }

    fn dead(&self) -> Vec<String> {
        Vec::new()
    }

    fn not_ready(&self) -> Vec<String> {
        let draining = self.draining.load(Ordering::Relaxed);
        if draining { vec!["the edge drains".to_owned()] } else { Vec::new() }
    }

    fn status(&self) -> serde_json::Value {
        serde_json::json!({ "node": "edge1.contoso.example" })
    }

    fn allows(&self, _: IpAddr) -> bool {
        !self.closed_to_all.load(Ordering::Relaxed)
    }
}

fn begin() -> (Running, Arc<Edge>) {
    let edge = Arc::new(Edge::default());
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let view: Arc<dyn View> = Arc::clone(&edge) as Arc<dyn View>;
    let running = start(&[address], None, view).unwrap();
    (running, edge)
}

fn ask(running: &Running, request: &str) -> String {
    let mut stream = TcpStream::connect(running.addresses()[0]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let head = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn each_path_is_answered() {
    let (running, _) = begin();
    let metrics = ask(&running, "GET /metrics");
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    assert!(metrics.contains("text/plain; version=0.0.4"), "{metrics}");
    assert!(metrics.ends_with("entente_test_total 1\n"), "{metrics}");
    assert!(ask(&running, "GET /livez").ends_with("\r\n\r\nok\n"));
    assert!(ask(&running, "GET /status").contains("\"node\": \"edge1.contoso.example\""));
    assert!(ask(&running, "GET /").starts_with("HTTP/1.1 404"));
}

#[test]
fn readiness_fails_with_its_reasons_as_lines() {
    let (running, edge) = begin();
    assert!(ask(&running, "GET /readyz").starts_with("HTTP/1.1 200"));
    edge.draining.store(true, Ordering::Relaxed);
    let answer = ask(&running, "GET /readyz");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nthe edge drains\n"), "{answer}");
}

#[test]
fn only_allowed_peers_are_told_anything() {
    let (running, edge) = begin();
    edge.closed_to_all.store(true, Ordering::Relaxed);
    for path in ["/metrics", "/livez", "/readyz", "/status", "/"] {
        let answer = ask(&running, &format!("GET {path}"));
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        assert!(!answer.contains("edge1"), "{answer}");
    }
}

#[test]
fn only_reading_methods_are_answered() {
    let (running, _) = begin();
    let answer = ask(&running, "POST /metrics");
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    assert!(answer.contains("allow: GET, HEAD"), "{answer}");
    assert!(ask(&running, "HEAD /metrics").ends_with("\r\n\r\n"));
}

#[test]
fn a_head_beyond_its_limit_is_refused() {
    let (running, _) = begin();
    let long = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(2 * HEAD_BYTES_MAX));
    let mut stream = TcpStream::connect(running.addresses()[0]).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // The server may close before all of it is written, and reset while it is read.
    let _ = stream.write_all(long.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
}

#[test]
fn an_address_in_use_is_named() {
    let (running, edge) = begin();
    let address = running.addresses()[0];
    let error = start(&[address], None, edge).unwrap_err().to_string();
    assert!(error.starts_with(&format!("management address {address}: ")), "{error}");
}
