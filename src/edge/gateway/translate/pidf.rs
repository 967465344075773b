//! Presence documents: PIDF (RFC 3863) with the extensions of RFC 8048, RFC 4480 and its drafts,
//! and Lync's categories.

use super::presence::{Availability, BusyAs, Notes, Presence, Show, aggregate};
use super::text::{language, xml_text};
use super::{Loss, Losses, Translated, document, ns};
use crate::limits;
use crate::xmpp::{self, Node};

/// The Content-Type of what is written.
pub const CONTENT_TYPE: &str = "application/pidf+xml";

/// Activities (RFC 4480 section 3.2, and what LCS and OCS write) with what XMPP says of them.
const ACTIVITIES: [(&str, Show); 24] = [
    ("busy", Show::Busy),
    ("on-the-phone", Show::Busy),
    ("meeting", Show::Busy),
    ("appointment", Show::Busy),
    ("presentation", Show::Busy),
    ("performance", Show::Busy),
    ("do-not-disturb", Show::Busy),
    ("urgent-interruptions-only", Show::Busy),
    ("in-a-conference", Show::Busy),
    ("in-a-meeting", Show::Busy),
    ("away", Show::Away),
    ("be-right-back", Show::Away),
    ("idle", Show::Away),
    ("inactive", Show::Away),
    ("meal", Show::Away),
    ("breakfast", Show::Away),
    ("dinner", Show::Away),
    ("out-to-lunch", Show::Away),
    ("steering", Show::Away),
    ("vacation", Show::ExtendedAway),
    ("holiday", Show::ExtendedAway),
    ("sleeping", Show::ExtendedAway),
    ("permanent-absence", Show::ExtendedAway),
    ("available", Show::Available),
];

/// Reads a document: one presence per tuple, at most [`limits::GATEWAY_RESOURCES_MAX`]. `None`: it
/// is no presence document.
///
/// Without a tuple the user is unknown, which is an empty list.
/// Source: RFC 3863 section 4; RFC 8048 section 5.3.
#[must_use]
pub fn read(body: &[u8]) -> Option<Translated<Vec<Presence>>> {
    let root = document::read(body)?;
    if !root.is("presence", ns::PIDF) {
        return None;
    }
    let mut losses = Losses::NONE;
    let persons = || root.children().filter(|child| child.is("person", ns::DATA_MODEL));
    let of_person = persons().find_map(activity);
    // RFC 3863 section 4.1.6: a note beside the tuples is about all of them.
    let common =
        note(&root, &mut losses).or_else(|| persons().find_map(|person| note(person, &mut losses)));
    let mut presences = Vec::new();
    for tuple in root.children().filter(|child| child.is("tuple", ns::PIDF)) {
        if presences.len() == limits::GATEWAY_RESOURCES_MAX {
            losses.add(Loss::Resource);
            break;
        }
        let mut presence = read_tuple(tuple, of_person, &mut losses);
        if presence.note.is_none() {
            (presence.note, presence.language) = common.clone().unwrap_or_default();
        }
        presences.push(presence);
    }
    Some(Translated { value: presences, losses })
}

fn read_tuple(tuple: &Node, of_person: Option<Show>, losses: &mut Losses) -> Presence {
    let status = tuple.child("status", ns::PIDF);
    let basic = status.and_then(|status| status.child("basic", ns::PIDF)).map(Node::text);
    let show = status.and_then(|status| {
        let show = status.children().find(|child| {
            child.name() == "show"
                && matches!(child.namespace(), xmpp::ns::CLIENT | xmpp::ns::SERVER)
        });
        show.and_then(|show| Show::named(&show.text()))
    });
    let show = show.or_else(|| status.and_then(activity)).or_else(|| activity(tuple));
    let availability = match basic.as_deref().map(str::trim) {
        // RFC 3863 section 4.1.4: no status, no statement; nobody is shown as there without one.
        Some("open") => Availability::Open(show.or(of_person).unwrap_or_default()),
        _ => Availability::Closed,
    };
    let contact = tuple.child("contact", ns::PIDF);
    let priority = contact.and_then(|contact| contact.attribute("priority")).map(read_priority);
    if priority == Some(None) {
        losses.add(Loss::Priority);
    }
    let (note, language) = note(tuple, losses).unwrap_or_default();
    Presence {
        resource: tuple.attribute("id").and_then(resource_of),
        availability,
        note,
        language,
        priority: priority.flatten(),
    }
}

/// Reads the activity of a person, tuple or status in either form.
fn activity(node: &Node) -> Option<Show> {
    let within = |namespace| node.child("activities", namespace);
    let activities = within(ns::RPID).or_else(|| within(ns::RPID_STATUS))?;
    activities.children().find_map(|activity| {
        // `<busy/>` in the RFC, `<activity>busy</activity>` in the drafts.
        let text = activity.text();
        let name = if activity.name() == "activity" { text.trim() } else { activity.name() };
        ACTIVITIES.iter().find(|(known, _)| *known == name).map(|(_, show)| *show)
    })
}

type Note = (Option<String>, Option<String>);

fn note(node: &Node, losses: &mut Losses) -> Option<Note> {
    let note = node.children().find(|child| {
        child.name() == "note" && matches!(child.namespace(), ns::PIDF | ns::DATA_MODEL | ns::RPID)
    })?;
    let text = xml_text(note.text().trim(), limits::GATEWAY_NOTE_BYTES_MAX);
    losses.add_all(text.losses);
    let tag = note.attribute("xml:lang").and_then(language).map(str::to_owned);
    (!text.value.is_empty()).then_some((Some(text.value), tag))
}

/// Writes a document.
///
/// `aor`: the user's SIP URI. No presence at all says that he is not there.
/// Source: RFC 8048 section 5.2.
#[must_use]
pub fn write(aor: &str, presences: &[Presence], notes: Notes) -> Translated<Vec<u8>> {
    write_as(aor, presences, notes, BusyAs::Busy)
}

/// Writes a document in which who is busy looks like `busy`.
#[must_use]
pub fn write_as(
    aor: &str,
    presences: &[Presence],
    notes: Notes,
    busy: BusyAs,
) -> Translated<Vec<u8>> {
    let mut losses = Losses::NONE;
    let entity = aor.strip_prefix("sip:").unwrap_or(aor);
    let mut root = Node::new("presence", ns::PIDF).with("entity", format!("pres:{entity}"));
    if presences.len() > limits::GATEWAY_RESOURCES_MAX {
        losses.add(Loss::Resource);
    }
    let closed = [Presence::closed(None)];
    let shown = if presences.is_empty() { &closed } else { presences };
    for (index, presence) in shown.iter().take(limits::GATEWAY_RESOURCES_MAX).enumerate() {
        root.push(tuple(aor, presence, index, (notes, busy), &mut losses));
    }
    let whole = aggregate(shown).map(|presence| presence.availability);
    if let Some(activity) = whole.and_then(|whole| activity_of(whole, busy)) {
        let activities =
            Node::new("activities", ns::RPID).with_child(Node::new(activity, ns::RPID));
        root.push(Node::new("person", ns::DATA_MODEL).with("id", "p1").with_child(activities));
    }
    Translated { value: document::write(&root), losses }
}

fn tuple(
    aor: &str,
    presence: &Presence,
    index: usize,
    (notes, busy): (Notes, BusyAs),
    losses: &mut Losses,
) -> Node {
    let node = |name: &'static str| Node::new(name, ns::PIDF);
    let mut status = node("status");
    match presence.availability {
        Availability::Closed => status.push(node("basic").with_text("closed")),
        Availability::Open(show) => {
            status.push(node("basic").with_text("open"));
            if let Some(show) = show.as_str() {
                status.push(Node::new("show", xmpp::ns::CLIENT).with_text(show));
            }
        }
    }
    if let Some(activity) = activity_of(presence.availability, busy) {
        let activity = Node::new("activity", ns::RPID_STATUS).with_text(activity);
        status.push(Node::new("activities", ns::RPID_STATUS).with_child(activity));
    }
    let mut contact = node("contact").with_text(aor);
    if let Some(priority) = presence.priority {
        contact.set("priority", write_priority(priority));
    }
    let id = match &presence.resource {
        Some(resource) => tuple_id(resource),
        // Does not decode to a resource, and differs from all that do.
        None => format!("bare{index}"),
    };
    let mut tuple = node("tuple").with("id", id).with_child(status).with_child(contact);
    match (&presence.note, notes) {
        (Some(note), Notes::Shown) => {
            let text = xml_text(note, limits::GATEWAY_NOTE_BYTES_MAX).value;
            let note = node("note").with_some("xml:lang", presence.language.as_deref());
            tuple.push(note.with_text(text));
        }
        (Some(_), Notes::Withheld) => losses.add(Loss::Note),
        (None, _) => {}
    }
    tuple
}

const fn activity_of(availability: Availability, busy: BusyAs) -> Option<&'static str> {
    match availability {
        Availability::Open(Show::Busy) => Some(busy.activity()),
        Availability::Open(Show::Away | Show::ExtendedAway) => Some("away"),
        Availability::Open(Show::Chat | Show::Available) | Availability::Closed => None,
    }
}

/// Returns a priority as a decimal of three digits: n / 127, rounded.
#[must_use]
pub fn write_priority(priority: u8) -> String {
    let thousandths = (u32::from(priority.min(127)) * 1000 + 63) / 127;
    format!("{}.{:03}", thousandths / 1000, thousandths % 1000)
}

/// Reads a decimal from 0 to 1 (RFC 3863 section 4.1.5).
#[must_use]
pub fn read_priority(text: &str) -> Option<u8> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let mut thousandths = 0_u32;
    for at in 0..3 {
        let digit = fraction.as_bytes().get(at).map_or(0, |digit| digit - b'0');
        thousandths = thousandths * 10 + u32::from(digit);
    }
    thousandths += match whole.trim_start_matches('0') {
        "" => 0,
        "1" => 1000,
        _ => return None,
    };
    if thousandths > 1000 {
        return None;
    }
    u8::try_from((thousandths * 127 + 500) / 1000).ok()
}

/// Returns a resource as an `xs:ID`: `ID-`, since one cannot begin with a digit, and each byte that
/// is neither letter, digit, hyphen nor dot as underscore and two digits.
#[must_use]
pub fn tuple_id(resource: &str) -> String {
    let mut id = "ID-".to_owned();
    for byte in resource.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.') {
            id.push(char::from(byte));
        } else {
            id.push_str(&format!("_{byte:02x}"));
        }
    }
    id
}

/// Returns the resource that a tuple id stands for: ours decoded, another's as it is. `None`: ours
/// for a user without one.
#[must_use]
pub fn resource_of(id: &str) -> Option<String> {
    if id
        .strip_prefix("bare")
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    {
        return None;
    }
    let Some(encoded) = id.strip_prefix("ID-") else { return foreign(id) };
    decoded_id(encoded).filter(|resource| !resource.is_empty()).or_else(|| foreign(id))
}

fn foreign(id: &str) -> Option<String> {
    let fits = (1..=limits::XMPP_JID_PART_BYTES_MAX).contains(&id.len());
    (fits && !id.contains(char::is_control)).then(|| id.to_owned())
}

fn decoded_id(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let Some((before, behind)) = rest.split_once('_') {
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(u8::from_str_radix(behind.get(..2)?, 16).ok()?);
        rest = behind.get(2..)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

/// Reads Lync's categories of a user: the state that says least available, and the first note.
/// `None`: there is no state.
///
/// Source: wire-protocols D.7.
#[must_use]
pub fn read_categories(body: &[u8]) -> Option<Translated<Presence>> {
    let root = document::read(body)?;
    let root = if root.name() == "categories" {
        &root
    } else {
        root.children().find(|child| child.name() == "categories")?
    };
    let mut losses = Losses::NONE;
    let (mut state, mut note) = (None, None);
    let categories = root.children().filter(|child| child.name() == "category");
    for category in categories.take(limits::GATEWAY_RESOURCES_MAX) {
        let value = category.children().next();
        match (category.attribute("name"), value) {
            (Some("state"), Some(value)) => {
                let number = value.children().find(|child| child.name() == "availability");
                let number = number.and_then(|number| number.text().trim().parse::<u32>().ok());
                // A device that is off says nothing about the others.
                let rank = |n: &u32| (*n < 18_000, *n);
                state = state.into_iter().chain(number).max_by_key(rank);
            }
            (Some("note"), Some(value)) if note.is_none() => {
                let text = value.children().find(|child| child.name() == "body").map(Node::text);
                let text = text.map(|text| xml_text(text.trim(), limits::GATEWAY_NOTE_BYTES_MAX));
                note = text.map(|text| {
                    losses.add_all(text.losses);
                    text.value
                });
            }
            _ => {}
        }
    }
    let availability = Availability::of_lync(state?);
    let note = note.filter(|note| !note.is_empty());
    let value = Presence { resource: None, availability, note, language: None, priority: None };
    Some(Translated { value, losses })
}
