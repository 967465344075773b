//! The steps of one XMPP stream until it carries stanzas, on whichever side the generator is.

use ring::digest;

use super::xml;

/// Which stream it is, and of what the generator is on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A partner's server that connected to the server under test.
    Partner(usize),
    /// A partner's server that the server under test connected to.
    Accepted,
    /// A gateway on the link of an XMPP proxy.
    Link,
    /// A component of a server (XEP-0114).
    Component,
}

/// What the caller has to do for a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing more than to send what was written.
    Nothing,
    /// Go on with TLS once that is sent.
    StartTls,
    /// The stream carries stanzas from now on.
    Ready,
    /// It is a stanza.
    Stanza,
    /// It is an account of the link: so many stanzas of the number.
    Report,
    /// The peer refused.
    Refused(String),
}

/// One stream.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// Which.
    pub(crate) kind: Kind,
    /// Our domain on it; told by the peer on an accepted one.
    pub(crate) ours: String,
    /// The peer's.
    pub(crate) theirs: String,
    /// Whether it carries stanzas.
    pub(crate) ready: bool,
    /// Numbers of the stanzas that came by a link and that the edge still keeps, with a space
    /// behind each.
    done: String,
    /// Stanzas sent on a link.
    pub(crate) sent: u64,
    secured: bool,
    authenticated: bool,
}

const STREAMS: &str = "http://etherx.jabber.org/streams";
const TLS: &[u8] = b"urn:ietf:params:xml:ns:xmpp-tls";
const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
pub(super) const LINK: &str = "urn:entente:link:2";

impl Stream {
    /// A stream that has not begun.
    pub(crate) fn new(kind: Kind, ours: &str, theirs: &str) -> Self {
        Self {
            kind,
            ours: ours.to_owned(),
            theirs: theirs.to_owned(),
            ready: false,
            done: String::new(),
            sent: 0,
            secured: kind == Kind::Link,
            authenticated: false,
        }
    }

    /// The connection stands, or TLS does on it: whoever connected speaks.
    pub(crate) fn established(&mut self, tls: Tls, out: &mut Vec<u8>) {
        self.secured |= tls == Tls::Yes;
        if self.kind != Kind::Accepted {
            self.push_header(out);
        }
    }

    fn push_header(&self, out: &mut Vec<u8>) {
        let Self { ours, theirs, .. } = self;
        let text = match self.kind {
            Kind::Component => format!(
                "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
                 xmlns:stream='{STREAMS}' to='{ours}'>"
            ),
            _ => format!(
                "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
                 xmlns:stream='{STREAMS}' xmlns:db='jabber:server:dialback' from='{ours}' \
                 to='{theirs}' version='1.0'>"
            ),
        };
        out.extend_from_slice(text.as_bytes());
    }

    /// The peer opened the stream.
    pub(crate) fn opened(&mut self, tag: &[u8], secret: &str, out: &mut Vec<u8>) {
        match self.kind {
            Kind::Accepted => {
                let word = |name| xml::attribute(tag, name).map(text).unwrap_or_default();
                (self.theirs, self.ours) = (word("from"), word("to"));
                let Self { ours, theirs, .. } = self;
                out.extend_from_slice(
                    format!(
                        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
                         xmlns:stream='{STREAMS}' xmlns:db='jabber:server:dialback' \
                         from='{ours}' to='{theirs}' id='{ours}-1' version='1.0'>"
                    )
                    .as_bytes(),
                );
                self.push_features(out);
            }
            Kind::Component => {
                let id = xml::attribute(tag, "id").map(text).unwrap_or_default();
                let hash = digest::digest(
                    &digest::SHA1_FOR_LEGACY_USE_ONLY,
                    format!("{id}{secret}").as_bytes(),
                );
                out.extend_from_slice(b"<handshake>");
                for byte in hash.as_ref() {
                    crate::sip::push_hex(out, u64::from(*byte), 2);
                }
                out.extend_from_slice(b"</handshake>");
            }
            Kind::Partner(_) | Kind::Link => {}
        }
    }

    fn push_features(&self, out: &mut Vec<u8>) {
        let inner = match (self.secured, self.authenticated) {
            (false, _) => {
                "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"
            }
            (true, false) => {
                "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
                 <mechanism>EXTERNAL</mechanism></mechanisms>"
            }
            (true, true) => "",
        };
        let features = format!("<stream:features>{inner}</stream:features>");
        out.extend_from_slice(features.as_bytes());
    }

    /// A first-level element came.
    pub(crate) fn element(&mut self, element: &[u8], out: &mut Vec<u8>) -> Then {
        match xml::name(element) {
            b"message" | b"presence" | b"iq" => return Then::Stanza,
            b"stream:error" | b"failure" => return Then::Refused(text(element)),
            b"stream:features" => return self.features(element, out),
            b"proceed" => return Then::StartTls,
            b"success" => {
                self.authenticated = true;
                self.push_header(out);
            }
            b"handshake" => return self.go(),
            b"taken" | b"bounced" => return Then::Report,
            b"starttls" => {
                out.extend_from_slice(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
                return Then::StartTls;
            }
            b"auth" => {
                self.authenticated = true;
                out.extend_from_slice(format!("<success xmlns='{SASL}'/>").as_bytes());
                self.ready = true;
            }
            _ => {}
        }
        Then::Nothing
    }

    /// A stanza has come by a link.
    pub(crate) fn note_done(&mut self, element: &[u8]) {
        if let Some(number) = xml::attribute(element, "entente:n") {
            self.done.push_str(&text(number));
            self.done.push(' ');
        }
    }

    /// Appends that the edge need not keep what has come.
    pub(crate) fn push_done(&mut self, out: &mut Vec<u8>) {
        if !self.done.is_empty() {
            let done = format!("<done xmlns='{LINK}' n='{}'/>", self.done.trim_end());
            out.extend_from_slice(done.as_bytes());
            self.done.clear();
        }
    }

    fn features(&mut self, element: &[u8], out: &mut Vec<u8>) -> Then {
        let offers = |words: &[u8]| memchr::memmem::find(element, words).is_some();
        if self.kind == Kind::Link {
            out.extend_from_slice(
                format!("<link xmlns='{LINK}' stanzas='4096' bytes='16777216'/>").as_bytes(),
            );
            return self.go();
        }
        if self.authenticated {
            return self.go();
        }
        if !self.secured {
            if !offers(TLS) {
                return Then::Refused("STARTTLS is not offered".into());
            }
            out.extend_from_slice(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
            return Then::Nothing;
        }
        if !offers(b"EXTERNAL") {
            return Then::Refused("EXTERNAL is not offered".into());
        }
        out.extend_from_slice(format!("<auth xmlns='{SASL}' mechanism='EXTERNAL'>").as_bytes());
        push_base64(self.ours.as_bytes(), out);
        out.extend_from_slice(b"</auth>");
        Then::Nothing
    }

    fn go(&mut self) -> Then {
        self.ready = true;
        Then::Ready
    }
}

/// Whether a connection has TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// It has.
    Yes,
    /// Not yet.
    No,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for three in bytes.chunks(3) {
        let at = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let value = (at(0) << 16) | (at(1) << 8) | at(2);
        for place in 0..4 {
            let digit = DIGITS[(value >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= three.len() as u32 as usize { digit } else { b'=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_padded() {
        for (plain, coded) in [("a", "YQ=="), ("ab", "YWI="), ("abc", "YWJj"), ("abcd", "YWJjZA==")]
        {
            let mut out = Vec::new();
            push_base64(plain.as_bytes(), &mut out);
            assert_eq!(out, coded.as_bytes());
        }
    }

    #[test]
    fn a_partner_takes_tls_then_external_and_never_goes_on_in_the_clear() {
        let mut stream = Stream::new(Kind::Partner(0), "p0.example", "contoso.example");
        let mut out = Vec::new();
        stream.established(Tls::No, &mut out);
        let clear =
            b"<stream:features><dialback xmlns='urn:xmpp:features:dialback'/></stream:features>";
        assert!(matches!(stream.element(clear, &mut out), Then::Refused(_)));
        assert_eq!(stream.element(b"<proceed/>", &mut out), Then::StartTls);
        stream.established(Tls::Yes, &mut out);
        out.clear();
        let sasl = b"<stream:features><mechanisms><mechanism>EXTERNAL</mechanism></mechanisms>\
                     </stream:features>";
        assert_eq!(stream.element(sasl, &mut out), Then::Nothing);
        assert!(String::from_utf8_lossy(&out).contains("cDAuZXhhbXBsZQ=="));
        assert_eq!(stream.element(b"<success/>", &mut out), Then::Nothing);
        assert_eq!(stream.element(b"<stream:features/>", &mut out), Then::Ready);
    }
}
