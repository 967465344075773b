//! Elements within an element, found when they are asked for.

use std::borrow::Cow;

use super::element::Element;
use super::tokens::{self, Attributes, Token, Tokens};
use super::{chars, ns};

/// An element within another.
#[derive(Clone, Copy, Debug)]
pub struct Child<'a> {
    tag: &'a str,
    content: &'a str,
    parent: Parent<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Parent<'a> {
    Element(&'a Element<'a>),
    Child(&'a Child<'a>),
}

impl<'a> Child<'a> {
    /// Returns the name without its prefix.
    #[must_use]
    pub fn name(&self) -> &'a str {
        let name = tokens::tag_name(self.tag);
        name.split_once(':').map_or(name, |(_, local)| local)
    }

    /// Returns the namespace; empty: none.
    #[must_use]
    pub fn namespace(&self) -> Cow<'a, str> {
        let name = tokens::tag_name(self.tag);
        self.namespace_of(name.split_once(':').map_or("", |(prefix, _)| prefix))
    }

    /// Returns the namespace that `prefix` stands for here; empty for the default one, and empty
    /// if there is none.
    #[must_use]
    pub fn namespace_of(&self, prefix: &str) -> Cow<'a, str> {
        if let Some(declared) = declared_in(self.tag, prefix) {
            return declared;
        }
        let mut parent = self.parent;
        loop {
            match parent {
                Parent::Child(child) => match declared_in(child.tag, prefix) {
                    Some(declared) => return declared,
                    None => parent = child.parent,
                },
                Parent::Element(element) => {
                    return match declared_in(element.tag(), prefix) {
                        Some(declared) => declared,
                        None if prefix == "xml" => Cow::Borrowed(ns::XML),
                        None => Cow::Borrowed(element.inherited(prefix).unwrap_or_default()),
                    };
                }
            }
        }
    }

    /// Tells whether the element has this name in this namespace.
    #[must_use]
    pub fn is(&self, name: &str, namespace: &str) -> bool {
        self.name() == name && self.namespace() == namespace
    }

    /// Returns the attributes of the element's tag.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::of(self.tag)
    }

    /// Returns the attribute of this name, prefix included as it is written.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Cow<'a, str>> {
        self.attributes().find(|attribute| attribute.name == name).map(|found| found.value())
    }

    /// Returns the text directly within.
    #[must_use]
    pub fn text(&self) -> String {
        text_of(self.content)
    }

    /// Returns the elements directly within.
    #[must_use]
    pub fn children(&self) -> Children<'_> {
        Children { tokens: Tokens::of(self.content), parent: Parent::Child(self) }
    }

    /// Returns the first element directly within that has this name and namespace.
    #[must_use]
    pub fn child(&self, name: &str, namespace: &str) -> Option<Child<'_>> {
        self.children().find(|child| child.is(name, namespace))
    }

    /// Returns what lies between start and end tag.
    pub(super) const fn content(&self) -> &'a str {
        self.content
    }
}

/// Returns what `tag` declares for `prefix`.
fn declared_in<'a>(tag: &'a str, prefix: &str) -> Option<Cow<'a, str>> {
    let declares = |name: &str| match name.strip_prefix("xmlns") {
        Some("") => prefix.is_empty(),
        Some(rest) => rest.strip_prefix(':').is_some_and(|declared| declared == prefix),
        None => false,
    };
    Attributes::of(tag).find(|attribute| declares(attribute.name)).map(|found| found.value())
}

/// The elements directly within one.
#[derive(Clone, Copy, Debug)]
pub struct Children<'a> {
    tokens: Tokens<'a>,
    parent: Parent<'a>,
}

impl<'a> Children<'a> {
    pub(super) fn of_element(element: &'a Element<'a>) -> Self {
        Self { tokens: Tokens::of(element.content()), parent: Parent::Element(element) }
    }
}

impl<'a> Iterator for Children<'a> {
    type Item = Child<'a>;

    fn next(&mut self) -> Option<Child<'a>> {
        loop {
            match self.tokens.next()? {
                Token::Empty(tag) => {
                    return Some(Child { tag, content: "", parent: self.parent });
                }
                Token::Start(tag) => {
                    let content = skip_element(&mut self.tokens);
                    return Some(Child { tag, content, parent: self.parent });
                }
                Token::Text(_) | Token::CData(_) | Token::End(_) => {}
            }
        }
    }
}

/// Goes on behind the end of an element whose start tag was taken, and returns what lies within.
pub(super) fn skip_element<'a>(tokens: &mut Tokens<'a>) -> &'a str {
    let content = tokens.rest;
    let mut depth = 1_u32;
    loop {
        let before = tokens.rest.len();
        match tokens.next() {
            Some(Token::Start(_)) => depth += 1,
            Some(Token::End(_)) => {
                depth -= 1;
                if depth == 0 {
                    return content.get(..content.len() - before).unwrap_or_default();
                }
            }
            Some(_) => {}
            None => return content,
        }
    }
}

/// Returns the text directly within an element's content.
pub(super) fn text_of(content: &str) -> String {
    let mut text = String::new();
    let mut tokens = Tokens::of(content);
    while let Some(token) = tokens.next() {
        match token {
            Token::Text(raw) => text.push_str(&chars::decode_text(raw)),
            Token::CData(raw) => text.push_str(&chars::decode_lines(raw)),
            Token::Start(_) => {
                skip_element(&mut tokens);
            }
            Token::Empty(_) | Token::End(_) => {}
        }
    }
    text
}
