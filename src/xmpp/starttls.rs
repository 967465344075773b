//! STARTTLS (RFC 6120 section 5).

use super::element::Element;
use super::{ns, write};

/// One of the three elements of STARTTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StartTls {
    /// The initiator asks for TLS.
    StartTls,
    /// The receiver goes on with TLS.
    Proceed,
    /// The receiver cannot; the stream ends (section 5.4.2.2).
    Failure,
}

impl StartTls {
    const ALL: [Self; 3] = [Self::StartTls, Self::Proceed, Self::Failure];

    const fn as_str(self) -> &'static str {
        match self {
            Self::StartTls => "starttls",
            Self::Proceed => "proceed",
            Self::Failure => "failure",
        }
    }

    /// Reads an element. `None`: it is not of STARTTLS.
    #[must_use]
    pub fn read(element: &Element<'_>) -> Option<Self> {
        let step = Self::ALL.into_iter().find(|step| step.as_str() == element.name())?;
        (element.namespace() == ns::TLS).then_some(step)
    }

    /// Appends the element.
    pub fn write(self, out: &mut Vec<u8>) {
        write::empty(self.as_str(), ns::TLS, out);
    }
}
