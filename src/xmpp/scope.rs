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
    /// Returns the place of the declaration of `prefix`.
    pub(super) fn find(&self, prefix: &[u8]) -> Option<usize> {
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
        let within = self.bindings.iter().rev().find(|b| b.prefix.of(input) == prefix);
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
        for (at, one) in attributes.iter().enumerate() {
            if !is_plain_prefixed(input, one) {
                continue;
            }
            let bound = self.resolve(input, one.name.prefix().of(input), context)?;
            for other in attributes[..at].iter().filter(|other| is_plain_prefixed(input, other)) {
                if other.name.local().of(input) != one.name.local().of(input) {
                    continue;
                }
                let other = self.resolve(input, other.name.prefix().of(input), context)?;
                if uri(input, bound, context) == uri(input, other, context) {
                    return Err(PeerMisbehaved::DuplicateAttribute);
                }
            }
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
    let name = attribute.name.whole.of(input);
    if !name.starts_with(b"xmlns") {
        return Ok(None);
    }
    let prefix = match name.get(5) {
        None => Span::default(),
        Some(b':') => attribute.name.local(),
        Some(_) => return Ok(None),
    };
    let uri = value(input, attribute.value);
    let sound = match (prefix.of(input), &*uri) {
        (b"xmlns", _) | (_, ns::XMLNS) => false,
        (b"xml", uri) => uri == ns::XML,
        (_, ns::XML) => false,
        (prefix, uri) => prefix.is_empty() || !uri.is_empty(),
    };
    if sound { Ok(Some(prefix)) } else { Err(PeerMisbehaved::Declares) }
}

/// Decodes a value whose text has not been checked; what is no UTF-8 is refused elsewhere.
fn value(input: &[u8], span: Span) -> Cow<'_, str> {
    match std::str::from_utf8(span.of(input)) {
        Ok(text) => chars::decode_value(text),
        Err(_) => Cow::Borrowed("\u{fffd}"),
    }
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
