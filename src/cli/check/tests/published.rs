//! Records against a name server that is really asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;

use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::rdata::{A, SOA, SRV};
use hickory_resolver::proto::rr::{LowerName, Name, RData, Record};
use hickory_server::Server;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};

use super::*;

/// A name server on a thread of its own, until it is dropped.
struct NameServer {
    address: SocketAddr,
    end: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.end.take().map(|end| end.send(()));
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn srv(owner: &str, port: u16, target: &str) -> Record {
    Record::from_rdata(name(owner), 60, RData::SRV(SRV::new(0, 0, port, name(target))))
}

fn a(owner: &str, address: &str) -> Record {
    Record::from_rdata(name(owner), 60, RData::A(A(address.parse().unwrap())))
}

/// Serves the zone contoso.example.
fn serving(records: Vec<Record>) -> NameServer {
    let (told, address) = mpsc::channel();
    let (end, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let origin = name("contoso.example.");
            let mut zone: InMemoryZoneHandler<TokioRuntimeProvider> =
                InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny);
            let soa = SOA::new(origin.clone(), origin.clone(), 1, 60, 60, 60, 60);
            zone.upsert_mut(Record::from_rdata(origin.clone(), 60, RData::SOA(soa)), 1);
            for record in records {
                zone.upsert_mut(record, 1);
            }
            let mut catalog = Catalog::new();
            catalog.upsert(LowerName::new(&origin), vec![Arc::new(zone)]);
            let mut server = Server::new(catalog);
            let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            told.send(socket.local_addr().unwrap()).unwrap();
            server.register_socket(socket);
            let _ = ended.await;
        });
    });
    NameServer { address: address.recv().unwrap(), end: Some(end) }
}

/// What is found of DNS when the zone has `records`, with the edge's address known to the plan.
fn told(records: Vec<Record>) -> Vec<(&'static str, Severity, String, String)> {
    let server = serving(records);
    let directory = world(&["sip.contoso.example", "lsedge.contoso.example"]);
    let text = text_for(free_port());
    let at = text.find("servers = [").unwrap();
    let end = at + text[at..].find('\n').unwrap();
    let mut text = text;
    text.replace_range(at..end, &format!("servers = [\"{}\"]", server.address));
    let text = text
        .replace("timeout_ms = 100", "timeout_ms = 2000")
        .replace("external_fqdn", "internal_fqdn = \"lsedge.contoso.example\"\nexternal_fqdn")
        + "[[plan_node]]\nname = \"sip.contoso.example\"\naccess = [\"192.0.2.10\"]\n\
         internal = [\"10.0.0.10\"]\n";
    let findings = found(directory.path(), &text, now());
    let of_dns = findings.into_iter().filter(|finding| finding.code.starts_with("dns-"));
    of_dns.map(|f| (f.code, f.severity, f.sentence, f.advice)).collect()
}

/// The record of the edge at its own ports, which differ from run to run.
fn port_of(finding: &str) -> u16 {
    finding.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn records_as_planned_are_no_finding() {
    // The port is not known before the file is; a first look tells it.
    let sentence = told(vec![
        srv("_sipfederationtls._tcp.contoso.example.", 1, "sip.contoso.example."),
        a("sip.contoso.example.", "192.0.2.10"),
        a("lsedge.contoso.example.", "10.0.0.10"),
    ]);
    assert_eq!(sentence.len(), 1, "{sentence:?}");
    let (code, severity, sentence, advice) = &sentence[0];
    assert_eq!((*code, *severity), ("dns-record-port", Severity::Warning));
    let port = port_of(sentence);
    assert_eq!(
        *sentence,
        format!("_sipfederationtls._tcp.contoso.example names port 1, and the edge has {port}")
    );
    let record = "_sipfederationtls._tcp.contoso.example. SRV 0 0";
    assert_eq!(*advice, format!("{record} {port} sip.contoso.example."));
}

#[test]
fn a_zone_without_the_edge_is_told_what_to_publish() {
    let told = told(vec![a("www.contoso.example.", "192.0.2.80")]);
    let codes: Vec<_> = told.iter().map(|(code, severity, ..)| (*code, *severity)).collect();
    assert_eq!(
        codes,
        [
            ("dns-address-missing", Severity::Warning),
            ("dns-record-missing", Severity::Note),
            ("dns-address-missing", Severity::Note),
        ],
        "{told:?}"
    );
    assert_eq!(
        told[0].2,
        "sip.contoso.example has no address: the Access Edge, under the name that its certificate \
         carries"
    );
    assert_eq!(told[0].3, "publish 192.0.2.10 for sip.contoso.example");
    assert!(told[1].2.starts_with("there is no _sipfederationtls._tcp.contoso.example: partners"));
}

#[test]
fn a_record_that_names_another_host_is_a_warning() {
    let told = told(vec![
        srv("_sipfederationtls._tcp.contoso.example.", 5061, "old.contoso.example."),
        a("sip.contoso.example.", "192.0.2.11"),
        a("lsedge.contoso.example.", "10.0.0.10"),
    ]);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0].0, "dns-record-elsewhere");
    assert_eq!(
        told[0].2,
        "_sipfederationtls._tcp.contoso.example names old.contoso.example, not sip.contoso.example"
    );
    assert_eq!((told[1].0, told[1].1), ("dns-address-differs", Severity::Warning));
    assert_eq!(told[1].2, "sip.contoso.example has 192.0.2.11, and the plan says 192.0.2.10");
}
