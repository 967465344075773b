//! Presence (RFC 8048), and what Lync makes of it.
//!
//! | Lync availability | state              | XMPP    |
//! | ----------------- | ------------------ | ------- |
//! | 0-4499            | Available          | -       |
//! | 4500-5999         | Available, idle    | away    |
//! | 6000-8999         | Busy, Busy idle    | dnd     |
//! | 9000-11999        | Do not disturb     | dnd     |
//! | 12000-14999       | Be right back      | away    |
//! | 15000-17999       | Away               | away    |
//! | 18000-            | Offline            | unavailable |

use super::text::{language, xml_text};
use super::{Loss, Losses, Translated};
use crate::limits;
use crate::policy::XmppKind;
use crate::xmpp::{Jid, Node, Stanza, ns};

/// How an available user is (RFC 6121 section 4.7.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Show {
    /// Wants to talk.
    Chat,
    /// There.
    #[default]
    Available,
    /// Away for a while.
    Away,
    /// Away for long.
    ExtendedAway,
    /// Busy.
    Busy,
}

impl Show {
    /// Every one, the readiest to talk first.
    pub const ALL: [Self; 5] =
        [Self::Chat, Self::Available, Self::Away, Self::ExtendedAway, Self::Busy];

    /// Returns the text of `<show/>`; `None`: there is no such element.
    #[must_use]
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Chat => Some("chat"),
            Self::Available => None,
            Self::Away => Some("away"),
            Self::ExtendedAway => Some("xa"),
            Self::Busy => Some("dnd"),
        }
    }

    /// Returns what the text of `<show/>` means; `None`: nothing known.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|show| show.as_str() == Some(text.trim()))
    }
}

/// Whether a user is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Availability {
    /// He is.
    Open(Show),
    /// He is not.
    Closed,
}

impl Availability {
    /// Reads Lync's number.
    #[must_use]
    pub const fn of_lync(availability: u32) -> Self {
        match availability {
            0..4500 => Self::Open(Show::Available),
            4500..6000 => Self::Open(Show::Away),
            6000..12_000 => Self::Open(Show::Busy),
            12_000..18_000 => Self::Open(Show::Away),
            18_000.. => Self::Closed,
        }
    }

    /// Returns Lync's number. `dnd` of XMPP says busy and holds nothing back, so it is not Lync's
    /// do-not-disturb.
    #[must_use]
    pub const fn lync(self) -> u32 {
        match self {
            Self::Open(Show::Chat | Show::Available) => 3_500,
            Self::Open(Show::Busy) => 6_500,
            Self::Open(Show::Away | Show::ExtendedAway) => 15_500,
            Self::Closed => 18_500,
        }
    }
}

/// What a contact who is busy (`dnd`) looks like on the SIP side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BusyAs {
    /// Busy: messages pass.
    #[default]
    Busy,
    /// Do not disturb: clients hold messages back.
    DoNotDisturb,
}

impl BusyAs {
    /// Returns the activity of RFC 4480.
    #[must_use]
    pub const fn activity(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::DoNotDisturb => "do-not-disturb",
        }
    }
}

/// Whether a partner may see the notes of the users (lync-federation 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Notes {
    /// It may.
    Shown,
    /// It may not; they are left out.
    Withheld,
}

impl Notes {
    /// Returns what a partner of this kind may see.
    #[must_use]
    pub const fn of(kind: XmppKind) -> Self {
        if kind.sees_notes() { Self::Shown } else { Self::Withheld }
    }
}

/// The presence of one resource, on neither side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The resource; `None`: the user as a whole.
    pub resource: Option<String>,
    /// Whether he is there, and how.
    pub availability: Availability,
    /// What he says about it.
    pub note: Option<String>,
    /// The language of the note.
    pub language: Option<String>,
    /// Which resource is to be preferred, at most 127 (RFC 6121 section 4.7.2.3).
    pub priority: Option<u8>,
}

impl Presence {
    /// A user, or a resource, that is not there.
    #[must_use]
    pub const fn closed(resource: Option<String>) -> Self {
        Self {
            resource,
            availability: Availability::Closed,
            note: None,
            language: None,
            priority: None,
        }
    }

    /// Reads a presence stanza. `None`: it is about a subscription, a probe or an error.
    #[must_use]
    pub fn of_stanza(stanza: &Node) -> Option<Translated<Self>> {
        let mut losses = Losses::NONE;
        let child = |name: &str| stanza.child(name, ns::SERVER).map(Node::text);
        let availability = match stanza.attribute("type") {
            Some("unavailable") => Availability::Closed,
            Some(_) => return None,
            None => Availability::Open(match child("show") {
                None => Show::Available,
                Some(show) => Show::named(&show).unwrap_or_else(|| {
                    losses.add(Loss::Show);
                    Show::Available
                }),
            }),
        };
        let note = child("status").map(|note| {
            let note = xml_text(note.trim(), limits::GATEWAY_NOTE_BYTES_MAX);
            losses.add_all(note.losses);
            note.value
        });
        let priority = child("priority").map(|text| text.trim().parse::<i8>());
        let priority = priority.map(|read| read.ok().and_then(|number| u8::try_from(number).ok()));
        if priority == Some(None) {
            losses.add(Loss::Priority);
        }
        // Capabilities, avatars and other payloads are about what only XMPP does.
        let from = stanza.attribute("from").and_then(|from| Jid::parse(from).ok());
        let value = Self {
            resource: from.and_then(|from| from.resource().map(str::to_owned)),
            availability,
            note: note.filter(|note| !note.is_empty()),
            language: stanza.attribute("xml:lang").and_then(language).map(str::to_owned),
            priority: priority.flatten(),
        };
        Some(Translated { value, losses })
    }

    /// Builds the stanza.
    ///
    /// `from`: the user; the resource is added. Without one, or with one that cannot be, it is the
    /// bare address (RFC 8048 section 5.3).
    #[must_use]
    pub fn to_stanza(&self, from: &Jid<'_>, to: &Jid<'_>, notes: Notes) -> Translated<Node> {
        let mut losses = Losses::NONE;
        let full = self.resource.as_deref().map(|resource| from.with_resource(resource));
        let from = match full {
            None => from.bare().to_string(),
            Some(Ok(full)) => full.to_string(),
            Some(Err(_)) => {
                losses.add(Loss::Resource);
                from.bare().to_string()
            }
        };
        let mut stanza =
            Node::stanza(Stanza::Presence).with("from", from).with("to", to.to_string());
        let text = |name: &'static str, text: &str| Node::new(name, ns::SERVER).with_text(text);
        match self.availability {
            Availability::Closed => stanza.set("type", "unavailable"),
            Availability::Open(show) => {
                if let Some(show) = show.as_str() {
                    stanza.push(text("show", show));
                }
            }
        }
        match (&self.note, notes) {
            (Some(note), Notes::Shown) => {
                if let Some(language) = &self.language {
                    stanza.set("xml:lang", &**language);
                }
                stanza.push(text("status", &xml_text(note, limits::GATEWAY_NOTE_BYTES_MAX).value));
            }
            (Some(_), Notes::Withheld) => losses.add(Loss::Note),
            (None, _) => {}
        }
        if let (Some(priority), Availability::Open(_)) = (self.priority, self.availability) {
            stanza.push(text("priority", &priority.min(127).to_string()));
        }
        Translated { value: stanza, losses }
    }
}

/// Returns the presence that stands for the user: of the resources that are there the one with the
/// highest priority, of several the readiest to talk, of those the first. `None`: there is none.
#[must_use]
pub fn aggregate(presences: &[Presence]) -> Option<&Presence> {
    let rank = |presence: &Presence| match presence.availability {
        Availability::Closed => (0, 0, 0),
        Availability::Open(show) => {
            let readiness = Show::ALL.len() - Show::ALL.iter().take_while(|s| **s != show).count();
            (1, presence.priority.unwrap_or(0), readiness)
        }
    };
    // The last of equals would win, so the walk is from the end.
    presences.iter().rev().max_by_key(|presence| rank(presence))
}
