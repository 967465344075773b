//! Rules of the documents: one file per document, names say section and rule.

mod lync_federation;
mod lync_federation_decisions;
mod lync_federation_users;
mod lync_planning;
mod rfc2782;
mod rfc3261_syntax;
mod rfc4475;
mod rfc5118;
mod rfc5769;
mod rfc6062;
mod rfc6120_streams;
mod rfc7247;
mod rfc7572;
mod rfc7573;
mod rfc7622_addresses;
mod rfc8016;
mod rfc8048;
mod rfc8489;
mod rfc8656;
mod turn;
mod xep0071;
mod xep0085;
mod xep0106;
mod xep0178;
mod xep0184;
mod xep0185;
mod xep0198;
mod xep0199;
mod xep0220;
mod xep0288;
mod xep0368;
mod xmpp;

use entente::sip::{Edits, FramingFault, HeaderTable, Message, Scan, SyntaxFault, scan};

/// Scans `bytes`, which must begin with a whole message, and hands it to `check`.
fn scanned<T>(bytes: &[u8], check: impl FnOnce(&Message<'_>) -> T) -> T {
    let mut table = HeaderTable::new();
    match scan(bytes, &mut table) {
        Ok(Scan::Message(found)) => check(&Message::new(bytes, &table, found)),
        other => panic!("no whole message: {other:?} in {}", String::from_utf8_lossy(bytes)),
    }
}

/// The message is whole and well formed, and forwarding it unchanged would change nothing.
fn accepted<T>(bytes: &[u8], check: impl FnOnce(&Message<'_>) -> T) -> T {
    scanned(bytes, |message| {
        assert_eq!(message.verify(), Ok(()), "{}", String::from_utf8_lossy(bytes));
        let mut out = Vec::new();
        Edits::new().apply(message.raw(), &mut out);
        assert_eq!(out, message.raw());
        check(message)
    })
}

/// The message is whole but not well formed.
fn refused(bytes: &[u8]) -> SyntaxFault {
    scanned(bytes, |message| message.verify().expect_err("the message is not well formed"))
}

/// Where the message ends cannot be known.
fn broken(bytes: &[u8]) -> FramingFault {
    match scan(bytes, &mut HeaderTable::new()) {
        Ok(Scan::Broken(_, fault)) => fault,
        other => panic!("the framing should be broken: {other:?}"),
    }
}

/// Makes a message of text in which lines end in LF.
fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

/// A request that is well formed, with `changed` lines in place of its own of the same name, or
/// beside them; a line `Name:-` only takes its own away.
fn request(start_line: &str, changed: &[&str]) -> Vec<u8> {
    let method = start_line.split(' ').next().unwrap_or_default();
    let own = [
        "Via: SIP/2.0/TLS sip.fabrikam.example:5061;branch=z9hG4bK776a".to_owned(),
        "Max-Forwards: 70".to_owned(),
        "From: <sip:bob@fabrikam.example>;tag=b1".to_owned(),
        "To: <sip:alice@contoso.example>".to_owned(),
        "Call-ID: 1@fabrikam.example".to_owned(),
        format!("CSeq: 1 {method}"),
        "Content-Length: 0".to_owned(),
    ];
    let name_of = |line: &str| line.split(':').next().map(|n| n.trim().to_ascii_lowercase());
    let mut text = format!("{start_line}\r\n");
    for line in own.iter().filter(|o| !changed.iter().any(|c| name_of(c) == name_of(o))) {
        text.push_str(&format!("{line}\r\n"));
    }
    for line in changed.iter().filter(|line| !line.ends_with('-')) {
        text.push_str(&format!("{line}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}
