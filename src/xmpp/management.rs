//! Stream management, as far as it acknowledges stanzas (XEP-0198). Streams between servers are
//! not resumed.

use super::element::Element;
use super::stanza_error::StanzaError;
use super::{ns, write};

/// An element of stream management.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Management {
    /// Asks for it (section 3).
    Enable,
    /// Grants it.
    Enabled,
    /// Refuses it, or a resumption.
    Failed,
    /// Asks how many stanzas were handled (section 4).
    Request,
    /// Tells how many were handled, modulo 2^32.
    Answer {
        /// The count.
        handled: u32,
    },
    /// Asks for a resumption (section 5): answer with [`Management::Failed`].
    Resume,
}

/// Why an element of stream management cannot be understood: `bad-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ManagementFault;

impl Management {
    /// Reads an element. `None`: it is not of stream management.
    #[must_use]
    pub fn read(element: &Element<'_>) -> Option<Result<Self, ManagementFault>> {
        if element.namespace() != ns::MANAGEMENT {
            return None;
        }
        Some(match element.name() {
            "enable" => Ok(Self::Enable),
            "enabled" => Ok(Self::Enabled),
            "failed" => Ok(Self::Failed),
            "r" => Ok(Self::Request),
            "a" => match element.attribute("h").map(|handled| handled.trim().parse()) {
                Some(Ok(handled)) => Ok(Self::Answer { handled }),
                _ => Err(ManagementFault),
            },
            "resume" => Ok(Self::Resume),
            _ => Err(ManagementFault),
        })
    }

    /// Appends the element.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Enable => write::empty("enable", ns::MANAGEMENT, out),
            Self::Enabled => write::empty("enabled", ns::MANAGEMENT, out),
            Self::Request => write::empty("r", ns::MANAGEMENT, out),
            Self::Resume => write::empty("resume", ns::MANAGEMENT, out),
            Self::Failed => {
                out.extend_from_slice(b"<failed");
                write::attribute("xmlns", ns::MANAGEMENT, out);
                out.push(b'>');
                write::empty(StanzaError::ItemNotFound.as_str(), ns::STANZA_ERRORS, out);
                out.extend_from_slice(b"</failed>");
            }
            Self::Answer { handled } => {
                out.extend_from_slice(b"<a");
                write::attribute("xmlns", ns::MANAGEMENT, out);
                write::attribute("h", &handled.to_string(), out);
                out.extend_from_slice(b"/>");
            }
        }
    }
}

/// Tells how many of the stanzas that were sent and not acknowledged an answer acknowledges.
/// `None`: it acknowledges more than was sent (section 4).
#[must_use]
pub const fn acknowledged(before: u32, handled: u32, outstanding: u32) -> Option<u32> {
    let fresh = handled.wrapping_sub(before);
    if fresh <= outstanding { Some(fresh) } else { None }
}
