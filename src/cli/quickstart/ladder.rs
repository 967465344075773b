//! Draws who sent what to whom.
//!
//! The two ends of the way are the quickstart's own servers and tell what they sent and received.
//! What was sent at one end and received at the other passed both edges; what only one end saw was
//! taken, or made, by the edge next to it.

use super::event::{Event, Passed, Way};
use super::message::{self, Message};
use crate::xmpp::{Node, ns};

/// Distance between two lifelines, in characters.
const PITCH: usize = 22;
/// Where the first lifeline stands.
const MARGIN: usize = 9;

/// Whether text may carry terminal colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    /// No escape sequence at all.
    Plain,
    /// ANSI colours.
    Colour,
}

/// What a text means to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// Refused or failed.
    Bad,
    /// Heading.
    Strong,
    /// Explanation.
    Faint,
}

impl Paint {
    /// Returns `text`, coloured if this paint colours.
    pub(super) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Strong => "1",
            Tone::Faint => "2",
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// The lifelines of a ladder from left to right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Columns(pub(super) Vec<Column>);

/// One lifeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    /// Its title.
    pub(super) title: String,
    /// The party whose events belong here; an edge has none.
    pub(super) party: Option<usize>,
}

/// One message on its way between two lifelines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrow {
    /// Lifeline it left.
    pub(super) from: usize,
    /// Lifeline it reached.
    pub(super) to: usize,
    /// Method or status.
    pub(super) what: String,
    /// Which of the two.
    pub(super) kind: Kind,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It asks.
    Request,
    /// It answers, with this status.
    Response(u16),
    /// An element of a stream.
    Element,
    /// An element that says what is wrong.
    Error,
    /// Media, and what is asked of relays.
    Media,
}

impl Kind {
    fn tone(self) -> Option<Tone> {
        match self {
            Self::Request | Self::Element | Self::Media | Self::Response(..200) => None,
            Self::Response(200..300) => Some(Tone::Good),
            Self::Response(_) | Self::Error => Some(Tone::Bad),
        }
    }
}

impl Columns {
    /// Returns the arrows of `events`, in the order in which they were sent.
    pub(super) fn arrows(&self, events: &[Event]) -> Vec<Arrow> {
        let mut matched = vec![false; events.len()];
        let mut arrows = Vec::new();
        for (at, event) in events.iter().enumerate() {
            let Some(own) = self.of_party(event.party) else { continue };
            let (from, to) = match event.way {
                Way::Sent => {
                    let later = events.iter().enumerate().skip(at + 1);
                    let reached = later.into_iter().find_map(|(place, other)| {
                        let same = other.way == Way::Received
                            && other.party != event.party
                            && !matched[place]
                            && is_same(&other.what, &event.what);
                        same.then(|| self.of_party(other.party).map(|column| (place, column)))?
                    });
                    if let Some((place, _)) = reached {
                        matched[place] = true;
                    }
                    (own, reached.map_or(self.edge_beside(own), |(_, column)| column))
                }
                Way::Received if matched[at] => continue,
                Way::Received => (self.edge_beside(own), own),
            };
            let (what, kind) = label(&event.what);
            arrows.push(Arrow { from, to, what, kind });
        }
        arrows
    }

    fn of_party(&self, party: usize) -> Option<usize> {
        self.0.iter().position(|column| column.party == Some(party))
    }

    fn edge_beside(&self, column: usize) -> usize {
        if column == 0 { 1 } else { column - 1 }
    }

    /// Returns the ladder as lines.
    pub(super) fn draw(&self, arrows: &[Arrow], paint: Paint) -> Vec<String> {
        let mut heading = Canvas::new(self.0.len());
        for (column, Column { title, .. }) in self.0.iter().enumerate() {
            heading.write(lifeline(column).saturating_sub(title.chars().count() / 2), title);
        }
        let mut lines = vec![paint.paint(Tone::Strong, &heading.text()), self.rails().text()];
        for arrow in arrows {
            lines.push(self.row(arrow, paint));
        }
        lines.push(self.rails().text());
        lines
    }

    fn rails(&self) -> Canvas {
        let mut canvas = Canvas::new(self.0.len());
        for column in 0..self.0.len() {
            canvas.write(lifeline(column), "│");
        }
        canvas
    }

    fn row(&self, arrow: &Arrow, paint: Paint) -> String {
        let mut canvas = self.rails();
        let (left, right) = (arrow.from.min(arrow.to), arrow.from.max(arrow.to));
        for at in lifeline(left) + 1..lifeline(right) {
            canvas.write(at, "─");
        }
        for column in left + 1..right {
            canvas.write(lifeline(column), "┼");
        }
        let what: String = arrow.what.chars().take(PITCH - 6).collect();
        let width = what.chars().count();
        let label_at = if arrow.from < arrow.to {
            canvas.write(lifeline(left), "├");
            canvas.write(lifeline(right) - 1, ">");
            lifeline(left) + 2
        } else {
            canvas.write(lifeline(right), "┤");
            canvas.write(lifeline(left) + 1, "<");
            lifeline(right) - width - 3
        };
        canvas.write(label_at, &format!(" {what} "));
        match arrow.kind.tone() {
            Some(tone) => canvas.text_with(label_at + 1, width, |label| paint.paint(tone, label)),
            None => canvas.text(),
        }
    }
}

fn lifeline(column: usize) -> usize {
    MARGIN + column * PITCH
}

/// One line of characters to write into.
struct Canvas(Vec<char>);

impl Canvas {
    fn new(columns: usize) -> Self {
        Self(vec![' '; lifeline(columns)])
    }

    fn write(&mut self, at: usize, text: &str) {
        for (place, letter) in self.0.iter_mut().skip(at).zip(text.chars()) {
            *place = letter;
        }
    }

    fn text(&self) -> String {
        self.0.iter().collect::<String>().trim_end().to_owned()
    }

    /// Returns the line with `width` characters from `at` replaced by what `change` makes of them.
    fn text_with(&self, at: usize, width: usize, change: impl Fn(&str) -> String) -> String {
        let part = |from: usize, to: usize| self.0[from..to].iter().collect::<String>();
        let line = part(0, at) + &change(&part(at, at + width)) + &part(at + width, self.0.len());
        line.trim_end().to_owned()
    }
}

/// Tells whether the two are one message seen at two places, or the same media; no element of a
/// stream is, for there is one XMPP server in each act.
fn is_same(a: &Passed, b: &Passed) -> bool {
    match (a, b) {
        (Passed::Sip(a), Passed::Sip(b)) => {
            let same_kind = a.status() == b.status() && a.method() == b.method();
            same_kind && a.transaction() == b.transaction()
        }
        (Passed::Rtp(_), Passed::Rtp(_)) => true,
        _ => false,
    }
}

/// Returns what is written on the arrow of a message.
fn label(what: &Passed) -> (String, Kind) {
    match what {
        Passed::Sip(message) => label_of_message(message),
        Passed::Xmpp(node) => label_of_element(node),
        Passed::Relay(what) => (what.clone(), Kind::Media),
        Passed::Rtp(packets) => (format!("{packets} x RTP"), Kind::Media),
    }
}

/// An error is named by its condition, presence by its type, and SASL by its mechanism.
fn label_of_element(node: &Node) -> (String, Kind) {
    if node.is("error", ns::STREAMS) || node.attribute("type") == Some("error") {
        let error = node.child("error", ns::SERVER).unwrap_or(node);
        let condition = error.children().next().map_or("error", Node::name);
        return (condition.to_owned(), Kind::Error);
    }
    let label = match (node.name(), node.attribute("type")) {
        ("presence", Some(kind)) => kind.to_owned(),
        ("auth", _) => "auth EXTERNAL".to_owned(),
        (name, _) => name.to_owned(),
    };
    (label, Kind::Element)
}

fn label_of_message(message: &Message) -> (String, Kind) {
    let in_dialog = message.header("To").and_then(message::tag).is_some();
    match message.status() {
        Some(status) => {
            let reason = message.start.split_once(' ').map_or("", |(_, rest)| rest);
            (reason.to_owned(), Kind::Response(status))
        }
        None if message.method() == "INVITE" && in_dialog => {
            ("re-INVITE".to_owned(), Kind::Request)
        }
        None => (message.method().to_owned(), Kind::Request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Columns {
        let column = |title: &str, party| Column { title: title.to_owned(), party };
        Columns(vec![
            column("alice's pool", Some(0)),
            column("contoso edge", None),
            column("fabrikam edge", None),
            column("bob's pool", Some(1)),
        ])
    }

    fn request(method: &str) -> Message {
        let mut request = Message::request(method, "sip:bob@fabrikam.example");
        request.add("Call-ID", "c");
        request.add("CSeq", &format!("1 {method}"));
        request
    }

    fn event(party: usize, way: Way, message: &Message) -> Event {
        Event { party, way, what: Passed::Sip(message.clone()) }
    }

    #[test]
    fn what_both_ends_saw_passes_both_edges_and_the_rest_stops_at_the_nearer() {
        let invite = request("INVITE");
        let trying = Message::response(&invite, 100, "Trying", "x");
        let ok = Message::response(&invite, 200, "OK", "x");
        let events = [
            event(0, Way::Sent, &invite),
            event(0, Way::Received, &trying),
            event(1, Way::Received, &invite),
            event(1, Way::Sent, &ok),
            event(0, Way::Received, &ok),
        ];
        let arrows = columns().arrows(&events);
        let seen: Vec<_> = arrows.iter().map(|a| (a.from, a.to, a.what.as_str())).collect();
        assert_eq!(seen, [(0, 3, "INVITE"), (1, 0, "100 Trying"), (3, 0, "200 OK")]);
    }

    #[test]
    fn a_ladder_is_drawn_in_plain_text() {
        let message = request("MESSAGE");
        let refused = Message::response(&message, 403, "Forbidden", "x");
        let ok = Message::response(&message, 200, "OK", "x");
        let events = [
            event(0, Way::Sent, &message),
            event(1, Way::Received, &message),
            event(1, Way::Sent, &ok),
            event(0, Way::Received, &ok),
            event(0, Way::Received, &refused),
        ];
        let columns = columns();
        let lines = columns.draw(&columns.arrows(&events), Paint::Plain);
        assert_eq!(
            lines,
            [
                "   alice's pool          contoso edge          fabrikam edge          bob's pool",
                "         │                     │                     │                     │",
                "         ├─ MESSAGE ───────────┼─────────────────────┼────────────────────>│",
                "         │<────────────────────┼─────────────────────┼──────────── 200 OK ─┤",
                "         │<──── 403 Forbidden ─┤                     │                     │",
                "         │                     │                     │                     │",
            ]
        );
    }

    #[test]
    fn elements_of_a_stream_stop_at_the_edge_and_errors_are_named_by_their_condition() {
        let mut columns = columns();
        columns.0.truncate(2);
        let stream = Node::new("stream", ns::STREAMS);
        let condition = Node::new("policy-violation", ns::STREAM_ERRORS);
        let refused = Node::new("error", ns::STREAMS).with_child(condition);
        let presence = Node::new("presence", ns::SERVER).with("type", "subscribe");
        let sent = [(Way::Sent, stream), (Way::Received, refused), (Way::Received, presence)];
        let events = sent.map(|(way, node)| Event { party: 0, way, what: Passed::Xmpp(node) });
        let arrows = columns.arrows(&events);
        let seen: Vec<_> = arrows.iter().map(|a| (a.from, a.what.as_str(), a.kind)).collect();
        let expected = [
            (0, "stream", Kind::Element),
            (1, "policy-violation", Kind::Error),
            (1, "subscribe", Kind::Element),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn colours_surround_the_label_only() {
        let message = request("MESSAGE");
        let ok = Message::response(&message, 200, "OK", "x");
        let columns = columns();
        let arrows = columns.arrows(&[event(0, Way::Received, &ok)]);
        let lines = columns.draw(&arrows, Paint::Colour);
        assert!(lines[2].contains(" \x1b[32m200 OK\x1b[0m "), "{}", lines[2]);
    }
}
