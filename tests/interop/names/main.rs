//! The name server of the interop lab: hickory's, for zones from files, and with names below which
//! it misbehaves as real name servers do.
//!
//! ```text
//! entente-names ADDRESS:PORT zone=ORIGIN:FILE lies=NAME:FILE slow=NAME:MS fails=NAME mute=NAME
//! ```
//!
//! Every question is a line of its output.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hickory_server::Server;
use hickory_server::net::runtime::{Time, TokioRuntimeProvider};
use hickory_server::proto::op::{Header, HeaderCounts, Metadata, ResponseCode};
use hickory_server::proto::rr::{LowerName, Name, Record, RecordSet, RrKey};
use hickory_server::proto::serialize::txt::Parser;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, MessageResponseBuilder, ZoneType};
use tokio::net::{TcpListener, UdpSocket};

/// How long a connection may rest.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);
const TCP_RESPONSE_BYTES: usize = 4096;

/// What is done with questions for a name and what is below it.
enum Conduct {
    /// Nothing: the question is lost.
    Mute,
    /// SERVFAIL.
    Fails,
    /// The zone's answer, too late for some.
    Slow(Duration),
    /// These records, whatever was asked.
    Lies(Vec<Record>),
}

/// Zones, and the names below which they are not simply answered from.
#[derive(Default)]
struct Names {
    catalog: Catalog,
    conduct: Vec<(LowerName, Conduct)>,
}

impl Names {
    /// Takes in one word of the command line.
    fn take(&mut self, word: &str) -> anyhow::Result<()> {
        let (kind, rest) = word.split_once('=').context("expected KIND=NAME")?;
        let (name, more) = rest.split_once(':').unwrap_or((rest, ""));
        let name = Name::from_ascii(name)?;
        let below = LowerName::new(&name);
        let conduct = match kind {
            "zone" => {
                let zone: InMemoryZoneHandler<TokioRuntimeProvider> = InMemoryZoneHandler::new(
                    name.clone(),
                    records(&name, more)?,
                    ZoneType::Primary,
                    AxfrPolicy::Deny,
                )
                .map_err(anyhow::Error::msg)?;
                self.catalog.upsert(below, vec![Arc::new(zone)]);
                return Ok(());
            }
            "lies" => {
                let sets = records(&name, more)?;
                let lies = sets.values().flat_map(RecordSet::records_without_rrsigs).cloned();
                Conduct::Lies(lies.collect())
            }
            "slow" => Conduct::Slow(Duration::from_millis(more.parse()?)),
            "fails" => Conduct::Fails,
            "mute" => Conduct::Mute,
            _ => bail!("no such kind: {kind}"),
        };
        self.conduct.push((below, conduct));
        Ok(())
    }
}

/// Reads the zone file at `path` for `origin`.
fn records(origin: &Name, path: &str) -> anyhow::Result<BTreeMap<RrKey, RecordSet>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let parsed = Parser::new(text, None, Some(origin.clone())).parse();
    parsed.map(|(_, records)| records).with_context(|| format!("{path} is no zone file"))
}

#[async_trait::async_trait]
impl RequestHandler for Names {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut answer: R,
    ) -> ResponseInfo {
        let Ok(asked) = request.request_info() else {
            return self.catalog.handle_request::<R, T>(request, answer).await;
        };
        let name = asked.query.name();
        println!("asked {name} {}", asked.query.query_type());
        let builder = MessageResponseBuilder::from_message_request(request);
        let metadata = Metadata::response_from_request(&request.metadata);
        let conduct = self.conduct.iter().find(|(below, _)| below.zone_of(name));
        let sent = match conduct.map(|(_, conduct)| conduct) {
            Some(Conduct::Mute) => pending().await,
            Some(Conduct::Fails) => {
                let failure = builder.error_msg(&request.metadata, ResponseCode::ServFail);
                answer.send_response(failure).await
            }
            Some(Conduct::Lies(lies)) => {
                let nothing: [&Record; 0] = [];
                let lie = builder.build(metadata, lies, nothing, nothing, lies);
                answer.send_response(lie).await
            }
            Some(Conduct::Slow(pause)) => {
                tokio::time::sleep(*pause).await;
                return self.catalog.handle_request::<R, T>(request, answer).await;
            }
            None => return self.catalog.handle_request::<R, T>(request, answer).await,
        };
        sent.unwrap_or_else(|error| {
            println!("not sent: {error}");
            Header { metadata, counts: HeaderCounts::default() }.into()
        })
    }
}

async fn serve(address: SocketAddr, names: Names) -> anyhow::Result<()> {
    let mut server = Server::new(names);
    server.register_socket(UdpSocket::bind(address).await?);
    server.register_listener(TcpListener::bind(address).await?, TCP_TIMEOUT, TCP_RESPONSE_BYTES);
    println!("serving names at {address}");
    server.block_until_done().await?;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let address = words.next().context("expected an address first")?.parse()?;
    let mut names = Names::default();
    for word in words {
        names.take(&word).with_context(|| word.clone())?;
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async { serve(address, names).await })
}
