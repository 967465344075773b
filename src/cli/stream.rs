//! One XMPP stream opened as the proxy would open it, up to the features behind TLS and no further:
//! nothing is authenticated and nothing is sent to anybody.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::handshake::{Broken, WAIT, reason};
use crate::dns::Domain;
use crate::edge::Class;
use crate::limits;
use crate::policy::{AnchorSet, ExpectedNames, Methods, Negotiation, PeerNames};
use crate::tls::{Material, Session, State};
use crate::xmpp::{
    Bounds, Element, Features, Offer, Offered, Read, Reader, StartTls, StreamError, StreamHeader,
};

/// Reads of one answer.
const READS_MAX: usize = 64;

/// Where a stream is opened, between whom, and under which entry.
pub(super) struct Opening<'a> {
    pub(super) address: SocketAddr,
    /// TLS from the first byte (XEP-0368), as the record says.
    pub(super) class: Class,
    pub(super) ours: &'a Domain,
    pub(super) theirs: &'a Domain,
    pub(super) tls: Negotiation,
    pub(super) anchors: Option<AnchorSet>,
    pub(super) material: &'a Material,
}

/// What was seen.
#[derive(Default)]
pub(super) struct Looked {
    /// What was said, `>` by us and `<` by the other side.
    pub(super) transcript: Vec<String>,
    /// The last features that were offered.
    pub(super) features: Option<Features>,
    /// Version and suite, once TLS is there.
    pub(super) agreed: Option<String>,
    /// Whom the certificate names, if its chain is trusted.
    pub(super) peer: Option<Arc<PeerNames>>,
    /// What ended the look before its end.
    pub(super) broken: Option<String>,
}

impl Looked {
    /// Returns by what the proxy would prove its domain and believe the other, in words; why there
    /// is no way otherwise.
    pub(super) fn method(
        &self,
        methods: Methods,
        theirs: &Domain,
    ) -> Result<&'static str, &'static str> {
        let features = self.features.unwrap_or_default();
        if self.agreed.is_none() {
            return match methods.dialback_clear && features.starttls != Offer::Required {
                true => Ok("dialback in the clear"),
                false => Err("there is no TLS, and the entry wants it"),
            };
        }
        let carries = self.peer.as_ref().is_some_and(|peer| peer.carries_xmpp_domain(theirs));
        if methods.external && features.external == Offered::Yes && carries {
            return Ok("SASL EXTERNAL over TLS");
        }
        if methods.dialback_tls {
            return Ok("dialback over TLS");
        }
        Err(match (methods.external, features.external, carries) {
            (true, Offered::No, _) => {
                "it does not offer SASL EXTERNAL (it may not trust our certificate), and the entry \
                 allows no dialback over TLS"
            }
            (true, Offered::Yes, false) => {
                "its certificate is not trusted or does not carry the domain, and the entry allows \
                 no dialback over TLS"
            }
            _ => "the entry allows nothing over TLS",
        })
    }
}

/// Opens the stream and looks at what is offered.
pub(super) fn look(opening: &Opening<'_>) -> Looked {
    let mut looked = Looked::default();
    if let Err(why) = walk(opening, &mut looked) {
        looked.broken = Some(why);
    }
    looked
}

fn walk(opening: &Opening<'_>, looked: &mut Looked) -> Result<(), String> {
    let wait = Duration::from_millis(limits::CONNECT_MS);
    let stream = TcpStream::connect_timeout(&opening.address, wait).map_err(|e| reason(&e))?;
    let system = |error: std::io::Error| Broken::System(error).to_string();
    stream.set_read_timeout(Some(WAIT)).map_err(system)?;
    stream.set_write_timeout(Some(WAIT)).map_err(system)?;
    let mut wire = Wire::new(stream);
    if opening.class == Class::XmppDirectTls {
        secure(opening, &mut wire, looked)?;
        return greet(opening, &mut wire, looked);
    }
    greet(opening, &mut wire, looked)?;
    let offered = looked.features.is_some_and(|features| features.starttls != Offer::Absent);
    if opening.tls == Negotiation::NotSupported || !offered {
        return wire.send(b"</stream:stream>");
    }
    let mut out = Vec::new();
    StartTls::StartTls.write(&mut out);
    looked.transcript.push("> <starttls/>".to_owned());
    wire.send(&out)?;
    match wire.element(StartTls::read)? {
        Some(StartTls::Proceed) => looked.transcript.push("< <proceed/>".to_owned()),
        _ => return Err("it offers STARTTLS and then refuses it".to_owned()),
    }
    secure(opening, &mut wire, looked)?;
    greet(opening, &mut wire, looked)
}

/// Sends a stream header and reads header and features.
fn greet(opening: &Opening<'_>, wire: &mut Wire, looked: &mut Looked) -> Result<(), String> {
    let (ours, theirs) = (opening.ours.as_str(), opening.theirs.as_str());
    let mut out = Vec::new();
    StreamHeader::between(ours, theirs).write(&mut out);
    looked.transcript.push(format!("> <stream:stream from='{ours}' to='{theirs}' version='1.0'>"));
    wire.send(&out)?;
    let header = wire.header()?;
    let said = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    looked.transcript.push(format!(
        "< <stream:stream from='{}' version='{}'>",
        said(&header.from),
        said(&header.version)
    ));
    if !header.has_features() {
        looked.transcript.push("  an old server: no features, dialback alone".to_owned());
        looked.features = Some(Features::default());
        return Ok(());
    }
    let features = wire.element(|element| match StreamError::read(element) {
        Some(error) => Err(format!("it answers with the stream error {:?}", error.condition)),
        None => Features::read(element).ok_or_else(|| "it sends no features".to_owned()),
    })??;
    looked.transcript.push(format!("< {}", told(&features)));
    looked.features = Some(features);
    Ok(())
}

/// Returns features in a line.
fn told(features: &Features) -> String {
    let mut offers: Vec<&str> = Vec::new();
    match features.starttls {
        Offer::Absent => {}
        Offer::Optional => offers.push("STARTTLS"),
        Offer::Required => offers.push("STARTTLS (required)"),
    }
    let rest = [
        ("SASL EXTERNAL", features.external == Offered::Yes),
        ("dialback", features.dialback != crate::xmpp::DialbackOffer::Absent),
        ("bidirectional", features.bidi == Offered::Yes),
        ("stream management", features.management == Offered::Yes),
    ];
    offers.extend(rest.into_iter().filter(|(_, there)| *there).map(|(name, _)| name));
    let offers = if offers.is_empty() { "nothing".to_owned() } else { offers.join(", ") };
    format!("<stream:features>: {offers}")
}

/// Handshakes as the proxy does.
fn secure(opening: &Opening<'_>, wire: &mut Wire, looked: &mut Looked) -> Result<(), String> {
    let expected = ExpectedNames::default();
    let (class, anchors) = (opening.class, opening.anchors);
    let client = opening.material.client(class, anchors, opening.theirs, &expected);
    let (client, name) = client.map_err(|fault| fault.to_string())?;
    let session = Session::client(&client, name).map_err(|fault| fault.to_string())?;
    let session = wire.secure(session).map_err(|broken| format!("TLS: {broken}"))?;
    let agreed = session.describe().to_string();
    looked.peer = session.peer();
    looked.transcript.push(format!("  {agreed}"));
    looked.agreed = Some(agreed);
    Ok(())
}

/// A connection that blocks, in the clear or under TLS.
struct Wire {
    stream: TcpStream,
    session: Option<Box<Session>>,
    cipher: Vec<u8>,
    plain: Vec<u8>,
    reader: Reader,
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        let reader = Reader::new(Bounds::UNAUTHENTICATED);
        Self { stream, session: None, cipher: Vec::new(), plain: Vec::new(), reader }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut out = Vec::new();
        let sealed = match &mut self.session {
            Some(session) => {
                session.seal(bytes, &mut out).map_err(|fault| fault.to_string())?;
                out.as_slice()
            }
            None => bytes,
        };
        self.stream.write_all(sealed).map_err(|error| Broken::System(error).to_string())
    }

    /// Reads once.
    fn receive(&mut self) -> Result<State, Broken> {
        let mut chunk = [0; limits::TLS_RECORD_BYTES_MAX];
        let count = self.stream.read(&mut chunk).map_err(Broken::System)?;
        if count == 0 {
            return Err(Broken::Closed);
        }
        let Some(session) = &mut self.session else {
            self.plain.extend_from_slice(&chunk[..count]);
            return Ok(State::Established);
        };
        self.cipher.extend_from_slice(&chunk[..count]);
        let mut out = Vec::new();
        let plain = &mut self.plain;
        let fed = session.feed(&mut self.cipher, &mut out, |bytes| plain.extend_from_slice(bytes));
        // An alert is worth sending although the session is over.
        let sent = self.stream.write_all(&out);
        let fed = fed.map_err(Broken::Tls)?;
        sent.map_err(Broken::System)?;
        self.cipher.drain(..fed.consumed);
        Ok(fed.state)
    }

    fn secure(&mut self, mut session: Session) -> Result<&Session, Broken> {
        let mut out = Vec::new();
        session.start(&mut out).map_err(Broken::Tls)?;
        self.stream.write_all(&out).map_err(Broken::System)?;
        // What came in the clear behind `<proceed/>` is nobody's word (RFC 6120 section 5.4.3.3).
        self.plain.clear();
        self.reader.restart();
        self.session = Some(Box::new(session));
        for _ in 0..READS_MAX {
            match self.receive()? {
                State::Handshaking => {}
                State::Established => break,
                State::PeerClosed => return Err(Broken::Closed),
            }
        }
        self.session.as_deref().ok_or(Broken::Endless)
    }

    fn header(&mut self) -> Result<StreamHeader, String> {
        for _ in 0..READS_MAX {
            match self.reader.read(&self.plain).map_err(|fault| fault.sentence().to_owned())? {
                Read::Header { header, consumed } => {
                    self.plain.drain(..consumed);
                    return Ok(header);
                }
                Read::NeedMore(_) => self.receive().map_err(|broken| broken.to_string())?,
                _ => return Err("it does not begin with a stream header".to_owned()),
            };
        }
        Err(Broken::Endless.to_string())
    }

    /// Reads the next element.
    fn element<T>(&mut self, of: impl FnOnce(&Element<'_>) -> T) -> Result<T, String> {
        for _ in 0..READS_MAX {
            match self.reader.read(&self.plain).map_err(|fault| fault.sentence().to_owned())? {
                Read::Element { element, consumed } => {
                    let made = of(&element);
                    self.plain.drain(..consumed);
                    return Ok(made);
                }
                Read::WhiteSpace { consumed } => {
                    self.plain.drain(..consumed);
                }
                Read::NeedMore(_) => {
                    self.receive().map_err(|broken| broken.to_string())?;
                }
                Read::Header { .. } | Read::Close { .. } => {
                    return Err("it ends the stream".to_owned());
                }
            }
        }
        Err(Broken::Endless.to_string())
    }
}
