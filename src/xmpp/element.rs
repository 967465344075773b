//! A first-level element as it came, and what is asked of it.

use std::borrow::Cow;
use std::sync::Arc;

use super::child::{Child, Children};
use super::jid::{Jid, JidMalformed};
use super::scope::{self, Bound, Context};
use super::tag::{Attribute, Closes, Name, Span, StartTag};
use super::tokens::{Attributes, RawAttribute};
use super::{chars, ns, write};

/// What the reader remembers of the tag of a first-level element.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstTag {
    name: Name,
    bound: Bound,
    /// Behind its `>`.
    end: u32,
    closes: Closes,
    from: Option<Span>,
    to: Option<Span>,
    id: Option<Span>,
    kind: Option<Span>,
    lang: Option<Span>,
}

impl Default for FirstTag {
    fn default() -> Self {
        Self {
            name: Name::default(),
            bound: Bound::Nothing,
            end: 0,
            closes: Closes::Itself,
            from: None,
            to: None,
            id: None,
            kind: None,
            lang: None,
        }
    }
}

impl FirstTag {
    #[inline]
    pub(super) fn of(input: &[u8], tag: &StartTag, bound: Bound, attributes: &[Attribute]) -> Self {
        let mut first = Self {
            name: tag.name,
            bound,
            end: Span::new(0, tag.end).end,
            closes: tag.closes,
            ..Self::default()
        };
        for attribute in attributes {
            let place = match attribute.name.whole.of(input) {
                b"from" => &mut first.from,
                b"to" => &mut first.to,
                b"id" => &mut first.id,
                b"type" => &mut first.kind,
                b"xml:lang" => &mut first.lang,
                _ => continue,
            };
            *place = Some(attribute.value);
        }
        first
    }
}

/// A first-level element of a stream: its bytes, and the places of what is asked first.
///
/// Everything else is decoded when it is asked for. Its clone is cheap: a count in the stream's
/// declarations.
#[derive(Clone, Debug)]
pub struct Element<'a> {
    text: &'a str,
    first: FirstTag,
    inherited: u32,
    context: Arc<Context>,
}

impl<'a> Element<'a> {
    pub(super) const fn new(
        text: &'a str,
        first: FirstTag,
        inherited: u32,
        context: Arc<Context>,
    ) -> Self {
        Self { text, first, inherited, context }
    }

    /// Returns the element as it came.
    #[must_use]
    pub const fn raw(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// Returns the name without its prefix.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.first.name.local().of_text(self.text)
    }

    /// Returns the namespace; empty: none.
    #[must_use]
    pub fn namespace(&self) -> Cow<'_, str> {
        match self.first.bound {
            Bound::Within(span) => chars::decode_value(span.of_text(self.text)),
            Bound::Context(place) => {
                let declared = self.context.declared.get(usize::from(place));
                Cow::Borrowed(declared.map_or("", |declared| &*declared.uri))
            }
            Bound::Xml => Cow::Borrowed(ns::XML),
            Bound::Nothing => Cow::Borrowed(""),
        }
    }

    /// Tells whether the element has this name in this namespace.
    #[must_use]
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        self.name() == name && self.namespace() == namespace
    }

    /// Returns which stanza the element is.
    #[must_use]
    pub fn stanza(&self) -> Option<Stanza> {
        let stanza = match self.name() {
            "message" => Stanza::Message,
            "presence" => Stanza::Presence,
            "iq" => Stanza::Iq,
            _ => return None,
        };
        (self.namespace() == ns::SERVER).then_some(stanza)
    }

    /// Returns `from`, decoded.
    #[must_use]
    pub fn from(&self) -> Option<Cow<'a, str>> {
        self.value(self.first.from)
    }

    /// Returns `to`, decoded.
    #[must_use]
    pub fn to(&self) -> Option<Cow<'a, str>> {
        self.value(self.first.to)
    }

    /// Returns `id`, decoded.
    #[must_use]
    pub fn id(&self) -> Option<Cow<'a, str>> {
        self.value(self.first.id)
    }

    /// Returns `type`, decoded.
    #[must_use]
    pub fn kind(&self) -> Option<Cow<'a, str>> {
        self.value(self.first.kind)
    }

    /// Returns `xml:lang`, decoded.
    #[must_use]
    pub fn lang(&self) -> Option<Cow<'a, str>> {
        self.value(self.first.lang)
    }

    /// Returns the address in `from`; `None`: there is no such attribute.
    #[must_use]
    pub fn from_jid(&self) -> Option<Result<Jid<'a>, JidMalformed>> {
        self.from().map(Jid::parse_cow)
    }

    /// Returns the address in `to`; `None`: there is no such attribute.
    #[must_use]
    pub fn to_jid(&self) -> Option<Result<Jid<'a>, JidMalformed>> {
        self.to().map(Jid::parse_cow)
    }

    fn value(&self, span: Option<Span>) -> Option<Cow<'a, str>> {
        span.map(|span| chars::decode_value(span.of_text(self.text)))
    }

    /// Returns the attributes of the element's tag.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::of(self.tag())
    }

    /// Returns the attribute of this name, prefix included as it is written.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Cow<'a, str>> {
        self.attributes().find(|a| a.name == name).map(|a: RawAttribute<'a>| a.value())
    }

    /// Returns the elements directly within.
    #[must_use]
    pub fn children(&self) -> Children<'_> {
        Children::of_element(self)
    }

    /// Returns the first element directly within that has this name and namespace.
    #[must_use]
    pub fn child(&self, name: &str, namespace: &str) -> Option<Child<'_>> {
        self.children().find(|child| child.is(name, namespace))
    }

    /// Returns the text directly within.
    #[must_use]
    pub fn text(&self) -> String {
        super::child::text_of(self.content())
    }

    /// Returns the element as it came, as text.
    pub(super) const fn text_with_tags(&self) -> &'a str {
        self.text
    }

    /// Returns the start tag as it stands.
    pub(super) fn tag(&self) -> &'a str {
        self.text.get(..self.first.end as usize).unwrap_or_default()
    }

    /// Returns what lies between start and end tag.
    pub(super) fn content(&self) -> &'a str {
        match self.first.closes {
            Closes::Itself => "",
            Closes::Later => {
                let rest = self.text.get(self.first.end as usize..).unwrap_or_default();
                let end = memchr::memrchr(b'<', rest.as_bytes()).unwrap_or(rest.len());
                rest.get(..end).unwrap_or_default()
            }
        }
    }

    /// Tells whether the element's own tag or its stream's header declares `prefix`, so that it
    /// may stand for something within.
    #[must_use]
    pub fn knows_prefix(&self, prefix: &str) -> bool {
        let declares = |name: &str| name.strip_prefix("xmlns:") == Some(prefix);
        self.inherited(prefix).is_some() || self.attributes().any(|a| declares(a.name))
    }

    /// Returns the namespace that the stream header gives `prefix`.
    pub(super) fn inherited(&self, prefix: &str) -> Option<&str> {
        let place = self.context.find(prefix.as_bytes())?;
        self.context.declared.get(place).map(|declared| &*declared.uri)
    }

    /// Appends the element so that it means the same on any stream of ours, whose header declares
    /// what [`super::StreamHeader::write`] does: what else it uses of its own stream's header is
    /// declared in its tag.
    pub fn write_detached(&self, out: &mut Vec<u8>) {
        self.write_with(&[], out);
    }

    /// Appends the same with other attributes in its tag: `(name, Some(value))` adds or replaces
    /// one, `(name, None)` takes it away. Names are compared as they are written, prefix included;
    /// a prefix that is new is declared by an attribute `xmlns:...` beside.
    pub fn write_with(&self, attributes: &[(&str, Option<&str>)], out: &mut Vec<u8>) {
        let name_end = self.first.name.whole.end as usize;
        out.extend_from_slice(&self.raw()[..name_end]);
        self.write_declarations(out);
        if attributes.is_empty() {
            out.extend_from_slice(&self.raw()[name_end..]);
            return;
        }
        for old in self.attributes() {
            if attributes.iter().all(|(name, _)| *name != old.name) {
                old.write(out);
            }
        }
        for (name, value) in attributes {
            if let Some(value) = value {
                write::attribute(name, value, out);
            }
        }
        let end = self.first.end as usize;
        match self.first.closes {
            Closes::Itself => out.extend_from_slice(b"/>"),
            Closes::Later => {
                out.push(b'>');
                out.extend_from_slice(self.raw().get(end..).unwrap_or_default());
            }
        }
    }

    /// Appends the declarations of the stream's header that the element uses and that our headers
    /// do not have.
    fn write_declarations(&self, out: &mut Vec<u8>) {
        if self.inherited & scope::NO_DEFAULT != 0 {
            write::attribute("xmlns", "", out);
        }
        for (place, declared) in self.context.declared.iter().enumerate() {
            if self.inherited & (1 << place) == 0 || declared.is_standard() {
                continue;
            }
            if declared.prefix.is_empty() {
                write::attribute("xmlns", &declared.uri, out);
            } else {
                write::attribute(&format!("xmlns:{}", declared.prefix), &declared.uri, out);
            }
        }
    }
}

/// The three kinds of stanza (RFC 6120 section 8.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stanza {
    /// Pushes something to its addressee.
    Message,
    /// Tells whoever may know of availability and subscriptions.
    Presence,
    /// Asks and answers.
    Iq,
}

impl Stanza {
    /// Returns the name of its element.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Presence => "presence",
            Self::Iq => "iq",
        }
    }
}
