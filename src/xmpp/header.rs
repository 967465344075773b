//! The stream header (RFC 6120 section 4.7).

use super::fault::PeerMisbehaved;
use super::scope::{self, Bound, Context};
use super::tag::{Attribute, Closes, StartTag};
use super::{chars, ns, write};
use crate::limits;

/// What a stream header says, or is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamHeader {
    /// The domain that speaks.
    pub from: Option<String>,
    /// The domain that is spoken to.
    pub to: Option<String>,
    /// The stream's id, of the answering side alone.
    pub id: Option<String>,
    /// The version; absent before XMPP 1.0.
    pub version: Option<String>,
    /// The default language.
    pub lang: Option<String>,
    /// The namespace of the stanzas; empty: none was declared.
    pub default_namespace: String,
    /// The prefix of dialback was declared, which is how XMPP 0.9 servers say that they speak it
    /// (XEP-0220 section 2.1.1).
    pub declares_dialback: bool,
}

impl StreamHeader {
    /// Returns a header between two servers, of version 1.0.
    #[must_use]
    pub fn between(from: &str, to: &str) -> Self {
        Self {
            from: Some(from.to_owned()),
            to: Some(to.to_owned()),
            id: None,
            version: Some("1.0".to_owned()),
            lang: None,
            default_namespace: ns::SERVER.to_owned(),
            declares_dialback: true,
        }
    }

    /// Returns the same with an id, as the answering side has it.
    #[must_use]
    pub fn with_id(self, id: &str) -> Self {
        Self { id: Some(id.to_owned()), ..self }
    }

    /// Tells whether the peer sends and awaits features (RFC 6120 section 4.7.5): major version 1
    /// at least.
    #[must_use]
    pub fn has_features(&self) -> bool {
        let major = self.version.as_deref().and_then(|version| version.split('.').next());
        major.and_then(|major| major.trim().parse::<u32>().ok()).is_some_and(|major| major >= 1)
    }

    /// Appends the XML declaration and the header.
    ///
    /// The three namespaces of a server's stream are always declared as they commonly are, since
    /// [`super::Element::write_detached`] relies on it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<?xml version='1.0'?><stream:stream");
        let default_namespace = match &*self.default_namespace {
            "" => ns::SERVER,
            declared => declared,
        };
        write::attribute("xmlns", default_namespace, out);
        write::attribute("xmlns:stream", ns::STREAMS, out);
        write::attribute("xmlns:db", ns::DIALBACK, out);
        let rest = [
            ("from", &self.from),
            ("to", &self.to),
            ("id", &self.id),
            ("version", &self.version),
            ("xml:lang", &self.lang),
        ];
        for (name, value) in rest {
            if let Some(value) = value {
                write::attribute(name, value, out);
            }
        }
        out.push(b'>');
    }
}

/// Reads the XML declaration that `input` begins with, and returns where it ends. `None`: its end
/// is not there.
///
/// Source: XML 1.0 section 2.8; RFC 6120 section 11.5.
pub(super) fn declaration(input: &[u8]) -> Result<Option<usize>, PeerMisbehaved> {
    const OPENS: &[u8] = b"<?xml";
    let there = input.get(..OPENS.len()).unwrap_or(input);
    if !OPENS.starts_with(there) {
        return Err(PeerMisbehaved::ProcessingInstruction);
    }
    let window = input.get(..DECLARATION_BYTES_MAX).unwrap_or(input);
    let Some(end) = memchr::memchr(b'>', window) else {
        let full = window.len() == DECLARATION_BYTES_MAX;
        return if full { Err(PeerMisbehaved::Declaration) } else { Ok(None) };
    };
    let body = window.get(OPENS.len()..end).and_then(|body| body.strip_suffix(b"?"));
    let body = body.ok_or(PeerMisbehaved::Declaration)?;
    let (version, rest) = pseudo_attribute(body, b"version")?.ok_or(PeerMisbehaved::Declaration)?;
    if version != b"1.0" {
        return Err(PeerMisbehaved::Declaration);
    }
    let mut rest = rest;
    if let Some((encoding, behind)) = pseudo_attribute(rest, b"encoding")? {
        if !encoding.eq_ignore_ascii_case(b"utf-8") {
            return Err(PeerMisbehaved::OtherEncoding);
        }
        rest = behind;
    }
    if let Some((standalone, behind)) = pseudo_attribute(rest, b"standalone")? {
        if !matches!(standalone, b"yes" | b"no") {
            return Err(PeerMisbehaved::Declaration);
        }
        rest = behind;
    }
    if chars::skip_space(rest, 0) < rest.len() {
        return Err(PeerMisbehaved::Declaration);
    }
    Ok(Some(end + 1))
}

/// The longest declaration; with all three parts it has below 60 bytes.
const DECLARATION_BYTES_MAX: usize = 128;

/// A value and what follows it.
type Valued<'a> = (&'a [u8], &'a [u8]);

/// Reads ` name='value'`. `None`: something else is there.
fn pseudo_attribute<'a>(
    input: &'a [u8],
    name: &[u8],
) -> Result<Option<Valued<'a>>, PeerMisbehaved> {
    let at = chars::skip_space(input, 0);
    let Some(rest) = input.get(at..).and_then(|rest| rest.strip_prefix(name)) else {
        return Ok(None);
    };
    let equals = chars::skip_space(rest, 0);
    let quoted = (at > 0).then(|| rest.get(equals..)?.strip_prefix(b"=")).flatten();
    let quoted = quoted.ok_or(PeerMisbehaved::Declaration)?;
    let quoted = quoted.get(chars::skip_space(quoted, 0)..).unwrap_or_default();
    let [quote @ (b'\'' | b'"'), value @ ..] = quoted else {
        return Err(PeerMisbehaved::Declaration);
    };
    let end = memchr::memchr(*quote, value).ok_or(PeerMisbehaved::Declaration)?;
    let (value, behind) = value.split_at(end);
    Ok(Some((value, behind.get(1..).unwrap_or_default())))
}

/// Returns what the tag that opens a stream declares.
pub(super) fn context(text: &str, attributes: &[Attribute]) -> Result<Context, PeerMisbehaved> {
    let mut context = Context::default();
    for attribute in attributes {
        let Some(prefix) = scope::declares(text.as_bytes(), attribute)? else { continue };
        let uri = chars::decode_value(attribute.value.of_text(text));
        if uri.is_empty() {
            continue;
        }
        if context.declared.len() >= usize::from(limits::XMPP_HEADER_NAMESPACES_MAX) {
            return Err(PeerMisbehaved::TooManyNamespaces);
        }
        context.declare(prefix.of_text(text), &uri);
    }
    Ok(context)
}

/// Reads the tag that opens a stream.
pub(super) fn read(
    text: &str,
    tag: &StartTag,
    bound: Bound,
    attributes: &[Attribute],
    context: &Context,
) -> Result<StreamHeader, PeerMisbehaved> {
    let declared = |prefix: &str| {
        let place = context.find(prefix.as_bytes())?;
        context.declared.get(place).map(|declared| &*declared.uri)
    };
    let namespace = match bound {
        Bound::Nothing | Bound::Xml => None,
        Bound::Within(_) | Bound::Context(_) => declared(tag.name.prefix().of_text(text)),
    };
    if namespace != Some(ns::STREAMS) {
        return Err(PeerMisbehaved::StreamNamespace);
    }
    if tag.name.local().of_text(text) != "stream" || tag.closes == Closes::Itself {
        return Err(PeerMisbehaved::NotAStream);
    }
    let value = |name: &str| {
        let found = attributes.iter().find(|a| a.name.whole.of_text(text) == name)?;
        Some(chars::decode_value(found.value.of_text(text)).into_owned())
    };
    Ok(StreamHeader {
        from: value("from"),
        to: value("to"),
        id: value("id"),
        version: value("version"),
        lang: value("xml:lang"),
        default_namespace: declared("").unwrap_or_default().to_owned(),
        declares_dialback: declared("db") == Some(ns::DIALBACK),
    })
}
