//! Properties of the whole grammar, against a reader that is slow and plain.
use super::*;

#[test]
fn smoke() {
    let text = b"MESSAGE sip:bob@127.0.0.1:6100;transport=tls SIP/2.0\r\n\
Via: SIP/2.0/TLS 127.0.0.1:5061;branch=z9hG4bKe684.76c63cd3e8a4600a777947746dfaf103.0;i=2\r\n\
v: SIP/2.0/TLS 127.0.0.1:49152;branch=z9hG4bK059864d4\r\n\
Max-Forwards: 69\r\n\
From: \"Alice\" <sip:alice@contoso.example>;tag=5e498d41;epid=3f2a9c01de\r\n\
To: <sip:bob@fabrikam.example>\r\n\
Call-ID: 10c92e7d4b7f4e0ca3d1f9a27c15b8e2\r\n\
CSeq: 1000000000 MESSAGE\r\n\
Ms-Edge-Proxy-Message-TRUST : x\r\n\
Content-Length: 3\r\n\r\nHi ";
    let mut table = HeaderTable::new();
    let Ok(Scan::Message(scanned)) = scan(text, &mut table) else { panic!() };
    let message = Message::new(text, &table, scanned);
    message.verify().unwrap();
    assert_eq!(message.body(), b"Hi ");
    assert_eq!(message.vias().count(), 2);
    assert!(message.present(HeaderName::MsEdgeProxyMessageTrust));
    let top = message.top_via().unwrap();
    assert_eq!(top.via.port, Some(5061));
    let mut edits = Edits::new();
    edits.remove(top.value.remove.clone());
    edits.insert(top.line_start).extend_from_slice(b"Via: mine\r\n");
    let mut out = Vec::new();
    edits.apply(text, &mut out);
    assert_eq!(out.len(), edits.len_after(text.len()));
    println!("{}", String::from_utf8_lossy(&out));
    out.clear();
    reply::write(&mut out, &message, 400, "Bad", b"abc", b"X: y\r\n");
    println!("{}", String::from_utf8_lossy(&out));
}
