//! What the XMPP scenarios send.

use super::stream::LINK;
use super::units::Mark;
use crate::sip::push_padded_body;

const TEXT: &[u8] =
    b"Hi Bob, are we still on for the review at three? I moved the deck to the team share. ";

/// Which stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stanza {
    /// A message of type chat.
    Message,
    /// Presence of somebody who is away.
    Presence,
}

/// A stanza of `bytes` in all. `number`: of the stanza on a link.
pub(crate) fn push_stanza(
    what: Stanza,
    (from, to): (&str, &str),
    number: Option<u64>,
    mark: Mark,
    bytes: usize,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let name = match what {
        Stanza::Message => "message",
        Stanza::Presence => "presence",
    };
    out.extend_from_slice(format!("<{name}").as_bytes());
    if let Some(number) = number {
        out.extend_from_slice(format!(" xmlns:entente='{LINK}' entente:n='{number}'").as_bytes());
    }
    out.extend_from_slice(format!(" from='{from}' to='{to}' id='").as_bytes());
    mark.push(out);
    let (open, close): (&[u8], &[u8]) = match what {
        Stanza::Message => (b"' type='chat'><body>", b"</body></message>"),
        Stanza::Presence => (b"'><show>away</show><status>", b"</status></presence>"),
    };
    out.extend_from_slice(open);
    mark.push(out);
    out.push(b' ');
    let rest = bytes.saturating_sub(out.len() - start + close.len());
    out.extend(TEXT.iter().cycle().take(rest));
    out.extend_from_slice(close);
}

/// Presence that asks for a subscription, answers, or ends one.
pub(crate) fn push_subscription(kind: &str, (from, to): (&str, &str), out: &mut Vec<u8>) {
    let text = format!("<presence from='{from}' to='{to}' type='{kind}'/>");
    out.extend_from_slice(text.as_bytes());
}

/// A pager MESSAGE of the next hop's user.
pub(crate) fn push_message(
    (from, to): (&str, &str),
    sent_by: &str,
    mark: Mark,
    bytes: usize,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    let head = format!("MESSAGE sip:{to} SIP/2.0\r\nVia: SIP/2.0/TLS {sent_by};branch=z9hG4bK");
    out.extend_from_slice(head.as_bytes());
    mark.push(out);
    let parties = format!(
        "\r\nMax-Forwards: 70\r\nFrom: <sip:{from}>;tag=1\r\nTo: <sip:{to}>\r\nCSeq: 1 MESSAGE\r\n\
         Content-Type: text/plain; charset=UTF-8\r\nCall-ID: "
    );
    out.extend_from_slice(parties.as_bytes());
    mark.push(out);
    out.extend_from_slice(b"\r\n");
    let mut text = Vec::with_capacity(bytes);
    mark.push(&mut text);
    text.push(b' ');
    text.extend_from_slice(TEXT);
    push_padded_body(out, start, bytes, &text);
}
