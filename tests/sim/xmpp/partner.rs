//! Partners' XMPP servers: what each says on its streams, and what it must never hear on them. Its
//! own reading of XML, so that a mistake of the proxy's reader is not shared.

use std::collections::{BTreeMap, VecDeque};

/// The domain of the organisation.
pub(crate) const OURS: &str = "contoso.example";
const STREAMS: &str = "http://etherx.jabber.org/streams";
const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";

/// How domains are proved between a partner and the organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    External,
    DialbackOverTls,
    DialbackInTheClear,
}

/// What a partner's certificate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certificate {
    Own,
    SomebodyElses,
    Untrusted,
}

/// Which keys a partner sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    Right,
    Wrong,
}

/// Who opened a stream, and what a stream of ours is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    ByTheProxy,
    ToTalk,
    /// To ask for the key that came on another stream.
    ToVerify {
        about: usize,
        id: String,
        key: String,
    },
}

/// What a server does about what it has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    Write(String),
    /// TLS begins behind what was written.
    Secure,
    /// Stanzas may be sent from now on.
    Ready,
    Got(String),
    Verify {
        id: String,
        key: String,
    },
    Verified {
        about: usize,
        valid: bool,
    },
    Close,
    /// What must never come has come.
    Wrong(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) opened: Opened,
    pub(crate) tls: bool,
    /// Whoever opened it has proved its domain.
    pub(crate) proved: bool,
    pub(crate) ready: bool,
    /// What the certificate said that TLS was made with.
    pub(crate) certificate: Certificate,
    id: String,
    handled: u32,
}

/// One partner.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) domain: &'static str,
    pub(crate) proof: Proof,
    pub(crate) certificate: Certificate,
    pub(crate) keys: Keys,
    /// Until when it reads nothing and says nothing.
    pub(crate) mute_until_ms: u64,
    /// Until when its name is not found, or its host not reached.
    pub(crate) lost_until_ms: u64,
    /// Whether it acknowledges stanzas (XEP-0198).
    pub(crate) manages: bool,
    /// By the number of the connection.
    pub(crate) streams: BTreeMap<usize, Stream>,
    pub(crate) outbox: VecDeque<String>,
    /// Keys it has made, by the id of the stream they are for.
    made: BTreeMap<String, String>,
    numbers: u64,
}

/// The first thing in a stream's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Header(String),
    Element(String),
    End,
}

impl Server {
    pub(crate) fn new(domain: &'static str, proof: Proof, manages: bool) -> Self {
        Self {
            domain,
            proof,
            certificate: Certificate::Own,
            keys: Keys::Right,
            mute_until_ms: 0,
            lost_until_ms: 0,
            manages,
            streams: BTreeMap::new(),
            outbox: VecDeque::new(),
            made: BTreeMap::new(),
            numbers: 0,
        }
    }

    /// A connection stands. Returns what is said on it first.
    pub(crate) fn begin(&mut self, connection: usize, opened: Opened, tls: bool) -> String {
        let said = if opened == Opened::ByTheProxy { String::new() } else { self.header("") };
        let stream = Stream {
            opened,
            tls,
            proved: false,
            ready: false,
            certificate: self.certificate,
            id: String::new(),
            handled: 0,
        };
        self.streams.insert(connection, stream);
        said
    }

    /// TLS stands on a connection that began in the clear. Returns what is said on it first.
    pub(crate) fn secured(&mut self, connection: usize) -> String {
        let header = self.header("");
        match self.streams.get_mut(&connection) {
            Some(stream) => {
                stream.tls = true;
                if stream.opened == Opened::ByTheProxy { String::new() } else { header }
            }
            None => String::new(),
        }
    }

    fn header(&self, id: &str) -> String {
        let id = if id.is_empty() { String::new() } else { format!(" id='{id}'") };
        format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='{STREAMS}' \
             xmlns:db='jabber:server:dialback' from='{}' to='{OURS}'{id} version='1.0'>",
            self.domain
        )
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Reads one piece of a stream.
    pub(crate) fn read(&mut self, connection: usize, piece: &Piece) -> Vec<Does> {
        match piece {
            Piece::Header(text) => self.read_header(connection, text),
            Piece::Element(text) => self.read_element(connection, text),
            Piece::End => vec![Does::Write("</stream:stream>".into()), Does::Close],
        }
    }

    fn read_header(&mut self, connection: usize, text: &str) -> Vec<Does> {
        let number = self.number();
        let fresh = format!("{}-{number}", self.domain);
        let header = self.header(&fresh);
        let (proof, manages) = (self.proof, self.manages);
        let Some(stream) = self.streams.get_mut(&connection) else { return Vec::new() };
        if stream.opened != Opened::ByTheProxy {
            stream.id = attribute(text, "id").unwrap_or_default();
            return Vec::new();
        }
        stream.id = fresh;
        let offer = match (proof, stream.tls, stream.proved) {
            (Proof::External | Proof::DialbackOverTls, false, _) => {
                format!("<starttls xmlns='{TLS}'><required/></starttls>")
            }
            (Proof::External, true, false) => {
                format!("<mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>")
            }
            (Proof::External, true, true) if manages => "<sm xmlns='urn:xmpp:sm:3'/>".to_owned(),
            (Proof::External, ..) => String::new(),
            _ => "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>".to_owned(),
        };
        vec![Does::Write(format!("{header}<stream:features>{offer}</stream:features>"))]
    }

    fn read_element(&mut self, connection: usize, text: &str) -> Vec<Does> {
        let header = self.header("");
        let Some(stream) = self.streams.get_mut(&connection) else { return Vec::new() };
        let by_the_proxy = stream.opened == Opened::ByTheProxy;
        let kind = attribute(text, "type");
        match (name(text), by_the_proxy) {
            ("message" | "presence" | "iq", true) => {
                stream.handled += 1;
                let pair = attribute(text, "from").is_some_and(|from| domain_of(&from) == OURS)
                    && attribute(text, "to").is_some_and(|to| domain_of(&to) == self.domain);
                let certain = !stream.tls
                    || stream.certificate == Certificate::Own
                    || self.proof == Proof::DialbackOverTls;
                if stream.proved && pair && certain {
                    vec![Does::Got(text.to_owned())]
                } else {
                    vec![Does::Wrong(format!("{} got {text} before its time", self.domain))]
                }
            }
            ("message" | "presence" | "iq", false) => {
                vec![Does::Wrong(format!("{} got {text} on a stream of its own", self.domain))]
            }
            ("starttls", true) => {
                vec![Does::Write(format!("<proceed xmlns='{TLS}'/>")), Does::Secure]
            }
            ("auth", true) => {
                stream.proved = true;
                vec![Does::Write(format!("<success xmlns='{SASL}'/>"))]
            }
            ("enable", true) => vec![Does::Write("<enabled xmlns='urn:xmpp:sm:3'/>".into())],
            ("r", true) => {
                let handled = stream.handled;
                vec![Does::Write(format!("<a xmlns='urn:xmpp:sm:3' h='{handled}'/>"))]
            }
            ("db:result", true) if kind.is_none() => {
                vec![Does::Verify { id: stream.id.clone(), key: content(text).to_owned() }]
            }
            ("db:verify", true) if kind.is_none() => self.answer_for(text),
            ("stream:features", false) => self.negotiate(connection, text),
            ("proceed", false) => vec![Does::Secure],
            ("success", false) => {
                stream.proved = true;
                vec![Does::Write(header)]
            }
            ("db:result", false) if kind.as_deref() == Some("valid") => {
                stream.proved = true;
                vec![Does::Ready]
            }
            ("db:verify", false) => {
                let valid = kind.as_deref() == Some("valid");
                match stream.opened {
                    Opened::ToVerify { about, .. } => vec![
                        Does::Verified { about, valid },
                        Does::Write("</stream:stream>".into()),
                    ],
                    _ => vec![Does::Close],
                }
            }
            ("db:result" | "failure" | "stream:error", _) => vec![Does::Close],
            _ => Vec::new(),
        }
    }

    /// The proxy asks whether a key is ours.
    fn answer_for(&self, text: &str) -> Vec<Does> {
        let id = attribute(text, "id").unwrap_or_default();
        let valid = self.made.get(&id).is_some_and(|made| made == content(text));
        let kind = if valid { "valid" } else { "invalid" };
        let from = self.domain;
        vec![Does::Write(format!("<db:verify from='{from}' to='{OURS}' id='{id}' type='{kind}'/>"))]
    }

    fn negotiate(&mut self, connection: usize, features: &str) -> Vec<Does> {
        let number = self.number();
        let Some(stream) = self.streams.get_mut(&connection) else { return Vec::new() };
        if !stream.tls && self.proof != Proof::DialbackInTheClear {
            return match features.contains("<starttls") {
                true => vec![Does::Write(format!("<starttls xmlns='{TLS}'/>"))],
                false => vec![Does::Close],
            };
        }
        if let Opened::ToVerify { id, key, .. } = &stream.opened {
            let from = self.domain;
            return vec![Does::Write(format!(
                "<db:verify from='{from}' to='{OURS}' id='{id}'>{key}</db:verify>"
            ))];
        }
        if stream.proved {
            return vec![Does::Ready];
        }
        match self.proof {
            Proof::External if features.contains("EXTERNAL") => {
                vec![Does::Write(format!("<auth xmlns='{SASL}' mechanism='EXTERNAL'>=</auth>"))]
            }
            Proof::External => vec![Does::Close],
            _ => {
                let key = format!("key{number}");
                let said = if self.keys == Keys::Right { key.clone() } else { "0000".to_owned() };
                self.made.insert(stream.id.clone(), key);
                let from = self.domain;
                vec![Does::Write(format!(
                    "<db:result from='{from}' to='{OURS}'>{said}</db:result>"
                ))]
            }
        }
    }

    /// Somebody's key was verified. Returns what is said on the stream that it came on.
    pub(crate) fn verified(&mut self, about: usize, valid: bool) -> Option<String> {
        let stream = self.streams.get_mut(&about)?;
        stream.proved = valid;
        let kind = if valid { "valid" } else { "invalid" };
        Some(format!("<db:result from='{}' to='{OURS}' type='{kind}'/>", self.domain))
    }

    /// Returns the streams that stanzas may be sent on.
    pub(crate) fn ready(&self) -> Vec<usize> {
        self.streams.iter().filter(|(_, one)| one.ready).map(|(at, _)| *at).collect()
    }

    /// Returns whether a stream to send on is there or on its way.
    pub(crate) fn talks(&self) -> bool {
        self.streams.values().any(|one| one.opened == Opened::ToTalk)
    }
}

/// Takes one piece off the front of a stream; white space and declarations go with it.
pub(crate) fn take(bytes: &mut Vec<u8>) -> Option<Piece> {
    loop {
        let blank = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        bytes.drain(..blank);
        if !bytes.starts_with(b"<?") {
            break;
        }
        let end = memchr::memmem::find(bytes, b"?>")?;
        bytes.drain(..end + 2);
    }
    let first = tag_end(bytes)?;
    if bytes.starts_with(b"</") {
        bytes.drain(..first);
        return Some(Piece::End);
    }
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the proxy writes text");
    if bytes.starts_with(b"<stream:stream") {
        return Some(Piece::Header(text(bytes.drain(..first).collect())));
    }
    let (mut at, mut depth) = (first, usize::from(bytes[first - 2] != b'/'));
    while depth > 0 {
        let open = at + memchr::memchr(b'<', bytes.get(at..)?)?;
        let length = tag_end(&bytes[open..])?;
        match (bytes[open + 1], bytes[open + length - 2]) {
            (b'/', _) => depth -= 1,
            (_, b'/') => {}
            _ => depth += 1,
        }
        at = open + length;
    }
    Some(Piece::Element(text(bytes.drain(..at).collect())))
}

fn tag_end(bytes: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, &byte) in bytes.iter().enumerate() {
        match (quote, byte) {
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            (None, b'>') => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Returns the name in an element's tag.
pub(crate) fn name(element: &str) -> &str {
    element[1..].split([' ', '/', '>']).next().unwrap_or_default()
}

/// Returns the value of an attribute of an element's tag.
pub(crate) fn attribute(element: &str, name: &str) -> Option<String> {
    let tag = &element[..tag_end(element.as_bytes())?];
    let (_, rest) = tag.split_once(&format!(" {name}='"))?;
    Some(rest.split('\'').next()?.to_owned())
}

fn content(element: &str) -> &str {
    let inner = element.split_once('>').map_or("", |(_, rest)| rest);
    inner.split('<').next().unwrap_or_default()
}

fn domain_of(address: &str) -> &str {
    let bare = address.split('/').next().unwrap_or_default();
    bare.rsplit('@').next().unwrap_or_default()
}
