//! The grammar's parts on the two messages of the comparison in `benches/record`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use entente::sip::{Edits, HeaderName, HeaderTable, Message, Scan, Scanned, reply, scan};

/// A federated instant message as a Lync client's server sends it: 12 header fields.
const MESSAGE: &str = "\
MESSAGE sip:bob@127.0.0.1:6100;transport=tls SIP/2.0\r\n\
Via: SIP/2.0/TLS 127.0.0.1:49152;branch=z9hG4bK059864d4\r\n\
Max-Forwards: 70\r\n\
From: \"Alice\" <sip:alice@contoso.example>;tag=5e498d41;epid=3f2a9c01de\r\n\
To: <sip:bob@fabrikam.example>\r\n\
Call-ID: 10c92e7d4b7f4e0ca3d1f9a27c15b8e2\r\n\
CSeq: 1000000000 MESSAGE\r\n\
Contact: <sip:alice@contoso.example;opaque=user:epid:KkWm2x1vG1aPq3;gruu>\r\n\
User-Agent: UCCAPI/16.0.10730.20053 OC/16.0.10730.20053\r\n\
Supported: timer, ms-safe-transfer\r\n\
Ms-Conversation-ID: AdT5oP2mVfX1xv7XQ0y5g0qkqk6w1w==\r\n\
Content-Type: text/plain; charset=UTF-8\r\n\
Content-Length: 113\r\n\
\r\n\
Hi Bob, are we still on for the review at three? I moved the deck to the team share. \
Hi Bob, are we still on for ";

/// The head of an audio call; its session description is made up to 561 bytes.
const INVITE_HEAD: &str = "\
INVITE sip:bob@fabrikam.example SIP/2.0\r\n\
Via: SIP/2.0/TLS 203.0.113.9:5061;branch=z9hG4bK9F3A7C21.6E1B4D0F8A2C5E77;branched=FALSE;\
ms-internal-info=\"ab\"\r\n\
Via: SIP/2.0/TLS 10.20.30.40:61822;branch=z9hG4bK31e5fd27;ms-received-port=61822;\
ms-received-cid=1F00\r\n\
Record-Route: <sip:sip.contoso.example:5061;transport=tls;lr;epid=3f2a9c01de>;tag=A1B2C3D4E5F6\r\n\
Max-Forwards: 69\r\n\
From: \"Alice\" <sip:alice@contoso.example>;tag=6a3414b2;epid=3f2a9c01de\r\n\
To: <sip:bob@fabrikam.example>\r\n\
Call-ID: 95b1f7764b7f4e0ca3d1f9a27c15b8e2\r\n\
CSeq: 1 INVITE\r\n\
Contact: <sip:alice@contoso.example;opaque=user:epid:KkWm2x1vG1aPq3;gruu>\r\n\
User-Agent: UCCAPI/16.0.10730.20053 OC/16.0.10730.20053\r\n\
Supported: timer, histinfo, ms-safe-transfer, ms-early-media\r\n\
Allow: INVITE, BYE, ACK, CANCEL, INFO, UPDATE, REFER, NOTIFY, BENOTIFY, OPTIONS\r\n\
Session-Expires: 1800\r\n\
Ms-Conversation-ID: AdT5oP2mVfX1xv7XQ0y5g0qkqk6w1w==\r\n\
Content-Type: application/sdp\r\n\
Content-Length: 561\r\n\
\r\n";

fn invite() -> Vec<u8> {
    let mut text = INVITE_HEAD.as_bytes().to_vec();
    let total = text.len() + 561;
    while text.len() < total {
        text.extend_from_slice(b"a=candidate:1 1 UDP 2130706431 10.20.30.40 24680 typ host\r\n");
    }
    text.truncate(total);
    text
}

fn scanned(text: &[u8], table: &mut HeaderTable) -> Scanned {
    match scan(text, table) {
        Ok(Scan::Message(scanned)) => scanned,
        other => panic!("the bench message is not one: {other:?}"),
    }
}

fn scanning(criterion: &mut Criterion) {
    let invite = invite();
    // Sixteen messages that differ in the lengths of their lines, so that the processor cannot
    // learn one message's branches by heart as it does when a bench repeats it.
    let varied: Vec<Vec<u8>> = (0..16).map(vary).collect();
    let mut table = HeaderTable::new();
    let mut group = criterion.benchmark_group("sip_scan");
    for (name, text) in [("message_700", MESSAGE.as_bytes()), ("invite_1500", &invite)] {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |b| b.iter(|| scan(black_box(text), &mut table)));
    }
    let mut turn = 0;
    group.throughput(Throughput::Elements(1));
    group.bench_function("message_700_varied", |b| {
        b.iter(|| {
            turn = (turn + 7) % varied.len();
            scan(black_box(&varied[turn]), &mut table)
        });
    });
    group.finish();
}

fn vary(seed: usize) -> Vec<u8> {
    let user = &"abcdefghijklmnopqrstuvwxyz"[..4 + seed * 5 % 13];
    let mut text = MESSAGE.replace("alice", user).replace("UCCAPI/16.0.10730.20053 ", "");
    if [0, 3, 6, 9, 12].contains(&seed) {
        text = text.replace("Supported: timer, ms-safe-transfer\r\n", "");
    }
    text.replace("10c92e7d4b7f4e0ca3d1f9a27c15b8e2", &"c9d17e"[..1 + seed % 5].repeat(7))
        .into_bytes()
}

fn checking(criterion: &mut Criterion) {
    let mut table = HeaderTable::new();
    let scanned = scanned(MESSAGE.as_bytes(), &mut table);
    let message = Message::new(MESSAGE.as_bytes(), &table, scanned);
    let mut group = criterion.benchmark_group("sip_verify");
    group.bench_function("message_700", |b| b.iter(|| black_box(&message).verify()));
    group.finish();
    let mut group = criterion.benchmark_group("sip_decode");
    group.bench_function("top_via", |b| b.iter(|| black_box(&message).top_via()));
    group.bench_function("from_tag", |b| b.iter(|| black_box(&message).from().map(|f| f.tag())));
    group.finish();
}

/// What a proxy does to a request: Max-Forwards, a Via, a trust header, and the copy.
fn editing(criterion: &mut Criterion) {
    let mut table = HeaderTable::new();
    let scanned = scanned(MESSAGE.as_bytes(), &mut table);
    let message = Message::new(MESSAGE.as_bytes(), &table, scanned);
    let mut edits = Edits::new();
    let mut out = Vec::with_capacity(4096);
    let mut group = criterion.benchmark_group("sip_edit");
    group.bench_function("message_700", |b| {
        b.iter(|| {
            edits.clear();
            out.clear();
            let message = black_box(&message);
            let (Ok(top), Some(hops)) = (message.top_via(), message.first(HeaderName::MaxForwards))
            else {
                panic!("the bench message has both");
            };
            edits.insert(top.line_start).extend_from_slice(
                b"Via: SIP/2.0/TLS sip.contoso.example:5061;branch=z9hG4bK0123456789abcdef\r\n",
            );
            edits.replace(hops.value_range, b"69");
            edits.insert(top.line_start).extend_from_slice(
                b"ms-edge-proxy-message-trust: ms-source-type=AutoFederation\r\n",
            );
            edits.apply(message.raw(), &mut out);
            out.len()
        });
    });
    group.bench_function("reply_200", |b| {
        b.iter(|| {
            out.clear();
            reply::write(&mut out, black_box(&message), 200, "OK", b"0123456789", b"");
            out.len()
        });
    });
    group.finish();
}

criterion_group! {
    name = sip;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = scanning, checking, editing
}
criterion_main!(sip);
