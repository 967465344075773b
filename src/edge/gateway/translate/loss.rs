//! What a translation could not carry over.

/// One thing that was left out or made less of; counted by the gateway under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Loss {
    /// The port of a SIP address: an XMPP address has none.
    Port,
    /// Formatting that the other side has no form for.
    Formatting,
    /// A picture, sound, form or other thing within text; its words were kept.
    EmbeddedObject,
    /// A link whose scheme is not on the list; its words were kept.
    Link,
    /// Script, style sheet or another part of a page that is not text.
    ActiveContent,
    /// Text beyond the limit; its begin was kept.
    Length,
    /// Elements deeper or more than the limit; their text was kept.
    Structure,
    /// Characters that XML or a SIP header cannot carry.
    Characters,
    /// Bytes that are not in the character set the message claims.
    Encoding,
    /// A part of a message of several parts that is neither text nor understood.
    BodyPart,
    /// A child of a stanza that nothing on the SIP side means.
    Payload,
    /// A subject, which a message within a dialog cannot have.
    Subject,
    /// A thread that cannot be a Call-ID; the dialog has one of its own.
    Thread,
    /// A language that is no language tag.
    Language,
    /// A word about typing that the other side has no word for.
    ChatState,
    /// A request for, or a kind of, receipt that the other side does not have.
    Receipt,
    /// A status note that this partner may not see, or that has no place.
    Note,
    /// A negative or malformed priority.
    Priority,
    /// A finer presence state than the other side has; the next coarser one was taken.
    Show,
    /// Resources beyond what one document may list.
    Resource,
    /// A URI that a redirection points to and that cannot be translated.
    NewAddress,
}

impl Loss {
    /// Every loss.
    pub const ALL: [Self; 21] = [
        Self::Port,
        Self::Formatting,
        Self::EmbeddedObject,
        Self::Link,
        Self::ActiveContent,
        Self::Length,
        Self::Structure,
        Self::Characters,
        Self::Encoding,
        Self::BodyPart,
        Self::Payload,
        Self::Subject,
        Self::Thread,
        Self::Language,
        Self::ChatState,
        Self::Receipt,
        Self::Note,
        Self::Priority,
        Self::Show,
        Self::Resource,
        Self::NewAddress,
    ];

    /// Returns what it is called in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Formatting => "formatting",
            Self::EmbeddedObject => "embedded_object",
            Self::Link => "link",
            Self::ActiveContent => "active_content",
            Self::Length => "length",
            Self::Structure => "structure",
            Self::Characters => "characters",
            Self::Encoding => "encoding",
            Self::BodyPart => "body_part",
            Self::Payload => "payload",
            Self::Subject => "subject",
            Self::Thread => "thread",
            Self::Language => "language",
            Self::ChatState => "chat_state",
            Self::Receipt => "receipt",
            Self::Note => "note",
            Self::Priority => "priority",
            Self::Show => "show",
            Self::Resource => "resource",
            Self::NewAddress => "new_address",
        }
    }

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The losses of one translation, each at most once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses(u32);

const _: () = assert!(Loss::ALL.len() <= u32::BITS as usize);

impl Losses {
    /// Nothing was lost.
    pub const NONE: Self = Self(0);

    /// Adds a loss.
    pub const fn add(&mut self, loss: Loss) {
        self.0 |= loss.bit();
    }

    /// Adds all of `other`.
    pub const fn add_all(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Tells whether this was lost.
    #[must_use]
    pub const fn has(self, loss: Loss) -> bool {
        self.0 & loss.bit() != 0
    }

    /// Tells whether nothing was lost.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns what was lost, in the order of [`Loss::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Loss> {
        Loss::ALL.into_iter().filter(move |loss| self.has(*loss))
    }
}

/// A translation and what it lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translated<T> {
    /// What came out.
    pub value: T,
    /// What is not in it.
    pub losses: Losses,
}

impl<T> Translated<T> {
    /// Nothing was lost.
    pub const fn whole(value: T) -> Self {
        Self { value, losses: Losses::NONE }
    }
}
