//! Formatted text: the subset of XHTML that XEP-0071 allows, and nothing else.
//!
//! [`Builder`] takes tags and text in any order, well nested or not, and makes a tree of it. A name
//! that is not on the list gives no element; what is in it stays, unless it is a program. Links
//! keep a target only if its scheme is on the list, styles only properties and characters of
//! theirs. Pictures are left out: who fetches one tells its server that he reads.

use super::text::is_xml_character;
use super::{Loss, Losses, Translated, ns};
use crate::limits;
use crate::xmpp::{Content, Node};

/// Schemes that a link may have.
const SCHEMES: [&str; 8] = ["http", "https", "mailto", "xmpp", "sip", "sips", "im", "tel"];

/// Properties that a style may set (XEP-0071 section 7.6).
const PROPERTIES: [&str; 10] = [
    "background-color",
    "color",
    "font-family",
    "font-size",
    "font-style",
    "font-weight",
    "margin-left",
    "margin-right",
    "text-align",
    "text-decoration",
];

/// Every element that comes out.
pub const ELEMENTS: [&str; 12] =
    ["body", "a", "blockquote", "br", "cite", "em", "li", "ol", "p", "span", "strong", "ul"];

/// Every attribute that comes out.
pub const ATTRIBUTES: [&str; 2] = ["href", "style"];

/// What becomes of an element.
enum Becomes {
    /// This element, with a style of its own beside the sender's.
    Element(&'static str, Option<&'static str>),
    /// Nothing; what is in it stays.
    Transparent,
    /// The same, and something is lost.
    Reduced(Loss),
    /// Nothing, nor what is in it.
    Skipped,
    /// This text.
    Text(&'static str),
}

fn becomes(name: &str) -> Becomes {
    use Becomes::{Element, Reduced, Skipped, Text, Transparent};
    match name {
        "p" | "div" | "section" | "article" | "pre" | "center" | "dd" | "dt" | "tr" | "address" => {
            Element("p", None)
        }
        "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => Element("p", Some("font-weight: bold")),
        "blockquote" => Element("blockquote", None),
        "br" | "hr" => Element("br", None),
        "cite" => Element("cite", None),
        "em" | "i" | "dfn" | "var" => Element("em", None),
        "strong" | "b" => Element("strong", None),
        "ul" | "dir" | "menu" => Element("ul", None),
        "ol" => Element("ol", None),
        "li" => Element("li", None),
        "a" => Element("a", None),
        "span" | "font" => Element("span", None),
        "u" | "ins" => Element("span", Some("text-decoration: underline")),
        "s" | "strike" | "del" => Element("span", Some("text-decoration: line-through")),
        "code" | "tt" | "kbd" | "samp" => Element("span", Some("font-family: monospace")),
        "html" | "body" | "q" | "abbr" | "acronym" | "label" | "tbody" | "thead" | "table"
        | "dl" | "meta" | "link" => Transparent,
        "td" | "th" => Text("\t"),
        "img" | "object" | "embed" | "applet" | "video" | "audio" | "canvas" | "input"
        | "button" | "form" | "picture" | "source" => Reduced(Loss::EmbeddedObject),
        "script" | "style" | "head" | "title" | "template" | "svg" | "math" | "select"
        | "iframe" | "noscript" | "textarea" | "xmp" | "noembed" | "noframes" => Skipped,
        _ => Reduced(Loss::Formatting),
    }
}

/// An element that is open.
struct Open {
    /// What the sender called it.
    source: Box<str>,
    node: Node,
}

/// Builds formatted text of tags and text as they come.
pub struct Builder {
    /// The first is the body.
    open: Vec<Open>,
    /// The name of the element that is left out with what is in it, and how often it is open.
    skipped: Option<(Box<str>, u32)>,
    elements: usize,
    bytes: usize,
    losses: Losses,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// Returns an empty body.
    #[must_use]
    pub fn new() -> Self {
        let body = Open { source: "".into(), node: Node::new("body", ns::XHTML) };
        Self { open: vec![body], skipped: None, elements: 0, bytes: 0, losses: Losses::NONE }
    }

    /// A start tag, or an empty element. `name`, and names of `attributes`, in lower case.
    pub fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        if let Some((skipped, times)) = &mut self.skipped {
            if **skipped == *name {
                *times = times.saturating_add(1);
            }
            // The end tag of a head may be left out (HTML section 13.1.2.4).
            if **skipped == *"head" && name == "body" {
                self.skipped = None;
            }
            return;
        }
        let attribute = |wanted: &str| {
            attributes.iter().find(|(known, _)| *known == wanted).map(|(_, value)| *value)
        };
        match becomes(name) {
            Becomes::Element(element, style) => self.open_element(name, element, style, &attribute),
            Becomes::Transparent => {}
            Becomes::Reduced(loss) => {
                self.losses.add(loss);
                self.text(attribute("alt").unwrap_or_default());
            }
            Becomes::Skipped => {
                if name != "head" && name != "title" {
                    self.losses.add(Loss::ActiveContent);
                }
                self.skipped = Some((name.into(), 1));
            }
            Becomes::Text(text) => self.text(text),
        }
    }

    fn open_element<'a>(
        &mut self,
        source: &str,
        element: &'static str,
        own_style: Option<&'static str>,
        attribute: &dyn Fn(&str) -> Option<&'a str>,
    ) {
        let mut node = Node::new(element, ns::XHTML);
        if element == "a" {
            let Some(target) = attribute("href").and_then(link_target) else {
                self.losses.add(Loss::Link);
                return;
            };
            self.close_open("a");
            if !self.has_room(target) {
                return;
            }
            node.set("href", target);
        }
        let mut declarations = self.style(attribute("style").unwrap_or_default());
        if let Some(color) = attribute("color").filter(|_| source == "font") {
            declarations.extend(declaration("color", color));
        }
        declarations.extend(own_style.map(str::to_owned));
        if element == "span" && declarations.is_empty() {
            return;
        }
        if !declarations.is_empty() {
            node.set("style", declarations.join("; "));
        }
        if matches!(element, "p" | "blockquote" | "ul" | "ol" | "li") {
            self.close_paragraph();
        }
        // An item without a list is a paragraph.
        let in_list = self.open.iter().any(|open| matches!(open.node.name(), "ul" | "ol"));
        if element == "li" && in_list {
            self.close_open_within("li", &["ul", "ol"]);
        } else if element == "li" {
            return self.open_element("p", "p", None, attribute);
        }
        self.push(source, node);
    }

    fn push(&mut self, source: &str, node: Node) {
        let is_full = self.elements >= limits::GATEWAY_XHTML_ELEMENTS_MAX;
        if is_full || self.open.len() >= usize::from(limits::GATEWAY_XHTML_DEPTH_MAX) {
            self.losses.add(Loss::Structure);
            return;
        }
        self.elements += 1;
        if node.name() == "br" {
            self.top().push(node);
        } else {
            self.open.push(Open { source: source.into(), node });
        }
    }

    /// An end tag; one that closes nothing is passed over.
    pub fn close(&mut self, name: &str) {
        if let Some((skipped, times)) = &mut self.skipped {
            if **skipped == *name {
                *times -= 1;
                if *times == 0 {
                    self.skipped = None;
                }
            }
            return;
        }
        let place = self.open.iter().rposition(|open| *open.source == *name);
        self.close_from(place.unwrap_or(0));
    }

    /// Text, decoded.
    pub fn text(&mut self, text: &str) {
        if self.skipped.is_some() || text.is_empty() {
            return;
        }
        let mut kept = String::with_capacity(text.len());
        for c in text.chars() {
            if !is_xml_character(c) {
                self.losses.add(Loss::Characters);
            } else if self.bytes + c.len_utf8() > limits::GATEWAY_TEXT_BYTES_MAX {
                self.losses.add(Loss::Length);
                break;
            } else {
                self.bytes += c.len_utf8();
                kept.push(c);
            }
        }
        self.top().push_text(kept);
    }

    /// Closes what is open and returns the body.
    #[must_use]
    pub fn finish(mut self) -> Translated<Node> {
        self.close_from(1);
        let body = self.open.pop().expect("the body is never closed");
        Translated { value: body.node, losses: self.losses }
    }

    fn top(&mut self) -> &mut Node {
        &mut self.open.last_mut().expect("the body is never closed").node
    }

    /// Closes the element at `place` and all within it; the body at 0 is never closed.
    fn close_from(&mut self, place: usize) {
        if place == 0 {
            return;
        }
        while self.open.len() > place {
            let open = self.open.pop().expect("more than one");
            self.top().push(open.node);
        }
    }

    fn close_open(&mut self, element: &str) {
        let place = self.open.iter().rposition(|open| open.node.name() == element);
        self.close_from(place.unwrap_or(0));
    }

    /// Closes `element` if it is open within the innermost of `bounds`.
    fn close_open_within(&mut self, element: &str, bounds: &[&str]) {
        let innermost =
            |open: &Open| open.node.name() == element || bounds.contains(&open.node.name());
        let place = self.open.iter().rposition(innermost);
        let is_it =
            |place: &usize| self.open.get(*place).is_some_and(|open| open.node.name() == element);
        self.close_from(place.filter(is_it).unwrap_or(0));
    }

    /// A paragraph has no block in it.
    fn close_paragraph(&mut self) {
        self.close_open_within("p", &["li", "blockquote"]);
    }

    /// Counts what is kept beside text, so that the whole has a bound.
    fn has_room(&mut self, kept: &str) -> bool {
        let has_room = self.bytes + kept.len() <= limits::GATEWAY_TEXT_BYTES_MAX;
        if has_room {
            self.bytes += kept.len();
        } else {
            self.losses.add(Loss::Length);
        }
        has_room
    }

    fn style(&mut self, style: &str) -> Vec<String> {
        let mut kept = Vec::new();
        for one in style.split(';').filter(|one| !one.trim().is_empty()) {
            let (name, value) = one.split_once(':').unwrap_or((one, ""));
            let is_room = kept.len() < PROPERTIES.len();
            match declaration(&name.trim().to_ascii_lowercase(), value).filter(|_| is_room) {
                Some(declaration) if self.has_room(&declaration) => kept.push(declaration),
                Some(_) => {}
                None => self.losses.add(Loss::Formatting),
            }
        }
        kept
    }
}

/// Returns a declaration if it sets what it may to what it may. Without brackets and backslashes
/// in it, a value cannot call or hide anything.
fn declaration(property: &str, value: &str) -> Option<String> {
    let property = PROPERTIES.iter().find(|known| **known == property)?;
    let value = value.trim();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " #.,%-'".contains(c);
    let fits = (1..=limits::GATEWAY_STYLE_VALUE_BYTES_MAX).contains(&value.len());
    (fits && value.chars().all(is_plain)).then(|| format!("{property}: {value}"))
}

/// Returns where a link may lead. White space and controls in a target are refused, since browsers
/// drop them and then see another scheme.
fn link_target(target: &str) -> Option<&str> {
    let target = target.trim_matches(' ');
    let (scheme, rest) = target.split_once(':')?;
    let is_known = SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known));
    // The last are in no URI (RFC 3986 section 2), but in attempts to end an attribute.
    let is_plain = |c: char| {
        is_xml_character(c) && !c.is_whitespace() && !c.is_control() && !"\"<>\\`^{|}".contains(c)
    };
    let fits = target.len() <= limits::GATEWAY_LINK_BYTES_MAX && !rest.is_empty();
    (is_known && fits && target.chars().all(is_plain)).then_some(target)
}

/// Returns the formatted text of a stanza; `None`: it has none.
///
/// Source: XEP-0071 section 7.
#[must_use]
pub fn of_stanza(stanza: &Node) -> Option<Translated<Node>> {
    let body = stanza.child("html", ns::XHTML_IM)?.child("body", ns::XHTML)?;
    let mut builder = Builder::new();
    feed(body, &mut builder);
    Some(builder.finish())
}

/// The reader's limit on depth bounds the recursion.
fn feed(node: &Node, builder: &mut Builder) {
    for content in &node.content {
        match content {
            Content::Text(text) => builder.text(text),
            Content::Node(child) => {
                // Names of other namespaces are none of these.
                let name = if child.namespace() == ns::XHTML { child.name() } else { "" };
                let attributes: Vec<_> = child.attributes().collect();
                builder.open(name, &attributes);
                feed(child, builder);
                builder.close(name);
            }
        }
    }
}

/// Wraps a body for a stanza.
#[must_use]
pub fn wrapped(body: &Node) -> Node {
    Node::new("html", ns::XHTML_IM).with_child(body.clone())
}

/// Tells whether a body has more than text, paragraphs and line ends in it.
#[must_use]
pub fn is_formatted(body: &Node) -> bool {
    body.children().any(|child| {
        !matches!(child.name(), "p" | "br")
            || child.attribute("style").is_some()
            || is_formatted(child)
    })
}

/// Writes a body as a page for a SIP peer.
#[must_use]
pub fn to_html(body: &Node) -> String {
    let mut page = "<html>".to_owned();
    write_html(body, &mut page);
    page.push_str("</html>");
    page
}

fn write_html(node: &Node, page: &mut String) {
    page.push('<');
    page.push_str(node.name());
    for (name, value) in node.attributes() {
        page.push_str(&format!(" {name}=\""));
        escape(value, page);
        page.push('"');
    }
    page.push('>');
    if node.name() == "br" {
        return;
    }
    for content in &node.content {
        match content {
            Content::Text(text) => escape(text, page),
            Content::Node(child) => write_html(child, page),
        }
    }
    page.push_str(&format!("</{}>", node.name()));
}

fn escape(text: &str, page: &mut String) {
    for c in text.chars() {
        match c {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            _ => page.push(c),
        }
    }
}

/// Returns the words of a body: white space is one space, blocks and line ends are lines, a link
/// that does not show its target has it behind in brackets.
#[must_use]
pub fn plain(body: &Node) -> String {
    let mut out = String::new();
    write_plain(body, &mut out);
    out.trim_matches([' ', '\n']).to_owned()
}

fn write_plain(node: &Node, out: &mut String) {
    let is_block = matches!(node.name(), "p" | "blockquote" | "ul" | "ol" | "li");
    if is_block {
        end_line(out);
    }
    if node.name() == "li" {
        out.push_str("- ");
    }
    let from = out.len();
    for content in &node.content {
        match content {
            Content::Text(text) => push_words(text, out),
            Content::Node(child) if child.name() == "br" => out.push('\n'),
            Content::Node(child) => write_plain(child, out),
        }
    }
    if let Some(target) = node.attribute("href") {
        let shown = out.get(from..).unwrap_or_default();
        if !shown.contains(target.strip_prefix("mailto:").unwrap_or(target)) {
            out.push_str(&format!(" ({target})"));
        }
    }
    if is_block {
        end_line(out);
    }
}

fn end_line(out: &mut String) {
    out.truncate(out.trim_end_matches(' ').len());
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
}

fn push_words(text: &str, out: &mut String) {
    for c in text.chars() {
        let is_space = matches!(c, ' ' | '\t' | '\n' | '\r');
        match c {
            '\u{a0}' => out.push(' '),
            _ if !is_space => out.push(c),
            _ if out.is_empty() || out.ends_with([' ', '\n']) => {}
            _ => out.push(' '),
        }
    }
}
