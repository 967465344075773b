//! The message put to the Access Edge itself, alone and without a network: what it does with it is
//! what the running edge would do.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::dns::{Question, SharedAnswer};
use crate::edge::access::{Access, Setup};
use crate::edge::{Class, Command, Connect, Core as _, Effects, LegId, Opened};
use crate::policy::users::Marks;
use crate::policy::{PeerNames, RefusalRule, Snapshot};
use crate::time::Now;

/// The leg the message comes by.
const LEG: LegId = LegId { index: 0, generation: 1 };
/// Answers fed before the edge must have made up its mind: of the partner and of a next hop.
const ROUNDS_MAX: usize = 4;

/// What the edge did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It answered; 200 is an answer of its own, anything else a refusal.
    Answered(Answered),
    /// It waits for this answer of DNS.
    Asks(Question),
    /// It forwards, and opens this connection for it.
    Connects(Connect),
    /// It did nothing: the message is one that is dropped in silence.
    Silent,
}

/// An answer of the edge itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) reason: String,
    /// The diagnostics header as the sender gets it.
    pub(super) diagnostics: Option<String>,
    /// What the log says.
    pub(super) sentence: String,
    /// The rule of policy that refused, if one did.
    pub(super) rule: Option<RefusalRule>,
}

/// What is put to the edge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) class: Class,
    /// It offers audio.
    pub(super) audio: bool,
    /// What an inner server says of the sender.
    pub(super) marks: Marks,
}

/// Lets an edge with this policy take `request` from `peer`; `answers` are what DNS said so far.
pub(super) fn run(
    snapshot: &Arc<Snapshot>,
    peer: Option<Arc<PeerNames>>,
    request: &Request<'_>,
    answers: &[SharedAnswer],
    now: Now,
) -> Outcome {
    let mut core = Access::new(setup(), Arc::clone(snapshot));
    let mut effects = Effects::default();
    let here = SocketAddr::from(([192, 0, 2, 1], 5061));
    let opened =
        Opened { class: request.class, outlet: None, peer, doubt: None, remote: here, local: here };
    effects.open(LEG);
    core.leg_opened(now, LEG, opened, &mut effects);
    core.feed(now, LEG, message(request).as_bytes(), &mut effects);
    let mut sentence = String::new();
    for _ in 0..ROUNDS_MAX {
        let mut asked = None;
        for command in std::mem::take(&mut effects.commands) {
            match command {
                Command::Ask(question) => asked = Some(question),
                Command::Connect(connect) => return Outcome::Connects(connect),
                Command::Note(note) => sentence = note.sentence,
                Command::Close { .. }
                | Command::Mail { .. }
                | Command::Decided(_)
                | Command::StartTls { .. }
                | Command::Admitted { .. } => {}
            }
        }
        let Some(question) = asked else { break };
        let Some(answer) = answers.iter().find(|answer| answer.question == question) else {
            return Outcome::Asks(question);
        };
        core.resolved(now, Arc::clone(answer), &mut effects);
    }
    let rules = RefusalRule::ALL.into_iter().zip(core.by_rule().values());
    let rule = rules.filter(|(_, refusals)| *refusals > 0).map(|(rule, _)| rule).next();
    match effects.staged_mut(LEG).and_then(|staged| answered(staged, &sentence, rule)) {
        Some(answered) => Outcome::Answered(answered),
        None => Outcome::Silent,
    }
}

/// Reads the answer that is staged on the leg.
fn answered(staged: &[u8], sentence: &str, rule: Option<RefusalRule>) -> Option<Answered> {
    let text = String::from_utf8_lossy(staged).into_owned();
    let mut lines = text.split("\r\n");
    let (status, reason) = lines.next()?.strip_prefix("SIP/2.0 ")?.split_once(' ')?;
    let diagnostics = lines.find(|line| line.to_ascii_lowercase().starts_with("ms-diagnostics"));
    Some(Answered {
        status: status.parse().ok()?,
        reason: reason.to_owned(),
        diagnostics: diagnostics.map(str::to_owned),
        sentence: sentence.to_owned(),
        rule,
    })
}

/// Returns the least message of this kind that RFC 3261 section 8.1.1 knows.
fn message(request: &Request<'_>) -> String {
    let Request { method, from, to, .. } = request;
    let headers = user_data(request.marks);
    let (sdp, body) = match request.audio {
        true => ("Content-Type: application/sdp\r\n", AUDIO),
        false => ("", ""),
    };
    format!(
        "{method} {to} SIP/2.0\r\n\
         Via: SIP/2.0/TLS 192.0.2.1:5061;branch=z9hG4bKexplain\r\n\
         Max-Forwards: 70\r\n\
         From: <{from}>;tag=explain\r\n\
         To: <{to}>\r\n\
         Call-ID: explain@192.0.2.1\r\n\
         CSeq: 1 {method}\r\n\
         Contact: <sip:192.0.2.1:5061;transport=tls>\r\n\
         Event: presence\r\n\
         {headers}{sdp}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The least offer of audio (RFC 8866 section 5).
const AUDIO: &str = "v=0\r\no=- 0 0 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                     m=audio 49170 RTP/AVP 0\r\n";

/// Returns the line of an inner server's marks; empty without any.
fn user_data(marks: Marks) -> String {
    let told = [("ms-federation", marks.federation), ("ms-publiccloud", marks.public_im)];
    let told: Vec<String> = told
        .into_iter()
        .filter_map(|(name, mark)| mark.map(|open| format!("{name}={open}")))
        .collect();
    if told.is_empty() { String::new() } else { format!("ms-user-data: {}\r\n", told.join(";")) }
}

/// An edge of one shard; its keys keep nothing secret, because nothing of it leaves this process.
fn setup() -> Setup {
    Setup { transactions: 16, ping_interval_ms: 0, explain: true, ..Setup::single([1, 2], [0; 16]) }
}
