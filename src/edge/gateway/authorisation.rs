//! What has to survive a restart: which contact may see which user.
//!
//! Dialogs, chats and presence do not: each side says them again. An authorisation is a person's
//! decision, and nobody says it again unasked; without it every contact would be asked anew.

use crate::limits;
use crate::xmpp::Jid;

/// Whose presence may be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Our user sees the contact.
    Outward,
    /// The contact sees our user.
    Inward,
}

impl Direction {
    /// Returns how it is written.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Outward => 'o',
            Self::Inward => 'i',
        }
    }

    /// Reads what [`Direction::letter`] has written.
    #[must_use]
    pub fn of_letter(text: &str) -> Option<Self> {
        [Self::Outward, Self::Inward].into_iter().find(|one| text.chars().eq([one.letter()]))
    }
}

/// How far a wish to see somebody has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Standing {
    /// There is none.
    #[default]
    None,
    /// The other side was asked.
    Asked,
    /// It was granted.
    Granted,
}

impl Standing {
    /// Returns how it is written.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Asked => 1,
            Self::Granted => 2,
        }
    }

    /// Reads what [`Standing::number`] has written.
    #[must_use]
    pub const fn of_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Asked),
            2 => Some(Self::Granted),
            _ => None,
        }
    }
}

/// One authorisation, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Authorisation {
    /// Our user's bare JID.
    pub ours: String,
    /// The contact's bare JID.
    pub theirs: String,
    /// Who sees whom.
    pub direction: Direction,
    /// Asked or granted; none where gateways have to tell each other that it was taken back.
    pub standing: Standing,
    /// Of two that are known of the same, the one with the greater version holds.
    pub version: u64,
}

impl Authorisation {
    /// Returns what one is known by in the store and between gateways: direction, our user and the
    /// contact. No address has white space in it.
    #[must_use]
    pub fn key_of(ours: &str, theirs: &str, direction: Direction) -> String {
        format!("{} {ours} {theirs}", direction.letter())
    }

    /// Reads what [`Self::key_of`] has made.
    #[must_use]
    pub fn of_key(key: &str, standing: Standing, version: u64) -> Option<Self> {
        let mut parts = key.split(' ');
        let direction = Direction::of_letter(parts.next()?)?;
        let (ours, theirs) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let one = Self { ours, theirs, direction, standing, version };
        parts.next().is_none().then_some(one)
    }

    /// Returns the first version of a second.
    #[must_use]
    pub const fn version_at(unix_s: u64) -> u64 {
        unix_s << 20
    }
}

/// What the store is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write it, in place of what was known of the same users and direction.
    Remember(Authorisation),
    /// Remove it.
    Forget {
        /// Our user's bare JID.
        ours: String,
        /// The contact's bare JID.
        theirs: String,
        /// Who saw whom.
        direction: Direction,
    },
}

impl Change {
    /// Returns what the store of a gateway without others does with a decision.
    pub(super) fn of(one: Authorisation) -> Self {
        match one {
            Authorisation { ours, theirs, direction, standing: Standing::None, .. } => {
                Self::Forget { ours, theirs, direction }
            }
            one => Self::Remember(one),
        }
    }
}

impl Authorisation {
    /// Returns the addresses, if they are bare addresses of users.
    pub(super) fn addresses(&self) -> Option<(Jid<'static>, Jid<'static>)> {
        let read = |text: &str| {
            let jid = Jid::parse(text).ok()?.into_owned();
            (jid.is_bare() && jid.local().is_some()).then_some(jid)
        };
        let few = self.ours.len().max(self.theirs.len()) <= limits::GATEWAY_ADDRESS_BYTES_MAX;
        few.then(|| read(&self.ours).zip(read(&self.theirs))).flatten()
    }
}
