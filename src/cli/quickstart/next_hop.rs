//! A small SIP server behind an edge: plays the Front End and the one user registered there.
//!
//! It keeps one mutual-TLS connection to its edge, on which it sends requests, and accepts the
//! edge's connections, on which requests for its user arrive. Every message it sends or receives
//! is told to the story, which judges it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::dialog::Dialog;
use super::event::{Event, Passed, Way};
use super::message::{self, Message};

/// How long a connection may take to come up and a request to be answered.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages queued towards one connection; the story sends one at a time.
const OUT_QUEUE: usize = 64;
/// Bytes one connection may send without completing a message.
const INPUT_BYTES_MAX: usize = 256 * 1024;

/// Who a party is and how it proves it.
pub(super) struct Party {
    /// Its place in the ladder.
    pub(super) place: usize,
    /// Its own FQDN, which its certificate carries.
    pub(super) fqdn: String,
    /// Its user's address, without scheme.
    pub(super) user: String,
    /// The address it listens on and connects from.
    pub(super) address: IpAddr,
    /// TLS towards the edge; presents the party's certificate.
    pub(super) client: Arc<rustls::ClientConfig>,
    /// TLS for the edge; demands a certificate.
    pub(super) server: Arc<rustls::ServerConfig>,
}

/// A running server.
pub(super) struct NextHop {
    shared: Arc<Shared>,
    out: mpsc::Sender<Vec<u8>>,
    /// What a SIP URI of a server beside the edge begins with, and the connection to it.
    beside: Option<(String, mpsc::Sender<Vec<u8>>)>,
}

struct Shared {
    party: Party,
    port: u16,
    events: mpsc::UnboundedSender<Event>,
    /// Who waits for responses, by branch.
    pending: Mutex<BTreeMap<String, mpsc::UnboundedSender<Message>>>,
    /// Dialogs that were begun from the other side, by Call-ID.
    begun: Mutex<BTreeMap<String, Dialog>>,
    /// What a call, other than a session of messages, is answered with.
    call_answer: Mutex<String>,
    serial: AtomicU32,
}

impl NextHop {
    /// Listens on `listener`, connects to the edge, and tells `events` what passes.
    pub(super) async fn start(
        party: Party,
        listener: TcpListener,
        edge: SocketAddr,
        edge_fqdn: &str,
        events: mpsc::UnboundedSender<Event>,
    ) -> anyhow::Result<Self> {
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            party,
            port,
            events,
            pending: Mutex::default(),
            begun: Mutex::default(),
            call_answer: Mutex::default(),
            serial: AtomicU32::new(0),
        });
        tokio::spawn(Arc::clone(&shared).accept(listener));
        let out = shared.connect(edge, edge_fqdn).await?;
        Ok(Self { shared, out, beside: None })
    }

    /// Connects to another server inside, which gets the requests whose URI names it.
    pub(super) async fn connect_beside(
        &mut self,
        server: SocketAddr,
        fqdn: &str,
    ) -> anyhow::Result<()> {
        let out = self.shared.connect(server, fqdn).await?;
        self.beside = Some((format!("sip:{fqdn}:{}", server.port()), out));
        Ok(())
    }

    /// Returns the address of the party's user.
    pub(super) fn user(&self) -> &str {
        &self.shared.party.user
    }

    /// Begins a request outside any dialog from the party's user to `to`.
    pub(super) fn request(&self, method: &str, to: &str) -> Message {
        let serial = self.shared.serial.fetch_add(1, Ordering::Relaxed);
        let Party { user, fqdn, .. } = &self.shared.party;
        let mut request = Message::request(method, &format!("sip:{to}"));
        request.add("From", &format!("<sip:{user}>;tag=f{serial:04x};epid=1122334455"));
        request.add("To", &format!("<sip:{to}>"));
        request.add("Call-ID", &format!("{serial:08x}-{}@{fqdn}", method.to_lowercase()));
        request.add("CSeq", &format!("1 {method}"));
        request
    }

    /// Sends a request and returns its final response.
    pub(super) async fn send(&self, mut request: Message) -> anyhow::Result<Message> {
        let (sender, mut responses) = mpsc::unbounded_channel();
        let method = request.method().to_owned();
        let branch = self.shared.complete(&mut request);
        self.shared.lock(&self.shared.pending).insert(branch.clone(), sender);
        let answered = timeout(ANSWER_TIMEOUT, async {
            self.write(request).await?;
            loop {
                let response = responses.recv().await.context("nobody waits any more")?;
                if response.status().is_some_and(|status| status >= 200) {
                    return anyhow::Ok(response);
                }
            }
        });
        let outcome = answered.await;
        self.shared.lock(&self.shared.pending).remove(&branch);
        outcome.map_err(|_| anyhow!("{method} was not answered in {ANSWER_TIMEOUT:?}"))?
    }

    /// Sends an ACK, which nobody answers.
    pub(super) async fn acknowledge(&self, dialog: &mut Dialog) -> anyhow::Result<()> {
        let mut ack = dialog.request("ACK");
        self.shared.complete(&mut ack);
        self.write(ack).await
    }

    /// Takes the dialog that the other side began with `call_id`.
    pub(super) fn take_begun(&self, call_id: &str) -> Option<Dialog> {
        self.shared.lock(&self.shared.begun).remove(call_id)
    }

    /// Sets the description that calls are answered with.
    pub(super) fn answer_calls_with(&self, description: String) {
        *self.shared.lock(&self.shared.call_answer) = description;
    }

    async fn write(&self, request: Message) -> anyhow::Result<()> {
        let bytes = request.write();
        let uri = request.start.split(' ').nth(1).unwrap_or_default();
        let named = self.beside.as_ref().filter(|(prefix, _)| uri.starts_with(prefix.as_str()));
        let out = named.map_or(&self.out, |(_, out)| out);
        self.shared.tell(Way::Sent, request);
        out.send(bytes).await.map_err(|_| anyhow!("the connection to the edge is closed"))
    }
}

impl Shared {
    fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> std::sync::MutexGuard<'a, T> {
        // A panic elsewhere leaves a map as whole as it was.
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, way: Way, message: Message) {
        // Nobody listens any more when the story has ended.
        let what = Passed::Sip(message);
        let _ = self.events.send(Event { party: self.party.place, way, what });
    }

    /// Adds what every request carries and returns its branch.
    fn complete(&self, request: &mut Message) -> String {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let branch = format!("z9hG4bK{:02x}{serial:06x}", self.party.place);
        let Party { fqdn, .. } = &self.party;
        let via = format!("SIP/2.0/TLS {fqdn}:{};branch={branch}", self.port);
        request.add_first("Via", &via);
        request.add("Max-Forwards", "70");
        if matches!(request.method(), "INVITE" | "SUBSCRIBE" | "NOTIFY") {
            request.add("Contact", &self.contact());
        }
        branch
    }

    fn contact(&self) -> String {
        format!("<sip:{};opaque=user:epid:Quickstart;gruu>", self.party.user)
    }

    async fn connect(
        self: &Arc<Self>,
        edge: SocketAddr,
        fqdn: &str,
    ) -> anyhow::Result<mpsc::Sender<Vec<u8>>> {
        let name = ServerName::try_from(fqdn.to_owned())?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&self.party.client));
        let connecting = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(self.party.address, 0))?;
            let stream = socket.connect(edge).await?;
            stream.set_nodelay(true)?;
            connector.connect(name, stream).await
        };
        let stream = timeout(ANSWER_TIMEOUT, connecting)
            .await
            .map_err(|_| anyhow!("no TLS connection in {ANSWER_TIMEOUT:?}"))
            .and_then(|connected| Ok(connected?))
            .with_context(|| format!("{} connects to {fqdn} at {edge}", self.party.fqdn))?;
        Ok(Arc::clone(self).serve(stream))
    }

    /// Accepts until the runtime ends.
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&self.party.server));
        while let Ok((stream, _)) = listener.accept().await {
            let (shared, acceptor) = (Arc::clone(&self), acceptor.clone());
            tokio::spawn(async move {
                if let Ok(stream) = handshake(acceptor, stream).await {
                    shared.serve(stream);
                }
            });
        }
    }

    /// Starts reading and writing a connection.
    fn serve<S>(self: Arc<Self>, stream: S) -> mpsc::Sender<Vec<u8>>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (reader, mut writer) = tokio::io::split(stream);
        let (out, mut queue) = mpsc::channel::<Vec<u8>>(OUT_QUEUE);
        tokio::spawn(async move {
            while let Some(bytes) = queue.recv().await {
                if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
                    break;
                }
            }
        });
        let answers = out.clone();
        tokio::spawn(async move {
            if let Err(error) = self.read(reader, answers).await {
                tracing::warn!(fqdn = %self.party.fqdn, %error, "a connection ended in error");
            }
        });
        out
    }

    /// Reads messages until the connection ends.
    async fn read<R>(&self, mut reader: R, answers: mpsc::Sender<Vec<u8>>) -> anyhow::Result<()>
    where
        R: AsyncRead + Unpin,
    {
        let mut input = Vec::new();
        loop {
            while let Some(rest) = input.strip_prefix(b"\r\n") {
                input = rest.to_vec();
            }
            if let Some((message, length)) = Message::read(&input)? {
                input.drain(..length);
                self.received(message, &answers).await?;
            } else if input.len() > INPUT_BYTES_MAX {
                bail!("a message that does not end");
            } else if reader.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn received(
        &self,
        message: Message,
        answers: &mpsc::Sender<Vec<u8>>,
    ) -> anyhow::Result<()> {
        self.tell(Way::Received, message.clone());
        if message.status().is_some() {
            let waiting =
                self.lock(&self.pending).get(message.branch().unwrap_or_default()).cloned();
            if let Some(waiting) = waiting {
                let _ = waiting.send(message);
            }
            return Ok(());
        }
        for response in self.answer(&message)? {
            let bytes = response.write();
            self.tell(Way::Sent, response);
            answers.send(bytes).await?;
        }
        Ok(())
    }

    /// Returns what the party's user agent answers, the final response last.
    fn answer(&self, request: &Message) -> anyhow::Result<Vec<Message>> {
        let to_tag = format!("t{:02x}", self.party.place);
        let reply = |status, reason| Message::response(request, status, reason, &to_tag);
        let in_dialog = request.header("To").and_then(message::tag).is_some();
        let mut ok = reply(200, "OK");
        let mut answers = Vec::new();
        match request.method() {
            "ACK" => return Ok(Vec::new()),
            "MESSAGE" | "INFO" | "NOTIFY" | "BYE" | "OPTIONS" => {}
            "SUBSCRIBE" => {
                ok.add("Expires", request.header("Expires").unwrap_or("3600"));
                ok.add("Contact", &self.contact());
            }
            "INVITE" => {
                ok.add("Contact", &self.contact());
                let answer = match request.body.contains("\r\nm=audio ") {
                    true => self.lock(&self.call_answer).clone(),
                    false => session_description(&self.party.user),
                };
                ok.set_body("application/sdp", &answer);
                if !in_dialog {
                    answers.push(reply(180, "Ringing"));
                }
            }
            _ => return Ok(vec![reply(405, "Method Not Allowed")]),
        }
        if !in_dialog && matches!(request.method(), "INVITE" | "SUBSCRIBE") {
            let dialog = Dialog::of_callee(request, &ok)?;
            self.lock(&self.begun).insert(dialog.call_id.clone(), dialog);
        }
        answers.push(ok);
        Ok(answers)
    }
}

async fn handshake(
    acceptor: tokio_rustls::TlsAcceptor,
    stream: TcpStream,
) -> anyhow::Result<tokio_rustls::server::TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    Ok(timeout(ANSWER_TIMEOUT, acceptor.accept(stream)).await??)
}

/// Returns the offer or answer of an instant-message session (wire-protocols A.11).
pub(super) fn session_description(user: &str) -> String {
    let name = user.split('@').next().unwrap_or_default();
    format!(
        "v=0\r\no={name} 0 0 IN IP4 192.0.2.1\r\ns=session\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
         m=message 5060 sip null\r\na=accept-types:text/plain\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::super::world::{Authority, Scratch};
    use super::*;

    fn party(authority: &Authority, place: usize, user: &str) -> Party {
        let fqdn = format!("pool{place}.example");
        let (client, server) = authority.mutual_tls(&fqdn).unwrap();
        let address = IpAddr::from([127, 0, 0, 1]);
        Party { place, fqdn, user: user.to_owned(), address, client, server }
    }

    /// With nothing between them the dialogs have no routes, and every other rule holds.
    #[tokio::test]
    async fn two_next_hops_hold_a_dialog_over_mutual_tls() {
        let scratch = Scratch::create().unwrap();
        let authority = Authority::create(&scratch).unwrap();
        let (events, mut seen) = mpsc::unbounded_channel();
        let [left, right] = [0, 1].map(|_| TcpListener::bind(("127.0.0.1", 0)));
        let (left, right) = (left.await.unwrap(), right.await.unwrap());
        let [to_left, to_right] = [&left, &right].map(|l| l.local_addr().unwrap());
        let alice = party(&authority, 0, "alice@contoso.example");
        let bob = party(&authority, 1, "bob@fabrikam.example");
        let bob = NextHop::start(bob, right, to_left, "pool0.example", events.clone());
        let alice = NextHop::start(alice, left, to_right, "pool1.example", events);
        let (alice, bob) = tokio::try_join!(alice, bob).unwrap();

        let mut invite = alice.request("INVITE", bob.user());
        invite.set_body("application/sdp", &session_description(alice.user()));
        let ok = alice.send(invite.clone()).await.unwrap();
        assert_eq!(ok.status(), Some(200));
        assert!(ok.body.contains("m=message 5060 sip null"));
        let mut caller = Dialog::of_caller(&invite, &ok).unwrap();
        let mut callee = bob.take_begun(invite.header("Call-ID").unwrap()).unwrap();
        alice.acknowledge(&mut caller).await.unwrap();
        let bye = callee.request("BYE");
        assert_eq!(
            bye.start,
            "BYE sip:alice@contoso.example;opaque=user:epid:Quickstart;gruu SIP/2.0"
        );
        assert_eq!(
            message::tag(bye.header("To").unwrap()),
            message::tag(invite.header("From").unwrap())
        );
        assert_eq!(bob.send(bye).await.unwrap().status(), Some(200));

        let mut told = Vec::new();
        while let Ok(Event { party, way, what }) = seen.try_recv() {
            let Passed::Sip(message) = what else { continue };
            told.push((party, way, message.start.split(' ').take(2).collect::<Vec<_>>().join(" ")));
        }
        let received = |p: usize| told.iter().filter(move |t| t.0 == p && t.1 == Way::Received);
        assert_eq!(received(1).count(), 3, "INVITE, ACK and the answer to BYE: {told:?}");
        assert_eq!(received(0).count(), 3, "180, 200 and BYE: {told:?}");
    }

    #[test]
    fn routes_run_outwards_from_each_end() {
        let mut invite = Message::request("INVITE", "sip:bob@fabrikam.example");
        for (name, value) in [
            ("Record-Route", "<sip:inner.fabrikam;lr>, <sip:outer.fabrikam;lr>"),
            ("Record-Route", "<sip:outer.contoso;lr>"),
            ("From", "<sip:alice@contoso.example>;tag=a"),
            ("To", "<sip:bob@fabrikam.example>"),
            ("Call-ID", "c"),
            ("CSeq", "7 INVITE"),
            ("Contact", "<sip:alice@contoso.example;gruu>"),
        ] {
            invite.add(name, value);
        }
        let mut ok = Message::response(&invite, 200, "OK", "b");
        ok.add("Contact", "<sip:bob@fabrikam.example;gruu>");
        let first_route = |mut dialog: Dialog| {
            let request = dialog.request("BYE");
            (request.list("Route")[0].to_owned(), request.header("CSeq").unwrap().to_owned())
        };
        let caller = first_route(Dialog::of_caller(&invite, &ok).unwrap());
        assert_eq!(caller, ("<sip:outer.contoso;lr>".to_owned(), "8 BYE".to_owned()));
        let callee = first_route(Dialog::of_callee(&invite, &ok).unwrap());
        assert_eq!(callee, ("<sip:inner.fabrikam;lr>".to_owned(), "8 BYE".to_owned()));
    }
}
