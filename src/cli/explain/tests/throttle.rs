//! The limits that would apply, where they are said, and what a running edge has counted.

use std::net::IpAddr;

use super::*;
use crate::admin;

/// An edge that runs, as far as its scores go.
struct Edge;

impl admin::View for Edge {
    fn metrics(&self) -> String {
        String::new()
    }

    fn dead(&self) -> Vec<String> {
        Vec::new()
    }

    fn not_ready(&self) -> Vec<String> {
        Vec::new()
    }

    fn status(&self) -> serde_json::Value {
        serde_json::json!({})
    }

    fn score(&self, name: &str) -> serde_json::Value {
        let scores = match name {
            "wingtip.example" => vec![serde_json::json!({
                "holder": "domain", "name": name, "suspicious": true, "failed_percent": 61,
                "messages": 340, "held": 2, "refused": 1, "answers": 300, "failures": 170,
                "users": 37, "users_blocked": 4, "silent_s": 5,
            })],
            _ => Vec::new(),
        };
        serde_json::json!({ "scores": scores, "suggestions": [] })
    }

    fn allows(&self, _: IpAddr) -> bool {
        false
    }
}

const OPEN: &str = "[federation]\ndiscovery = true\n";

/// Returns what is printed under `name`, without the names.
fn told(text: &str, from: &str, name: &str) -> Vec<String> {
    let printed = show::text(&explained(text, &args(from, ALICE)));
    let mut lines = printed.lines().skip_while(|line| !line.starts_with(name));
    let first = lines.next().map(|line| line[18..].to_owned());
    let more = lines.take_while(|line| line.starts_with("      "));
    first.into_iter().chain(more.map(|line| line[18..].to_owned())).collect()
}

#[test]
fn limits_are_told_with_the_line_that_states_them() {
    let open = format!("{TEXT}{OPEN}");
    assert_eq!(
        told(&open, "sip:eve@wingtip.example", "limits"),
        [
            "20 messages/s, 1/s while suspicious; what comes too early waits at most 2000 ms",
            "1000 distinct users in 1 d 0 h",
            "suspicious while 50 % or more of at least 20 requests fail; half-life 5 min 0 s",
            "the defaults of [federation], e.toml",
            "unless its SRV record names a provider, whose limits then count",
        ]
    );
    let stated = format!("{open}messages_per_s = 5\ndistinct_users = 0\nfailed_percent = 0\n");
    let line = stated.lines().count() - 2;
    let lines = told(&stated, "sip:eve@wingtip.example", "limits");
    assert_eq!(lines[0], "5 messages/s; what comes too early waits at most 2000 ms");
    assert_eq!(lines[1..3], ["any number of users", "never suspicious"]);
    assert_eq!(lines[3], format!("federation.messages_per_s, e.toml:{line}"));
}

#[test]
fn limits_of_a_kind_and_of_one_partner_are_told_apart() {
    let tailspin = "sip:bob@tailspin.example";
    assert_eq!(
        told(TEXT, tailspin, "limits"),
        ["none: listed partners have some only where the file says so"]
    );
    let limit = "[[federation_limit]]\nkind = \"allowed_server\"\nmessages_per_s = 7\n";
    let kind = format!("{TEXT}{limit}");
    let lines = told(&kind, tailspin, "limits");
    let line = TEXT.lines().count() + 1;
    assert_eq!(lines[3], format!("federation_limit[0], e.toml:{line}"));
    let own = kind.replace("names = \"both\"\n", "names = \"both\"\nmessages_per_s = 3\n");
    let lines = told(&own, tailspin, "limits");
    assert!(lines[0].starts_with("3 messages/s"), "{lines:?}");
    assert_eq!(lines[3], "partner[1], e.toml:16");
    assert_eq!(
        told(&own, tailspin, "  rates"),
        [String::from("     passed   at most 3 messages a second")]
    );
}

#[test]
fn nobody_outside_is_limited_by_what_goes_out() {
    let open = format!("{TEXT}{OPEN}");
    let told = explained(&open, &args(ALICE, "sip:eve@wingtip.example"));
    assert!(told.throttle.is_none());
    assert!(told.screens.iter().all(|step| step.screen != Screen::Rate));
}

#[test]
fn the_running_edge_is_asked_for_the_score() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let management = format!("[management]\nsocket = \"{}\"\n", socket.display());
    let text = format!("{TEXT}{OPEN}{management}");
    let none = told(&text, "sip:eve@wingtip.example", "score");
    assert_eq!(
        none,
        [format!(
            "not known: no edge listens on {}: it does not run, or was started without \
             management.socket",
            socket.display()
        )]
    );

    let (orders, _kept) = tokio::sync::mpsc::channel(1);
    let desk = admin::Desk { path: socket, orders };
    let running = admin::start(&[], Some(desk), Arc::new(Edge)).unwrap();
    assert_eq!(
        told(&text, "sip:eve@wingtip.example", "score"),
        ["domain wingtip.example: SUSPICIOUS, 61 % fail; 340 messages, 2 held, 1 refused; 170 of \
          300 answered failed; 37 users, 4 times one too many; heard of 5 s ago"]
    );
    assert_eq!(
        told(&text, "sip:eve@adatum.example", "score"),
        ["none: the running edge has counted nothing of it since it started"]
    );
    drop(running);
    let without = format!("{TEXT}{OPEN}");
    assert_eq!(
        told(&without, "sip:eve@wingtip.example", "score"),
        ["not known: without management.socket a running edge cannot be asked"]
    );
}
