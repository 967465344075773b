//! Which namespace a prefix stands for.

use std::borrow::Cow;

use super::fault::PeerMisbehaved;
use super::tag::{Attribute, Name, Span};
use super::{chars, ns};
use crate::limits;

/// What a stream header declares for all that the stream carries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) declared: Vec<Declared>,
    /// The place of the default namespace, which most names are in.
    default: Option<u8>,
}

/// One declaration of a stream header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Declared {
    /// Empty for the default namespace.
    pub(super) prefix: Box<str>,
    pub(super) uri: Box<str>,
}

impl Declared {
    /// Tells whether every stream header that we write says the same.
    pub(super) fn is_standard(&self) -> bool {
        matches!(
            (&*self.prefix, &*self.uri),
            ("", ns::SERVER) | ("stream", ns::STREAMS) | ("db", ns::DIALBACK)
        )
    }
}

impl Context {
    /// Adds a declaration.
    pub(super) fn declare(&mut self, prefix: &str, uri: &str) {
        if prefix.is_empty() {
            self.default = u8::try_from(self.declared.len()).ok();
        }
        self.declared.push(Declared { prefix: prefix.into(), uri: uri.into() });
    }

    /// Returns the place of the declaration of `prefix`.
    pub(super) fn find(&self, prefix: &[u8]) -> Option<usize> {
        if prefix.is_empty() {
            return self.default.map(usize::from);
        }
        self.declared.iter().position(|declared| declared.prefix.as_bytes() == prefix)
    }
}

/// What a prefix is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// By a declaration within the element: the value as it stands there.
    Within(Span),
    /// By the stream header.
    Context(u8),
    /// `xml`.
    Xml,
    /// No namespace: there is no default.
    Nothing,
}

/// One declaration in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binding {
    /// Empty for the default namespace.
    prefix: Span,
    uri: Span,
    depth: u16,
}

/// Declarations in force within one first-level element, the innermost last.
#[derive(Debug, Default)]
pub(super) struct Scope {
    bindings: Vec<Binding>,
    /// Attributes with a prefix of the tag that is being read: local name and what the prefix
    /// stands for.
    prefixed: Vec<(Span, Bound)>,
    /// A bit for each declaration of the context that the element uses.
    pub(super) inherited: u32,
}

/// The bit of [`Scope::inherited`] for names without a namespace because the context has no
/// default.
pub(super) const NO_DEFAULT: u32 = 1 << 31;

impl Scope {
    pub(super) fn clear(&mut self) {
        self.bindings.clear();
        self.inherited = 0;
    }

    /// Forgets what elements at `depth` and below declared.
    #[inline]
    pub(super) fn leave(&mut self, depth: usize) {
        while self.bindings.last().is_some_and(|binding| usize::from(binding.depth) >= depth) {
            self.bindings.pop();
        }
    }

    /// Takes in what a tag at `depth` declares, checks that all prefixes are bound and no attribute
    /// is there twice, and returns what the element's own prefix is bound to.
    pub(super) fn enter(
        &mut self,
        input: &[u8],
        name: Name,
        attributes: &[Attribute],
        depth: u16,
        context: &Context,
    ) -> Result<Bound, PeerMisbehaved> {
        let mut prefixed = 0;
        for attribute in attributes {
            match declares(input, attribute)? {
                Some(prefix) => {
                    if self.bindings.len() >= usize::from(limits::XMPP_NAMESPACES_MAX) {
                        return Err(PeerMisbehaved::TooManyNamespaces);
                    }
                    self.bindings.push(Binding { prefix, uri: attribute.value, depth });
                }
                None => prefixed += usize::from(attribute.name.prefix_len > 0),
            }
        }
        if prefixed > 0 {
            self.check_prefixed(input, attributes, context)?;
        }
        self.resolve(input, name.prefix().of(input), context)
    }

    #[inline]
    fn resolve(
        &mut self,
        input: &[u8],
        prefix: &[u8],
        context: &Context,
    ) -> Result<Bound, PeerMisbehaved> {
        let len = prefix.len() as u32;
        let same = |b: &&Binding| {
            let prefix_len = b.prefix.end - b.prefix.start;
            prefix_len == len && (len == 0 || b.prefix.of(input) == prefix)
        };
        let within = self.bindings.iter().rev().find(same);
        if let Some(binding) = within {
            let nothing = prefix.is_empty() && binding.uri.start == binding.uri.end;
            return Ok(if nothing { Bound::Nothing } else { Bound::Within(binding.uri) });
        }
        if let Some(place) = context.find(prefix) {
            self.inherited |= 1 << place;
            let place = u8::try_from(place).map_err(|_| PeerMisbehaved::TooManyNamespaces)?;
            return Ok(Bound::Context(place));
        }
        match prefix {
            b"" => {
                self.inherited |= NO_DEFAULT;
                Ok(Bound::Nothing)
            }
            b"xml" => Ok(Bound::Xml),
            _ => Err(PeerMisbehaved::UnboundPrefix),
        }
    }

    /// Refuses attributes with unbound prefixes, and two of one name behind different prefixes.
    #[cold]
    fn check_prefixed(
        &mut self,
        input: &[u8],
        attributes: &[Attribute],
        context: &Context,
    ) -> Result<(), PeerMisbehaved> {
        self.prefixed.clear();
        for attribute in attributes.iter().filter(|a| is_plain_prefixed(input, a)) {
            let bound = self.resolve(input, attribute.name.prefix().of(input), context)?;
            let local = attribute.name.local();
            let same = |(other, to): &(Span, Bound)| {
                other.of(input) == local.of(input) && is_same(input, *to, bound, context)
            };
            if self.prefixed.iter().any(same) {
                return Err(PeerMisbehaved::DuplicateAttribute);
            }
            self.prefixed.push((local, bound));
        }
        Ok(())
    }
}

fn is_plain_prefixed(input: &[u8], attribute: &Attribute) -> bool {
    attribute.name.prefix_len > 0 && attribute.name.prefix().of(input) != b"xmlns"
}

/// Returns the prefix that an attribute declares, empty for the default namespace; `None`: it
/// declares nothing.
#[inline]
pub(super) fn declares(
    input: &[u8],
    attribute: &Attribute,
) -> Result<Option<Span>, PeerMisbehaved> {
    if !attribute.name.begins_with(b'x') {
        return Ok(None);
    }
    let name = attribute.name.whole.of(input);
    if !name.starts_with(b"xmlns") {
        return Ok(None);
    }
    let prefix = match name.get(5) {
        None => Span::default(),
        Some(b':') => attribute.name.local(),
        Some(_) => return Ok(None),
    };
    let raw = attribute.value.of(input);
    let may_be_reserved = matches!(raw.len(), 0 | XML_LEN | XMLNS_LEN)
        || prefix.of(input).first() == Some(&b'x')
        || memchr::memchr(b'&', raw).is_some();
    if !may_be_reserved {
        return Ok(Some(prefix));
    }
    let uri = value(input, attribute.value);
    let sound = match (prefix.of(input), &*uri) {
        (b"xmlns", _) | (_, ns::XMLNS) => false,
        (b"xml", uri) => uri == ns::XML,
        (_, ns::XML) => false,
        (prefix, uri) => prefix.is_empty() || !uri.is_empty(),
    };
    if sound { Ok(Some(prefix)) } else { Err(PeerMisbehaved::Declares) }
}

const XML_LEN: usize = ns::XML.len();
const XMLNS_LEN: usize = ns::XMLNS.len();

/// Decodes a value whose text has not been checked; what is no UTF-8 is refused elsewhere.
fn value(input: &[u8], span: Span) -> Cow<'_, str> {
    match std::str::from_utf8(span.of(input)) {
        Ok(text) => chars::decode_value(text),
        Err(_) => Cow::Borrowed("\u{fffd}"),
    }
}

/// Tells whether two prefixes stand for one namespace.
fn is_same(input: &[u8], one: Bound, other: Bound, context: &Context) -> bool {
    match (one, other) {
        (Bound::Within(one), Bound::Within(other)) => {
            let (raw, other_raw) = (one.of(input), other.of(input));
            let decoded = || value(input, one) == value(input, other);
            raw == other_raw || (is_encoded(raw) || is_encoded(other_raw)) && decoded()
        }
        (one, other) => uri(input, one, context) == uri(input, other, context),
    }
}

/// Tells whether a value is other than as it stands.
fn is_encoded(raw: &[u8]) -> bool {
    raw.iter().any(|byte| *byte == b'&' || *byte < b' ')
}

fn uri<'a>(input: &'a [u8], bound: Bound, context: &'a Context) -> Cow<'a, str> {
    match bound {
        Bound::Within(span) => value(input, span),
        Bound::Context(place) => context
            .declared
            .get(usize::from(place))
            .map_or(Cow::Borrowed(""), |declared| Cow::Borrowed(&*declared.uri)),
        Bound::Xml => Cow::Borrowed(ns::XML),
        Bound::Nothing => Cow::Borrowed(""),
    }
}
