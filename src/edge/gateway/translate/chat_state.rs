//! Who is typing (XEP-0085, RFC 3994, Lync's INFO).
//!
//! | XEP-0085                   | RFC 3994 | Lync                 |
//! | -------------------------- | -------- | -------------------- |
//! | composing                  | active   | INFO, status `type`  |
//! | active, paused, inactive   | idle     | INFO, status `idle`  |
//! | gone                       | -        | - (the dialog ends)  |
//!
//! Lync forgets that somebody types some seconds after the last INFO, and RFC 3994 after `refresh`
//! seconds; who still types has to be said again ([`limits::GATEWAY_COMPOSING_REFRESH_S`]).

use super::{document, ns};
use crate::limits;
use crate::xmpp::Node;

/// A chat state (XEP-0085 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChatState {
    /// Takes part.
    Active,
    /// Writes.
    Composing,
    /// Wrote, and stopped.
    Paused,
    /// Has not looked for a while.
    Inactive,
    /// Has left.
    Gone,
}

/// What a SIP peer says of typing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Typing {
    /// Somebody types; without another word the state holds for this many seconds.
    Active {
        /// From now on.
        refresh_s: u32,
    },
    /// Nobody does.
    Idle,
}

/// How a SIP peer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TypingForm {
    /// MESSAGE with `application/im-iscomposing+xml`.
    IsComposing,
    /// INFO with `application/xml`.
    KeyboardActivity,
}

impl TypingForm {
    /// Returns the Content-Type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::IsComposing => "application/im-iscomposing+xml",
            Self::KeyboardActivity => "application/xml",
        }
    }
}

impl ChatState {
    /// Every chat state.
    pub const ALL: [Self; 5] =
        [Self::Active, Self::Composing, Self::Paused, Self::Inactive, Self::Gone];

    /// Returns the name of the element.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Composing => "composing",
            Self::Paused => "paused",
            Self::Inactive => "inactive",
            Self::Gone => "gone",
        }
    }

    /// Returns the chat state of a stanza; the first if it has several.
    #[must_use]
    pub fn of_stanza(stanza: &Node) -> Option<Self> {
        let mut states = stanza.children().filter(|child| child.namespace() == ns::CHAT_STATES);
        states.find_map(|child| Self::ALL.into_iter().find(|s| s.as_str() == child.name()))
    }

    /// Returns the element.
    #[must_use]
    pub fn node(self) -> Node {
        Node::new(self.as_str(), ns::CHAT_STATES)
    }

    /// Returns what a SIP peer is told; `None` for gone, which is the end of the dialog.
    #[must_use]
    pub const fn typing(self) -> Option<Typing> {
        match self {
            Self::Composing => {
                Some(Typing::Active { refresh_s: limits::GATEWAY_COMPOSING_REFRESH_S })
            }
            Self::Active | Self::Paused | Self::Inactive => Some(Typing::Idle),
            Self::Gone => None,
        }
    }
}

impl From<Typing> for ChatState {
    fn from(typing: Typing) -> Self {
        match typing {
            Typing::Active { .. } => Self::Composing,
            Typing::Idle => Self::Active,
        }
    }
}

impl Typing {
    /// Reads a body of either form. `None`: it is neither.
    ///
    /// Source: RFC 3994 section 4; wire-protocols D.5.
    #[must_use]
    pub fn read(body: &[u8]) -> Option<Self> {
        let root = document::read(body)?;
        if root.is("isComposing", ns::IS_COMPOSING) {
            return Some(match root.child("state", ns::IS_COMPOSING)?.text().trim() {
                "active" => {
                    let refresh = root.child("refresh", ns::IS_COMPOSING);
                    let refresh = refresh.and_then(|refresh| refresh.text().trim().parse().ok());
                    let refresh: u32 = refresh.unwrap_or(limits::GATEWAY_COMPOSING_REFRESH_S);
                    Self::Active {
                        refresh_s: refresh.clamp(
                            limits::GATEWAY_COMPOSING_REFRESH_S_MIN,
                            limits::GATEWAY_COMPOSING_REFRESH_S_MAX,
                        ),
                    }
                }
                // RFC 3994 section 3.2: what is not active is idle.
                _ => Self::Idle,
            });
        }
        if root.name() != "KeyboardActivity" {
            return None;
        }
        let status = root.children().find(|child| child.name() == "status")?;
        Some(match status.attribute("status")? {
            "type" => Self::Active { refresh_s: limits::GATEWAY_KEYBOARD_ACTIVITY_S },
            _ => Self::Idle,
        })
    }

    /// Writes the body.
    #[must_use]
    pub fn write(self, form: TypingForm) -> Vec<u8> {
        let root = match (form, self) {
            (TypingForm::IsComposing, Self::Active { refresh_s }) => composing("active")
                .with_child(text_node("contenttype", "text/plain"))
                .with_child(text_node("refresh", &refresh_s.to_string())),
            (TypingForm::IsComposing, Self::Idle) => composing("idle"),
            (TypingForm::KeyboardActivity, Self::Active { .. }) => keyboard_activity("type"),
            (TypingForm::KeyboardActivity, Self::Idle) => keyboard_activity("idle"),
        };
        document::write(&root)
    }
}

fn composing(state: &str) -> Node {
    Node::new("isComposing", ns::IS_COMPOSING).with_child(text_node("state", state))
}

fn text_node(name: &'static str, text: &str) -> Node {
    Node::new(name, ns::IS_COMPOSING).with_text(text)
}

fn keyboard_activity(status: &str) -> Node {
    Node::new("KeyboardActivity", "").with_child(Node::new("status", "").with("status", status))
}
