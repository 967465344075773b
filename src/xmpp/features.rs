//! Stream features (RFC 6120 section 4.3.2).

use super::element::Element;
use super::{ns, write};

/// Whether a feature is offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Offer {
    /// It is not there.
    #[default]
    Absent,
    /// It may be used.
    Optional,
    /// Nothing goes on without it.
    Required,
}

/// How dialback is offered (XEP-0220 section 2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DialbackOffer {
    /// It is not there; a server that declares the prefix may speak it all the same.
    #[default]
    Absent,
    /// Without errors.
    Plain,
    /// Errors are told as such, and one stream may carry several pairs.
    WithErrors,
}

/// Whether one side offers what has no further choice in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Offered {
    /// It is not there.
    #[default]
    No,
    /// It is.
    Yes,
}

/// The features that matter between servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features {
    /// STARTTLS.
    pub starttls: Offer,
    /// SASL EXTERNAL among the mechanisms.
    pub external: Offered,
    /// Dialback.
    pub dialback: DialbackOffer,
    /// Stanzas both ways (XEP-0288).
    pub bidi: Offered,
    /// Stream management (XEP-0198).
    pub management: Offered,
}

impl Features {
    /// Reads the features of a peer. `None`: the element is no `<stream:features/>`.
    #[must_use]
    pub fn read(element: &Element<'_>) -> Option<Self> {
        if !element.is("features", ns::STREAMS) {
            return None;
        }
        let mut features = Self::default();
        for child in element.children() {
            match (child.name(), &*child.namespace()) {
                ("starttls", ns::TLS) => {
                    let required = child.child("required", ns::TLS).is_some();
                    features.starttls = if required { Offer::Required } else { Offer::Optional };
                }
                ("mechanisms", ns::SASL) => {
                    let external = |name: &str| name.trim() == "EXTERNAL";
                    let mut mechanisms = child.children().filter(|m| m.is("mechanism", ns::SASL));
                    if mechanisms.any(|mechanism| external(&mechanism.text())) {
                        features.external = Offered::Yes;
                    }
                }
                ("dialback", ns::DIALBACK_FEATURE) => {
                    let errors = child.child("errors", ns::DIALBACK_FEATURE).is_some();
                    features.dialback =
                        if errors { DialbackOffer::WithErrors } else { DialbackOffer::Plain };
                }
                ("bidi", ns::BIDI_FEATURE) => features.bidi = Offered::Yes,
                ("sm", ns::MANAGEMENT) => features.management = Offered::Yes,
                _ => {}
            }
        }
        Some(features)
    }

    /// Appends `<stream:features>`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<stream:features>");
        match self.starttls {
            Offer::Absent => {}
            Offer::Optional => write::empty("starttls", ns::TLS, out),
            Offer::Required => write_around("starttls", ns::TLS, b"<required/>", out),
        }
        if self.external == Offered::Yes {
            write_around("mechanisms", ns::SASL, b"<mechanism>EXTERNAL</mechanism>", out);
        }
        match self.dialback {
            DialbackOffer::Absent => {}
            DialbackOffer::Plain => write::empty("dialback", ns::DIALBACK_FEATURE, out),
            DialbackOffer::WithErrors => {
                write_around("dialback", ns::DIALBACK_FEATURE, b"<errors/>", out);
            }
        }
        if self.bidi == Offered::Yes {
            write::empty("bidi", ns::BIDI_FEATURE, out);
        }
        if self.management == Offered::Yes {
            write::empty("sm", ns::MANAGEMENT, out);
        }
        out.extend_from_slice(b"</stream:features>");
    }
}

fn write_around(name: &str, namespace: &str, content: &[u8], out: &mut Vec<u8>) {
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    write::attribute("xmlns", namespace, out);
    out.push(b'>');
    out.extend_from_slice(content);
    out.extend_from_slice(b"</");
    out.extend_from_slice(name.as_bytes());
    out.push(b'>');
}

/// Appends what the initiator sends to make the stream carry stanzas both ways (XEP-0288
/// section 2).
pub fn write_bidi(out: &mut Vec<u8>) {
    write::empty("bidi", ns::BIDI, out);
}

/// Tells whether the element asks for stanzas both ways.
#[must_use]
pub fn is_bidi(element: &Element<'_>) -> bool {
    element.is("bidi", ns::BIDI)
}
