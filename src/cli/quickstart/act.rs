//! The cast and the script: who there is, what they do, and what must come of it.

use super::ladder::{Column, Columns};

/// The place of alice's pool in the ladder's parties.
pub(super) const ALICE: usize = 0;
/// The place of bob's pool.
pub(super) const BOB: usize = 1;
/// The place of the server that litware sends from.
pub(super) const LITWARE: usize = 2;
/// The place of adatum's XMPP server.
pub(super) const ADATUM: usize = 3;
/// The place of tailspin's XMPP server.
pub(super) const TAILSPIN: usize = 4;

/// One thing somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// A page-mode message from alice to bob.
    MessageThere,
    /// And one back.
    MessageBack,
    /// alice subscribes to bob's presence and is told what it is.
    Subscribe,
    /// bob's presence changes.
    PresenceChanges,
    /// alice has seen enough.
    Unsubscribe,
    /// alice invites bob to a session.
    Invite,
    /// bob writes in the session.
    SessionMessage,
    /// bob types.
    Typing,
    /// alice changes the session.
    Reinvite,
    /// bob ends the session.
    Bye,
    /// alice calls bob: each has an address at its own relay, and tells the other.
    Call,
    /// Both talk.
    Voice,
    /// bob hangs up.
    HangUp,
    /// A blocked organisation writes to contoso.
    BlockedAtContoso,
    /// And to fabrikam.
    BlockedAtFabrikam,
    /// alice writes to the blocked organisation.
    BlockedFromInside,
    /// An XMPP partner's server opens a stream.
    XmppStream,
    /// Its user writes to alice.
    XmppMessage,
    /// alice answers.
    XmppAnswer,
    /// alice subscribes to the XMPP user's presence, who lets her.
    XmppWatch,
    /// That user's presence changes.
    XmppPresence,
    /// And he subscribes to hers.
    XmppWatched,
    /// alice's presence changes.
    XmppPresenceBack,
    /// An XMPP server that nobody has listed opens a stream.
    XmppStranger,
}

/// Every act, in order.
pub(super) const ACTS: [Act; 24] = [
    Act::MessageThere,
    Act::MessageBack,
    Act::Subscribe,
    Act::PresenceChanges,
    Act::Unsubscribe,
    Act::Invite,
    Act::SessionMessage,
    Act::Typing,
    Act::Reinvite,
    Act::Bye,
    Act::Call,
    Act::Voice,
    Act::HangUp,
    Act::BlockedAtContoso,
    Act::BlockedAtFabrikam,
    Act::BlockedFromInside,
    Act::XmppStream,
    Act::XmppMessage,
    Act::XmppAnswer,
    Act::XmppWatch,
    Act::XmppPresence,
    Act::XmppWatched,
    Act::XmppPresenceBack,
    Act::XmppStranger,
];

impl Act {
    /// Returns what happens, in a sentence.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::MessageThere => "alice@contoso.example sends bob@fabrikam.example a message",
            Self::MessageBack => "bob sends alice a message",
            Self::Subscribe => "alice subscribes to bob's presence",
            Self::PresenceChanges => "bob's presence changes",
            Self::Unsubscribe => "alice ends the subscription",
            Self::Invite => "alice invites bob to a conversation",
            Self::SessionMessage => "bob writes in the conversation",
            Self::Typing => "alice types",
            Self::Reinvite => "alice renews the conversation",
            Self::Bye => "bob leaves the conversation",
            Self::Call => "alice calls bob, each by an address at its own A/V Edge",
            Self::Voice => "alice and bob talk for a second",
            Self::HangUp => "bob hangs up",
            Self::BlockedAtContoso => "mallory@litware.example, blocked, writes to alice",
            Self::BlockedAtFabrikam => "mallory@litware.example, blocked, writes to bob",
            Self::BlockedFromInside => "alice writes to mallory@litware.example, blocked",
            Self::XmppStream => "adatum.example, an XMPP partner, opens a stream to contoso",
            Self::XmppMessage => "carol@adatum.example writes to alice by XMPP",
            Self::XmppAnswer => "alice answers carol",
            Self::XmppWatch => "alice subscribes to carol's presence, and carol lets her",
            Self::XmppPresence => "carol's presence changes",
            Self::XmppWatched => "carol subscribes to alice's presence, and alice lets her",
            Self::XmppPresenceBack => "alice's presence changes",
            Self::XmppStranger => "tailspin.example, an XMPP server nobody listed, opens a stream",
        }
    }

    /// Returns what must come of it, in a sentence.
    pub(super) const fn expectation(self) -> &'static str {
        match self {
            Self::MessageThere
            | Self::MessageBack
            | Self::SessionMessage
            | Self::Typing
            | Self::Bye => "the request arrives through both edges and is answered 200",
            Self::Subscribe => "SUBSCRIBE and the first NOTIFY are answered 200",
            Self::PresenceChanges => "NOTIFY is answered 200",
            Self::Unsubscribe => "SUBSCRIBE and the last NOTIFY are answered 200",
            Self::Invite | Self::Reinvite => "INVITE is answered 200 and the ACK arrives",
            Self::Call => "both relays grant a port, and each side is told the other's by SDP",
            Self::Voice => "every packet of RTP arrives unchanged, from relay to relay",
            Self::HangUp => "BYE is answered 200 and both relays take their ports back",
            Self::BlockedAtContoso | Self::BlockedAtFabrikam | Self::BlockedFromInside => {
                "the edge answers 403 and nothing reaches the other side"
            }
            Self::XmppStream => "both sides prove their domains by certificate, over STARTTLS",
            Self::XmppMessage => "the gateway invites alice to a session and the message arrives",
            Self::XmppAnswer => "carol gets the message, and alice 200 once carol's server took it",
            Self::XmppWatch => "carol is asked, and what she shows is notified to alice",
            Self::XmppPresence => "NOTIFY says that carol is away, and her note",
            Self::XmppWatched => "alice's pool is asked, and what it notifies is shown to carol",
            Self::XmppPresenceBack => "carol sees that alice is gone",
            Self::XmppStranger => "the stream ends with policy-violation before anything else",
        }
    }

    /// Returns the ladder on which the act is drawn.
    pub(super) fn columns(self) -> Columns {
        let pool = |title: &str, party| Column { title: title.to_owned(), party: Some(party) };
        let edge = |title: &str| Column { title: title.to_owned(), party: None };
        let [contoso, fabrikam] = [edge(CONTOSO_EDGE), edge(FABRIKAM_EDGE)];
        Columns(match self {
            Self::BlockedAtContoso => vec![pool("litware edge", LITWARE), contoso],
            Self::BlockedAtFabrikam => vec![pool("litware edge", LITWARE), fabrikam],
            Self::BlockedFromInside => vec![pool("alice's pool", ALICE), contoso],
            Self::Voice => {
                vec![pool("alice", ALICE), contoso, fabrikam, pool("bob", BOB)]
            }
            Self::XmppStranger => vec![pool("tailspin server", TAILSPIN), contoso],
            Self::XmppStream
            | Self::XmppMessage
            | Self::XmppAnswer
            | Self::XmppWatch
            | Self::XmppPresence
            | Self::XmppWatched
            | Self::XmppPresenceBack => {
                vec![pool("alice's pool", ALICE), contoso, pool("adatum server", ADATUM)]
            }
            _ => vec![pool("alice's pool", ALICE), contoso, fabrikam, pool("bob's pool", BOB)],
        })
    }
}

/// What the ladder calls contoso's edge.
pub(super) const CONTOSO_EDGE: &str = "contoso edge";
/// What the ladder calls fabrikam's edge.
pub(super) const FABRIKAM_EDGE: &str = "fabrikam edge";
