//! The pool behind an edge, and its users: sends, answers, keeps the dialogs it began. Its own
//! reading of SIP, line by line, so that a mistake of the edge's reader is not shared.

use std::collections::BTreeMap;

use super::organisation::DOMAINS;

/// A message as the pool reads it.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) first: String,
    lines: Vec<(String, String)>,
}

impl Text {
    /// Takes one whole message off the front of `bytes`.
    pub(crate) fn take(bytes: &mut Vec<u8>) -> Option<Self> {
        // By library and by characters: searching for strings is slow in a test's own code.
        let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).expect("the edge writes text");
        let mut parts = head.split('\n').map(str::trim_ascii_end);
        let first = parts.next().unwrap_or_default().to_owned();
        let lines: Vec<(String, String)> = parts
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim_ascii_start().to_owned()))
            .collect();
        let text = Self { first, lines };
        let body: usize = text.get("Content-Length").and_then(|n| n.parse().ok())?;
        let total = end + 4 + body;
        if bytes.len() < total {
            return None;
        }
        bytes.drain(..total);
        Some(text)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).into_iter().next()
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.lines
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    pub(crate) fn status(&self) -> Option<u16> {
        self.first.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    pub(crate) fn method(&self) -> &str {
        self.first.split(' ').next().unwrap_or_default()
    }

    /// The number the simulation gave the request; the edge passes unknown headers on.
    pub(crate) fn id(&self) -> Option<u64> {
        self.get("X-Id")?.parse().ok()
    }

    /// The response this pool gives.
    pub(crate) fn answer(&self, status: u16) -> Vec<u8> {
        let mut out = format!("SIP/2.0 {status} Because\r\n");
        for (name, value) in &self.lines {
            let kept = ["Via", "From", "Call-ID", "CSeq", "Record-Route", "X-Id"];
            if kept.contains(&name.as_str()) {
                out.push_str(&format!("{name}: {value}\r\n"));
            } else if name == "To" {
                let tag = if value.contains(";tag=") { "" } else { ";tag=callee" };
                out.push_str(&format!("To: {value}{tag}\r\n"));
            }
        }
        out.push_str("Content-Length: 0\r\n\r\n");
        out.into_bytes()
    }
}

/// A request this pool has sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) id: u64,
    pub(crate) method: &'static str,
    pub(crate) call_id: String,
    pub(crate) to: usize,
    pub(crate) acked: bool,
}

/// Writes a request out of a dialog, or in the one whose route set is given.
pub(crate) fn request(from: usize, sent: &Sent, branch: u64, routes: &[String]) -> Vec<u8> {
    let to = DOMAINS[sent.to];
    let in_dialog = !routes.is_empty();
    let mut out = format!(
        "{method} sip:bob@{to} SIP/2.0\r\n\
         Via: SIP/2.0/TLS pool.{own}:5061;branch=z9hG4bKs{branch}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:alice@{own}>;tag=caller\r\n\
         To: <sip:bob@{to}>{tag}\r\n\
         Call-ID: {call}\r\n\
         CSeq: {cseq} {method}\r\n\
         X-Id: {id}\r\n\
         ms-edge-proxy-message-trust: ms-source-type=InternetUser;ms-ep-fqdn=forged\r\n",
        method = sent.method,
        own = DOMAINS[from],
        tag = if in_dialog { ";tag=callee" } else { "" },
        call = sent.call_id,
        cseq = sent.id,
        id = sent.id,
    );
    for route in routes {
        out.push_str(&format!("Route: {route}\r\n"));
    }
    out.push_str("Content-Length: 5\r\n\r\nhello");
    out.into_bytes()
}

/// What a pool remembers.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// By the number of the request.
    pub(crate) sent: BTreeMap<u64, Sent>,
    /// INVITEs not answered finally yet, by number: they may be cancelled.
    pub(crate) ringing: BTreeMap<u64, Text>,
    /// Until when the pool is down.
    pub(crate) down_until_ms: u64,
}
