//! A small XMPP server: plays a partner and the one user there.
//!
//! As between most servers there is a stream for each direction: stanzas for its user arrive on the
//! one that contoso's edge opens, and leave on one of its own. Both begin in the clear, go on under
//! TLS, and each side proves its domain by its certificate. What it reads and writes is the crate's
//! own grammar; servers that others wrote are in `tests/interop`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::event::{Event, Passed, Way};
use crate::xmpp::{Bounds, Node, Read, Reader, StreamHeader, ns};

/// How long each step of opening a stream may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// Size of an element; the story's are far below it.
const STANZA_BYTES_MAX: u32 = 64 * 1024;

/// Who a server is and how it proves it.
#[derive(Clone)]
pub(super) struct XmppParty {
    /// Its place in the ladder.
    pub(super) place: usize,
    /// Its domain, which its certificate carries.
    pub(super) domain: String,
    /// Its user's address.
    pub(super) user: String,
    /// The address it listens on and connects from.
    pub(super) address: IpAddr,
    /// The domain it talks to.
    pub(super) peer: String,
    /// Where that domain's edge takes streams.
    pub(super) edge: SocketAddr,
    /// TLS towards the edge; presents the party's certificate.
    pub(super) client: Arc<rustls::ClientConfig>,
    /// TLS for the edge; demands a certificate.
    pub(super) server: Arc<rustls::ServerConfig>,
    /// Hears of what passes.
    pub(super) events: mpsc::UnboundedSender<Event>,
}

/// A running server.
pub(super) struct XmppServer {
    party: Arc<XmppParty>,
    /// The stream of its own, once it is open.
    out: Mutex<Option<WriteHalf<Stream>>>,
}

/// What a stream runs over: TCP, then TLS over it.
type Stream = Box<dyn Duplex>;

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl XmppServer {
    /// Listens on `listener`.
    pub(super) fn start(party: XmppParty, listener: TcpListener) -> Self {
        let party = Arc::new(party);
        tokio::spawn(Arc::clone(&party).accept(listener));
        Self { party, out: Mutex::new(None) }
    }

    /// Returns the address of the party's user.
    pub(super) fn user(&self) -> &str {
        &self.party.user
    }

    /// Opens the stream on which stanzas leave.
    pub(super) async fn open(&self) -> anyhow::Result<()> {
        let wire = self.party.initiate().await?;
        let (mut reader, writer) = tokio::io::split(wire.stream);
        *self.out.lock().await = Some(writer);
        // Nothing is expected there but its end; reading is how TLS learns of it.
        tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        Ok(())
    }

    /// Sends a stanza.
    pub(super) async fn send(&self, stanza: Node) -> anyhow::Result<()> {
        let mut out = Vec::new();
        stanza.write(&mut out);
        let mut guard = self.out.lock().await;
        let stream = guard.as_mut().context("the server has no stream of its own")?;
        self.party.tell(Way::Sent, stanza);
        stream.write_all(&out).await?;
        Ok(stream.flush().await?)
    }
}

impl XmppParty {
    /// Says who it is and returns what it is told instead of a way on.
    pub(super) async fn knock(&self) -> anyhow::Result<Node> {
        let mut wire = Wire::new(Box::new(self.connect().await?));
        self.send_header(&mut wire).await?;
        wire.header().await?;
        let answer = wire.node().await?;
        self.tell(Way::Received, answer.clone());
        Ok(answer)
    }

    fn tell(&self, way: Way, node: Node) {
        // Nobody listens any more when the story has ended.
        let _ = self.events.send(Event { party: self.place, way, what: Passed::Xmpp(node) });
    }

    async fn connect(&self) -> anyhow::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.address, 0))?;
        let stream = timeout(STEP_TIMEOUT, socket.connect(self.edge)).await??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn initiate(&self) -> anyhow::Result<Wire> {
        let mut wire = Wire::new(Box::new(self.connect().await?));
        self.features(&mut wire, ("starttls", ns::TLS)).await?;
        self.say(&mut wire, Node::new("starttls", ns::TLS)).await?;
        self.expect(&mut wire, ("proceed", ns::TLS)).await?;
        let name = ServerName::try_from(self.peer.clone())?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.client));
        let secured = timeout(STEP_TIMEOUT, connector.connect(name, wire.stream)).await;
        let mut wire = Wire::new(Box::new(secured.context("TLS takes too long")??));
        self.features(&mut wire, ("mechanisms", ns::SASL)).await?;
        let auth = Node::new("auth", ns::SASL).with("mechanism", "EXTERNAL").with_text("=");
        self.say(&mut wire, auth).await?;
        self.expect(&mut wire, ("success", ns::SASL)).await?;
        wire.reader.restart();
        self.send_header(&mut wire).await?;
        wire.header().await?;
        wire.node().await?;
        Ok(wire)
    }

    /// Opens the stream, or opens it anew, and reads the features, which must have `wanted`.
    async fn features(&self, wire: &mut Wire, wanted: (&str, &str)) -> anyhow::Result<()> {
        self.send_header(wire).await?;
        wire.header().await?;
        let features = wire.node().await?;
        let offered = features.is("features", ns::STREAMS);
        let offered = offered && features.child(wanted.0, wanted.1).is_some();
        ensure!(offered, "{} is not offered", wanted.0);
        Ok(())
    }

    async fn send_header(&self, wire: &mut Wire) -> anyhow::Result<()> {
        let mut out = Vec::new();
        StreamHeader::between(&self.domain, &self.peer).write(&mut out);
        self.tell(Way::Sent, Node::new("stream", ns::STREAMS));
        wire.write(&out).await
    }

    async fn say(&self, wire: &mut Wire, node: Node) -> anyhow::Result<()> {
        let mut out = Vec::new();
        node.write(&mut out);
        self.tell(Way::Sent, node);
        wire.write(&out).await
    }

    async fn expect(&self, wire: &mut Wire, wanted: (&str, &str)) -> anyhow::Result<()> {
        let node = wire.node().await?;
        self.tell(Way::Received, node.clone());
        ensure!(node.is(wanted.0, wanted.1), "expected {}, got {}", wanted.0, node.name());
        Ok(())
    }

    /// Accepts until the runtime ends.
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let party = Arc::clone(&self);
            tokio::spawn(async move {
                if let Err(error) = party.receive(stream).await {
                    tracing::warn!(domain = %party.domain, %error, "a stream ended in error");
                }
            });
        }
    }

    /// Takes a stream that the edge opens, and its stanzas until it ends.
    async fn receive(&self, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let mut wire = Wire::new(Box::new(stream));
        let starttls = Node::new("starttls", ns::TLS).with_child(Node::new("required", ns::TLS));
        self.answer_header(&mut wire, "1", Some(starttls)).await?;
        self.expect(&mut wire, ("starttls", ns::TLS)).await?;
        self.say(&mut wire, Node::new("proceed", ns::TLS)).await?;
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&self.server));
        let secured = timeout(STEP_TIMEOUT, acceptor.accept(wire.stream)).await;
        let secured = secured.context("TLS takes too long")??;
        self.check_certificate(secured.get_ref().1.peer_certificates())?;
        let mut wire = Wire::new(Box::new(secured));
        let mechanism = Node::new("mechanism", ns::SASL).with_text("EXTERNAL");
        let mechanisms = Node::new("mechanisms", ns::SASL).with_child(mechanism);
        self.answer_header(&mut wire, "2", Some(mechanisms)).await?;
        self.expect(&mut wire, ("auth", ns::SASL)).await?;
        self.say(&mut wire, Node::new("success", ns::SASL)).await?;
        wire.reader.restart();
        self.answer_header(&mut wire, "3", None).await?;
        while let Some(item) = wire.next().await? {
            match item {
                Item::Node(node) => self.tell(Way::Received, node),
                Item::Header(_) => bail!("a second header"),
                Item::Close => break,
            }
        }
        Ok(())
    }

    /// TLS has verified the chain; the name in it is what XEP-0178 asks for.
    fn check_certificate(
        &self,
        chain: Option<&[rustls::pki_types::CertificateDer<'_>]>,
    ) -> anyhow::Result<()> {
        let first = chain.and_then(<[_]>::first).context("the edge shows no certificate")?;
        let certificate = webpki::EndEntityCert::try_from(first)?;
        let name = ServerName::try_from(self.peer.as_str())?;
        Ok(certificate.verify_is_valid_for_subject_name(&name)?)
    }

    async fn answer_header(
        &self,
        wire: &mut Wire,
        id: &str,
        feature: Option<Node>,
    ) -> anyhow::Result<()> {
        let header = wire.header().await?;
        self.tell(Way::Received, Node::new("stream", ns::STREAMS));
        let (from, to) = (header.from.as_deref(), header.to.as_deref());
        ensure!(from == Some(&self.peer) && to == Some(&self.domain), "a header for others");
        let header = StreamHeader::between(&self.domain, &self.peer).with_id(id);
        let mut out = Vec::new();
        header.write(&mut out);
        out.extend_from_slice(b"<stream:features>");
        if let Some(feature) = feature {
            feature.write(&mut out);
        }
        out.extend_from_slice(b"</stream:features>");
        wire.write(&out).await
    }
}

/// One stream and what has been read of it.
struct Wire {
    stream: Stream,
    reader: Reader,
    input: Vec<u8>,
}

enum Item {
    Header(StreamHeader),
    Node(Node),
    Close,
}

impl Wire {
    fn new(stream: Stream) -> Self {
        let reader = Reader::new(Bounds::authenticated(STANZA_BYTES_MAX));
        Self { stream, reader, input: Vec::new() }
    }

    async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    async fn header(&mut self) -> anyhow::Result<StreamHeader> {
        match self.in_time().await? {
            Item::Header(header) => Ok(header),
            Item::Node(node) => bail!("expected a header, got {}", node.name()),
            Item::Close => bail!("the stream was ended"),
        }
    }

    async fn node(&mut self) -> anyhow::Result<Node> {
        match self.in_time().await? {
            Item::Node(node) => Ok(node),
            Item::Header(_) => bail!("a second header"),
            Item::Close => bail!("the stream was ended"),
        }
    }

    async fn in_time(&mut self) -> anyhow::Result<Item> {
        let next = timeout(STEP_TIMEOUT, self.next()).await;
        let next = next.map_err(|_| anyhow!("no answer in {STEP_TIMEOUT:?}"))??;
        next.context("the connection was closed")
    }

    /// Reads the next item; `None`: the connection has ended.
    async fn next(&mut self) -> anyhow::Result<Option<Item>> {
        loop {
            if let Some(item) = self.take()? {
                return Ok(Some(item));
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Takes an item out of what was read; `None`: none is whole.
    fn take(&mut self) -> anyhow::Result<Option<Item>> {
        loop {
            let read = self.reader.read(&self.input);
            let read = read.map_err(|fault| anyhow!("{}", fault.sentence()))?;
            let (item, consumed) = match read {
                Read::NeedMore(_) => return Ok(None),
                Read::WhiteSpace { consumed } => (None, consumed),
                Read::Header { header, consumed } => (Some(Item::Header(header)), consumed),
                Read::Element { element, consumed } => {
                    (Some(Item::Node(Node::from(&element))), consumed)
                }
                Read::Close { consumed } => (Some(Item::Close), consumed),
            };
            self.input.drain(..consumed);
            if item.is_some() {
                return Ok(item);
            }
        }
    }
}
