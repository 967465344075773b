//! A small tree of its own, for who builds stanzas and takes them apart.

use std::borrow::Cow;

use super::child::Child;
use super::element::Element;
use super::tokens::{self, Attributes, Token, Tokens};
use super::{chars, ns, write};

/// An element with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    name: Cow<'static, str>,
    namespace: Cow<'static, str>,
    attributes: Vec<(Cow<'static, str>, String)>,
    /// Elements and text in their order.
    pub content: Vec<Content>,
}

/// What is within a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// An element.
    Node(Node),
    /// Text, decoded.
    Text(String),
}

impl Node {
    /// Returns an empty element.
    #[must_use]
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        namespace: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            name: name.into(),
            namespace: namespace.into(),
            attributes: Vec::new(),
            content: Vec::new(),
        }
    }

    /// Returns a stanza.
    #[must_use]
    pub fn stanza(stanza: super::Stanza) -> Self {
        Self::new(stanza.as_str(), ns::SERVER)
    }

    /// Returns the node with an attribute more, or with another value of it. `xml:lang` is the one
    /// prefixed name that may be given; others are taken with [`Node::set`] beside their
    /// declaration.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.set(name, value);
        self
    }

    /// Returns the node with an attribute more if there is a value.
    #[must_use]
    pub fn with_some(
        self,
        name: impl Into<Cow<'static, str>>,
        value: Option<impl Into<String>>,
    ) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Returns the node with a child more.
    #[must_use]
    pub fn with_child(mut self, child: Self) -> Self {
        self.push(child);
        self
    }

    /// Returns the node with text more.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.push_text(text);
        self
    }

    /// Sets an attribute.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        match self.attributes.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.attributes.push((name, value)),
        }
    }

    /// Takes an attribute away and returns its value.
    pub fn remove(&mut self, name: &str) -> Option<String> {
        let place = self.attributes.iter().position(|(known, _)| known == name)?;
        Some(self.attributes.remove(place).1)
    }

    /// Adds a child at the end.
    pub fn push(&mut self, child: Self) {
        self.content.push(Content::Node(child));
    }

    /// Adds text at the end.
    pub fn push_text(&mut self, text: impl Into<String>) {
        let text = text.into();
        match self.content.last_mut() {
            Some(Content::Text(last)) => last.push_str(&text),
            _ if text.is_empty() => {}
            _ => self.content.push(Content::Text(text)),
        }
    }

    /// Returns the name without a prefix.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the namespace; empty: none.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Tells whether the node has this name in this namespace.
    #[must_use]
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        self.name == name && self.namespace == namespace
    }

    /// Returns an attribute's value.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| &**value)
    }

    /// Returns the attributes in their order, declarations of namespaces left out.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Returns the elements directly within.
    pub fn children(&self) -> impl Iterator<Item = &Self> {
        self.content.iter().filter_map(|content| match content {
            Content::Node(node) => Some(node),
            Content::Text(_) => None,
        })
    }

    /// Returns the first element directly within that has this name and namespace.
    #[must_use]
    pub fn child(&self, name: &str, namespace: &str) -> Option<&Self> {
        self.children().find(|child| child.is(name, namespace))
    }

    /// Returns the text directly within.
    #[must_use]
    pub fn text(&self) -> String {
        let texts = self.content.iter().filter_map(|content| match content {
            Content::Text(text) => Some(&**text),
            Content::Node(_) => None,
        });
        texts.collect()
    }

    /// Appends the element, as it is to stand on a stream whose default namespace is
    /// [`ns::SERVER`].
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_within(ns::SERVER, out);
    }

    /// Appends the element, as it is to stand where `default_namespace` is the default.
    pub fn write_within(&self, default_namespace: &str, out: &mut Vec<u8>) {
        // This one namespace is bound to its prefix and no other (Namespaces in XML section 3).
        let (prefix, within) = match &*self.namespace {
            ns::XML => ("xml:", default_namespace),
            namespace => ("", namespace),
        };
        out.push(b'<');
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(self.name.as_bytes());
        if within != default_namespace {
            write::attribute("xmlns", within, out);
        }
        for (name, value) in &self.attributes {
            write::attribute(name, value, out);
        }
        if self.content.is_empty() {
            out.extend_from_slice(b"/>");
            return;
        }
        out.push(b'>');
        for content in &self.content {
            match content {
                Content::Node(node) => node.write_within(within, out),
                Content::Text(text) => write::text(text, out),
            }
        }
        out.extend_from_slice(b"</");
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(self.name.as_bytes());
        out.push(b'>');
    }
}

impl From<&Element<'_>> for Node {
    fn from(element: &Element<'_>) -> Self {
        let mut builder = Builder { element, declared: Vec::new(), open: Vec::new() };
        for token in Tokens::of(element.text_with_tags()) {
            if let Some(node) = builder.take(token) {
                return node;
            }
        }
        unreachable!("the reader let a whole element pass")
    }
}

/// Builds a tree in one pass over an element's text, however deep it is.
struct Builder<'a> {
    element: &'a Element<'a>,
    /// Prefixes and what they stand for, the innermost last; empty for the default namespace.
    declared: Vec<(&'a str, Cow<'a, str>)>,
    /// Nodes whose end was not seen, and how many declarations were in force around each.
    open: Vec<(Node, usize)>,
}

impl<'a> Builder<'a> {
    /// Takes a token in, and returns the tree with its last one.
    fn take(&mut self, token: Token<'a>) -> Option<Node> {
        match token {
            Token::Start(tag) => {
                let opened = self.node(tag);
                self.open.push(opened);
                None
            }
            Token::Empty(tag) => {
                let (node, around) = self.node(tag);
                self.close(node, around)
            }
            Token::End(_) => {
                let (node, around) = self.open.pop()?;
                self.close(node, around)
            }
            Token::Text(raw) => self.text(chars::decode_text(raw)),
            Token::CData(raw) => self.text(chars::decode_lines(raw)),
        }
    }

    fn text(&mut self, text: Cow<'_, str>) -> Option<Node> {
        if let Some((node, _)) = self.open.last_mut() {
            node.push_text(text);
        }
        None
    }

    fn close(&mut self, node: Node, around: usize) -> Option<Node> {
        self.declared.truncate(around);
        match self.open.last_mut() {
            Some((parent, _)) => {
                parent.push(node);
                None
            }
            None => Some(node),
        }
    }

    fn node(&mut self, tag: &'a str) -> (Node, usize) {
        let around = self.declared.len();
        let mut attributes = Vec::new();
        for attribute in Attributes::of(tag) {
            match attribute.name.split_once(':') {
                None if attribute.name == "xmlns" => self.declared.push(("", attribute.value())),
                Some(("xmlns", prefix)) => self.declared.push((prefix, attribute.value())),
                // What other prefixes mean rests on declarations, and no payload that is
                // translated has any.
                Some(_) if attribute.name != "xml:lang" => {}
                None | Some(_) => attributes
                    .push((Cow::Owned(attribute.name.to_owned()), attribute.value().into_owned())),
            }
        }
        let name = tokens::tag_name(tag);
        let (prefix, name) = name.split_once(':').unwrap_or(("", name));
        let mut node = Node::new(name.to_owned(), self.namespace(prefix));
        node.attributes = attributes;
        (node, around)
    }

    fn namespace(&self, prefix: &str) -> Cow<'static, str> {
        let within = self.declared.iter().rev().find(|(declared, _)| *declared == prefix);
        let namespace = match within {
            Some((_, namespace)) => &**namespace,
            None if prefix == "xml" => ns::XML,
            None => self.element.inherited(prefix).unwrap_or_default(),
        };
        // The commonest by far, which needs no text of its own.
        match namespace {
            ns::SERVER => Cow::Borrowed(ns::SERVER),
            other => Cow::Owned(other.to_owned()),
        }
    }
}

impl From<&Child<'_>> for Node {
    fn from(child: &Child<'_>) -> Self {
        let mut node = Self::new(child.name().to_owned(), child.namespace().into_owned());
        for attribute in child.attributes() {
            let name = attribute.name;
            if name == "xml:lang" || !(name.contains(':') || name == "xmlns") {
                node.attributes.push((Cow::Owned(name.to_owned()), attribute.value().into_owned()));
            }
        }
        let mut children = child.children();
        let mut tokens = Tokens::of(child.content());
        while let Some(token) = tokens.next() {
            match token {
                Token::Text(raw) => node.push_text(chars::decode_text(raw)),
                Token::CData(raw) => node.push_text(chars::decode_lines(raw)),
                Token::Start(_) => {
                    super::child::skip_element(&mut tokens);
                    node.content
                        .extend(children.next().as_ref().map(Self::from).map(Content::Node));
                }
                Token::Empty(_) => {
                    node.content
                        .extend(children.next().as_ref().map(Self::from).map(Content::Node));
                }
                Token::End(_) => {}
            }
        }
        node
    }
}
