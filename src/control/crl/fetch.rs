//! One list over HTTP/1.1: bounded in bytes and time, no redirect followed, and only from where
//! the edge may connect to.

use std::error::Error as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, HOST};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::dns::resolver::Resolver;
use crate::dns::{self, Domain, Question};
use crate::limits;
use crate::policy::{AddressRefusal, AddressRule, address};
use crate::tls::ListFault;

/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Why there is no list; its `Display` goes to the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("it names no place that is asked by HTTP")]
    NoHttpPlace,
    #[error("its address cannot be read")]
    BadUrl,
    #[error("the name has no address in DNS ({0:?})")]
    Unresolved(dns::Failure),
    #[error("its address is refused: {0}; see addresses.allow_networks")]
    AddressRefused(AddressRefusal),
    #[error("no connection: {0}")]
    Unreachable(String),
    #[error("it took too long")]
    Timeout,
    #[error("the answer redirects elsewhere, which is not followed")]
    Redirected,
    #[error("the answer has the status {0}")]
    Status(u16),
    #[error("it is larger than tls.revocation_list_bytes")]
    TooLarge,
    #[error("the answer broke off: {0}")]
    Broken(String),
    #[error(transparent)]
    List(#[from] ListFault),
}

impl Failure {
    /// The words of [`Self::label`], for the exporter.
    pub(super) const LABELS: [&'static str; 10] = [
        "no_place",
        "unresolved",
        "address_refused",
        "unreachable",
        "timeout",
        "redirected",
        "status",
        "too_large",
        "broken",
        "bad_list",
    ];

    /// Returns the place in [`Self::LABELS`].
    pub(super) const fn place(&self) -> usize {
        match self {
            Self::NoHttpPlace | Self::BadUrl => 0,
            Self::Unresolved(_) => 1,
            Self::AddressRefused(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Timeout => 4,
            Self::Redirected => 5,
            Self::Status(_) => 6,
            Self::TooLarge => 7,
            Self::Broken(_) => 8,
            Self::List(_) => 9,
        }
    }
}

/// What bounds a fetch.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// Where a connection may go.
    pub(super) addresses: AddressRule,
    /// For all of it: name, connection, answer.
    pub(super) timeout_ms: u64,
    /// Of the list as it comes.
    pub(super) bytes_max: usize,
}

/// Fetches what is at `url`.
pub(super) async fn get(resolver: &Resolver, url: &str, terms: &Terms) -> Result<Bytes, Failure> {
    let whole = Duration::from_millis(terms.timeout_ms);
    tokio::time::timeout(whole, get_unbounded(resolver, url, terms))
        .await
        .unwrap_or(Err(Failure::Timeout))
}

async fn get_unbounded(resolver: &Resolver, url: &str, terms: &Terms) -> Result<Bytes, Failure> {
    let place = Place::read(url)?;
    let addresses = place.addresses(resolver).await?;
    let stream = connect(&permitted(&addresses, &terms.addresses)?).await?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_BYTES_MAX);
    let broken = |error: hyper::Error| {
        let cause = error.source().map(ToString::to_string);
        Failure::Broken(cause.unwrap_or_else(|| error.to_string()))
    };
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // Dropped with this future, whatever ends it, and the connection with it.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let answer = sender.send_request(place.request()?).await.map_err(broken)?;
    body(answer, terms.bytes_max).await
}

async fn body(answer: Response<Incoming>, bytes_max: usize) -> Result<Bytes, Failure> {
    let status = answer.status();
    if status.is_redirection() {
        return Err(Failure::Redirected);
    }
    if status != StatusCode::OK {
        return Err(Failure::Status(status.as_u16()));
    }
    let announced = answer.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let announced: Option<usize> = announced.and_then(|length| length.parse().ok());
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        return Err(Failure::TooLarge);
    }
    match Limited::new(answer.into_body(), bytes_max).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::TooLarge),
        Err(error) => Err(Failure::Broken(error.to_string())),
    }
}

/// Returns the addresses that may be connected to; if there is none, why the first may not.
fn permitted(addresses: &[SocketAddr], rule: &AddressRule) -> Result<Vec<SocketAddr>, Failure> {
    let mut refused = None;
    let mut passed = Vec::with_capacity(addresses.len());
    for given in addresses {
        match address::permitted(rule, &[], given.ip()) {
            Ok(ip) => passed.push(SocketAddr::new(ip, given.port())),
            Err(refusal) => refused = refused.or(Some(refusal)),
        }
    }
    match (passed.is_empty(), refused) {
        (true, Some(refusal)) => Err(Failure::AddressRefused(refusal)),
        (true, None) => Err(Failure::Unresolved(dns::Failure::NoAddress)),
        (false, _) => Ok(passed),
    }
}

/// Connects to the first address that accepts.
async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    let mut why = Failure::Timeout;
    for address in addresses.iter().take(limits::CONNECT_ADDRESSES_MAX) {
        let one = Duration::from_millis(limits::CONNECT_MS);
        match tokio::time::timeout(one, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = Failure::Unreachable(format!("{address}: {error}")),
            Err(_) => why = Failure::Unreachable(format!("{address}: no answer")),
        }
    }
    Err(why)
}

/// What a URL says.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    uri: Uri,
    host: Host,
    port: u16,
}

#[derive(Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(Domain),
}

impl Place {
    fn read(url: &str) -> Result<Self, Failure> {
        let uri: Uri = url.parse().map_err(|_| Failure::BadUrl)?;
        let authority = uri.authority().ok_or(Failure::BadUrl)?;
        if uri.scheme_str() != Some("http") || authority.as_str().contains('@') {
            return Err(Failure::BadUrl);
        }
        let text = authority.host().trim_start_matches('[').trim_end_matches(']');
        let host = match text.parse() {
            Ok(address) => Host::Address(address),
            Err(_) => Host::Name(Domain::parse(text.as_bytes()).map_err(|_| Failure::BadUrl)?),
        };
        let port = authority.port_u16().unwrap_or(80);
        Ok(Self { uri, host, port })
    }

    async fn addresses(&self, resolver: &Resolver) -> Result<Vec<SocketAddr>, Failure> {
        let fqdn = match &self.host {
            Host::Address(ip) => return Ok(vec![SocketAddr::new(*ip, self.port)]),
            Host::Name(fqdn) => fqdn.clone(),
        };
        let question = Question::Host { fqdn, port: self.port };
        let targets = resolver.answer(&question).await.outcome.map_err(Failure::Unresolved)?;
        let addresses = targets.iter().flat_map(|target| &target.addresses);
        Ok(addresses.map(|ip| SocketAddr::new(*ip, self.port)).collect())
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, Failure> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = self.uri.authority().map_or("", |authority| authority.as_str());
        Request::get(path)
            .header(HOST, host)
            .header(ACCEPT, "application/pkix-crl, */*;q=0.1")
            .header(CONNECTION, "close")
            .body(Empty::new())
            .map_err(|_| Failure::BadUrl)
    }
}

#[cfg(test)]
mod tests;
