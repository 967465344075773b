//! Messages (RFC 7572, RFC 7573).
//!
//! | XMPP          | SIP                                                        |
//! | ------------- | ---------------------------------------------------------- |
//! | `<body/>`     | body                                                       |
//! | `<subject/>`  | Subject, of a pager message                                |
//! | `<thread/>`   | Call-ID                                                    |
//! | `id`          | `imdn.Message-ID` if a receipt is asked for                |
//! | `xml:lang`    | Content-Language                                           |
//! | `<request/>`  | Disposition-Notification: positive-delivery (RFC 5438)     |
//! | `<delay/>`    | Date (RFC 3428 section 8)                                  |
//! | `type`        | none: pager messages become `normal`, those of a dialog `chat` |

use super::chat_state::Typing;
use super::content::{self, Body, ContentFault, ContentType, MediaType, TextForm, Words};
use super::cpim::{self, Asks, Cpim};
use super::receipt::{Receipt, ReceiptPart};
use super::text::{language, single_line, xml_text};
use super::{ChatState, Loss, Losses, Translated, ns, xhtml};
use crate::limits;
use crate::sip::{HeaderName, Message};
use crate::xmpp::{self, Jid, Node, Stanza, StanzaError};

/// The `type` of a message stanza (RFC 6121 section 5.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// A single message.
    #[default]
    Normal,
    /// One of a conversation.
    Chat,
    /// A notice that nobody answers.
    Headline,
    /// One of a room, which is out of this gateway's scope.
    GroupChat,
    /// An answer that says why a message failed.
    Error,
}

impl MessageType {
    /// Reads the attribute; what is unknown is `normal` (RFC 6121 section 5.2.2).
    #[must_use]
    pub fn of_stanza(stanza: &Node) -> Self {
        match stanza.attribute("type") {
            Some("chat") => Self::Chat,
            Some("headline") => Self::Headline,
            Some("groupchat") => Self::GroupChat,
            Some("error") => Self::Error,
            _ => Self::Normal,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Chat => "chat",
            Self::Headline => "headline",
            Self::GroupChat => "groupchat",
            Self::Error => "error",
        }
    }
}

/// What a message says, on neither side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstantMessage {
    /// What kind of message it is.
    pub kind: MessageType,
    /// The sender's id of it.
    pub id: Option<String>,
    /// What somebody wrote; none in a word about typing or a receipt.
    pub words: Option<Words>,
    /// What it is about.
    pub subject: Option<String>,
    /// Which conversation it belongs to.
    pub thread: Option<String>,
    /// The language it is written in.
    pub language: Option<String>,
    /// Whether its sender types.
    pub state: Option<ChatState>,
    /// A receipt, or the wish for one.
    pub receipt: Option<ReceiptPart>,
    /// When it was written if it comes late, as XEP-0203 has it.
    pub delayed: Option<String>,
}

/// What a SIP message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfSip {
    /// Words.
    Message(Box<InstantMessage>),
    /// Typing.
    Typing(Typing),
    /// A receipt.
    Receipt(Receipt),
}

/// The children of a message stanza that are read, or that need no counterpart.
fn is_known(child: &Node) -> bool {
    match child.namespace() {
        xmpp::ns::SERVER => matches!(child.name(), "body" | "subject" | "thread" | "error"),
        ns::CHAT_STATES | ns::RECEIPTS | ns::XHTML_IM | ns::DELAY | ns::HOPS => true,
        // Hints and ids for servers and clients of XMPP (XEP-0334, XEP-0359, XEP-0280, XEP-0172).
        "urn:xmpp:hints"
        | "urn:xmpp:sid:0"
        | "urn:xmpp:carbons:2"
        | "http://jabber.org/protocol/nick"
        | "jabber:x:delay" => true,
        _ => false,
    }
}

impl InstantMessage {
    /// Reads a message stanza. Its addresses and its error are the caller's.
    #[must_use]
    pub fn of_stanza(stanza: &Node) -> Translated<Self> {
        let mut losses = Losses::NONE;
        let own = |node: &Node| node.attribute("xml:lang").and_then(language).map(str::to_owned);
        let body = best_of(stanza, "body");
        let words = body.map(|body| {
            let mut words = match xhtml::of_stanza(stanza) {
                Some(rich) => content::formatted(&rich),
                None => Translated::whole(Words::default()),
            };
            // Its sender wrote the plain words himself; they are not made of the others.
            let plain = xml_text(&body.text(), limits::GATEWAY_TEXT_BYTES_MAX);
            words.value.plain = plain.value;
            losses.add_all(words.losses);
            losses.add_all(plain.losses);
            words.value
        });
        if words.is_none() && stanza.child("html", ns::XHTML_IM).is_some() {
            // XEP-0071 section 8: there is always a body beside it.
            losses.add(Loss::Formatting);
        }
        if stanza.children().any(|child| !is_known(child)) {
            losses.add(Loss::Payload);
        }
        let mut line = |name, bytes_max| {
            let line = single_line(&best_of(stanza, name)?.text(), bytes_max);
            losses.add_all(line.losses);
            Some(line.value).filter(|line| !line.is_empty())
        };
        let subject = line("subject", limits::GATEWAY_SUBJECT_BYTES_MAX);
        let thread = line("thread", limits::GATEWAY_THREAD_BYTES_MAX);
        let delayed = stanza.child("delay", ns::DELAY).and_then(|delay| delay.attribute("stamp"));
        let value = Self {
            kind: MessageType::of_stanza(stanza),
            id: stanza.attribute("id").map(str::to_owned),
            language: body.and_then(own).or_else(|| own(stanza)),
            words,
            subject,
            thread,
            state: ChatState::of_stanza(stanza),
            receipt: ReceiptPart::of_stanza(stanza),
            delayed: delayed.map(str::to_owned),
        };
        Translated { value, losses }
    }

    /// Builds the stanza.
    ///
    /// `id`: the one a receipt or an error will name; the message's own if it has one is the
    /// caller's choice, since it is a peer's.
    #[must_use]
    pub fn to_stanza(&self, from: &Jid<'_>, to: &Jid<'_>, id: &str) -> Node {
        let mut stanza = Node::stanza(Stanza::Message)
            .with("from", from.to_string())
            .with("to", to.to_string())
            .with("id", xml_text(id, limits::GATEWAY_MESSAGE_ID_BYTES_MAX).value);
        if self.kind != MessageType::Normal {
            stanza.set("type", self.kind.as_str());
        }
        if let Some(language) = &self.language {
            stanza.set("xml:lang", &**language);
        }
        let child = |name: &'static str, text: &str| {
            Node::new(name, xmpp::ns::SERVER).with_text(xml_text(text, usize::MAX).value)
        };
        let texts = [("subject", &self.subject), ("thread", &self.thread)];
        for (name, text) in texts {
            stanza.content.extend(text.iter().map(|text| xmpp::Content::Node(child(name, text))));
        }
        if let Some(words) = &self.words {
            stanza.push(child("body", &words.plain));
            if let Some(rich) = &words.rich {
                stanza.push(xhtml::wrapped(rich));
            }
        }
        if let Some(state) = self.state {
            stanza.push(state.node());
        }
        if let Some(receipt) = &self.receipt {
            stanza.push(receipt.node());
        }
        if let Some(stamp) = &self.delayed {
            stanza.push(Node::new("delay", ns::DELAY).with("stamp", &**stamp));
        }
        stanza
    }

    /// Reads a MESSAGE, in a dialog or not, or an INFO about typing.
    ///
    /// # Errors
    /// [`ContentFault`]: why it says nothing; [`ContentFault::status`] is the answer.
    pub fn of_sip(
        message: &Message<'_>,
        setting: Setting,
    ) -> Result<Translated<OfSip>, ContentFault> {
        if message.present(HeaderName::ContentEncoding) {
            return Err(ContentFault::MediaType);
        }
        let content_type = message.first(HeaderName::ContentType);
        // RFC 3261 section 20.15: a body without a type is none that could be read.
        let content_type = content_type.ok_or(ContentFault::MediaType)?;
        let content_type = ContentType::read(content_type.value);
        let mut read = Self::of_body(&content_type, message.body())?;
        if let OfSip::Message(read_message) = &mut read.value {
            let losses = &mut read.losses;
            let mut header = |name: &str, bytes_max| {
                let field = message.find(name)?;
                let line = single_line(&String::from_utf8_lossy(field.value), bytes_max);
                losses.add_all(line.losses);
                Some(line.value).filter(|line| !line.is_empty())
            };
            read_message.kind = setting.message_type();
            read_message.subject = header("Subject", limits::GATEWAY_SUBJECT_BYTES_MAX);
            read_message.thread = header("Call-ID", limits::GATEWAY_THREAD_BYTES_MAX);
            let tag = header("Content-Language", limits::GATEWAY_SUBJECT_BYTES_MAX);
            read_message.language = tag.as_deref().and_then(language).map(str::to_owned);
            if tag.is_some() && read_message.language.is_none() {
                losses.add(Loss::Language);
            }
        }
        Ok(read)
    }

    /// Reads the body of a MESSAGE or INFO.
    ///
    /// # Errors
    /// As [`InstantMessage::of_sip`].
    pub fn of_body(
        content_type: &ContentType<'_>,
        body: &[u8],
    ) -> Result<Translated<OfSip>, ContentFault> {
        if content_type.media != MediaType::Cpim {
            return Self::of_content(content_type, body);
        }
        let cpim = Cpim::read(body).ok_or(ContentFault::Malformed)?;
        let content_type = cpim.content.content_type();
        // One wrapper has a reason, one in another has none.
        if content_type.media == MediaType::Cpim {
            return Err(ContentFault::Malformed);
        }
        let content = cpim.content.decoded().ok_or(ContentFault::MediaType)?;
        let mut read = Self::of_content(&content_type, &content)?;
        if let OfSip::Message(message) = &mut read.value {
            message.id = cpim.message_id().map(str::to_owned);
            let can_be_named = cpim.wants_receipt() && message.id.is_some();
            message.receipt = can_be_named.then_some(ReceiptPart::Request);
        }
        Ok(read)
    }

    fn of_content(
        content_type: &ContentType<'_>,
        body: &[u8],
    ) -> Result<Translated<OfSip>, ContentFault> {
        Ok(match content_type.media {
            MediaType::IsComposing | MediaType::Xml => {
                let typing = Typing::read(body).ok_or(ContentFault::MediaType)?;
                Translated::whole(OfSip::Typing(typing))
            }
            MediaType::Imdn | MediaType::MsImdn => {
                let receipt = Receipt::read(body).ok_or(ContentFault::Malformed)?;
                Translated::whole(OfSip::Receipt(receipt))
            }
            _ => {
                let words = content::words_of(content_type, body)?;
                let message = Self { words: Some(words.value), ..Self::default() };
                Translated { value: OfSip::Message(Box::new(message)), losses: words.losses }
            }
        })
    }

    /// Returns the parts of a MESSAGE that says the same. `None`: there are no words.
    ///
    /// Typing and receipts go their own way, since each is a request of its own on the SIP side.
    #[must_use]
    pub fn to_sip(&self, setting: Setting, form: TextForm) -> Option<Translated<SipParts>> {
        let body = self.words.as_ref()?.to_body(form);
        let mut losses = body.losses;
        let subject = match setting {
            Setting::Pager => self.subject.clone(),
            Setting::Session => {
                if self.subject.is_some() {
                    losses.add(Loss::Subject);
                }
                None
            }
        };
        let call_id = self.thread.as_deref().and_then(call_id_of);
        if self.thread.is_some() && call_id.is_none() {
            losses.add(Loss::Thread);
        }
        let value = SipParts {
            body: body.value,
            subject,
            language: self.language.clone(),
            call_id: call_id.map(str::to_owned),
            date: self.delayed.as_deref().and_then(sip_date),
        };
        Some(Translated { value, losses })
    }
}

/// Returns the child of this name in the stanza's own language: the first without a language, else
/// the first.
fn best_of<'a>(stanza: &'a Node, name: &str) -> Option<&'a Node> {
    let named = || stanza.children().filter(|child| child.is(name, xmpp::ns::SERVER));
    named().find(|child| child.attribute("xml:lang").is_none()).or_else(|| named().next())
}

/// Where a message stands on the SIP side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setting {
    /// Outside of any dialog (RFC 3428, RFC 7572).
    Pager,
    /// In the dialog of a conversation (RFC 7573).
    Session,
}

impl Setting {
    const fn message_type(self) -> MessageType {
        match self {
            Self::Pager => MessageType::Normal,
            Self::Session => MessageType::Chat,
        }
    }
}

/// What a MESSAGE is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipParts {
    /// The body with its type.
    pub body: Body,
    /// The value of Subject.
    pub subject: Option<String>,
    /// The value of Content-Language.
    pub language: Option<String>,
    /// The Call-ID that the thread asks for; the caller makes one if there is none, or if a dialog
    /// of somebody else has it.
    pub call_id: Option<String>,
    /// The value of Date, for a message that comes late.
    pub date: Option<String>,
}

impl SipParts {
    /// Wraps the body so that its delivery is told of (RFC 5438 section 7).
    ///
    /// `from`, `to`: URIs. `message_id`: of one line, without white space.
    #[must_use]
    pub fn asking_for_receipt(mut self, from: &str, to: &str, message_id: &str) -> Self {
        let content_type = std::mem::take(&mut self.body.content_type);
        let (asks, content) = (Asks::Delivery, &self.body.bytes);
        let id = single_line(message_id, limits::GATEWAY_MESSAGE_ID_BYTES_MAX).value;
        let bytes = cpim::write(from, to, &id, asks, &content_type, content);
        self.body = Body { content_type: "message/cpim".to_owned(), bytes };
        self
    }
}

/// Tells whether a pager message may go out.
///
/// `bytes`: of the whole MESSAGE, head and body.
/// # Errors
/// The stanza error to refuse it with (RFC 7572 section 4, RFC 3428 section 8).
pub const fn fits_pager(bytes: usize) -> Result<(), StanzaError> {
    if bytes <= limits::GATEWAY_PAGER_BYTES_MAX {
        Ok(())
    } else {
        Err(StanzaError::PolicyViolation)
    }
}

/// Returns a thread that may be a Call-ID as it stands: `word [ "@" word ]` (RFC 3261 section
/// 25.1).
#[must_use]
pub fn call_id_of(thread: &str) -> Option<&str> {
    let is_word = |word: &str| {
        let may =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~()<>:\\\"/[]?{}".contains(&byte);
        !word.is_empty() && word.bytes().all(may)
    };
    let is_it = match thread.split_once('@') {
        Some((left, right)) => is_word(left) && is_word(right),
        None => is_word(thread),
    };
    (is_it && thread.len() <= limits::GATEWAY_THREAD_BYTES_MAX).then_some(thread)
}

/// Returns the SIP date of `2002-09-10T23:08:25Z` (XEP-0082). `None`: it is none, or of another
/// zone.
#[must_use]
pub fn sip_date(stamp: &str) -> Option<String> {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (date, time) = stamp.strip_suffix('Z')?.split_once('T')?;
    // A fraction of a second has no place.
    let time = time.split('.').next()?;
    let number = |text: Option<&str>, max: u32| {
        let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
        text.parse::<u32>().ok().filter(|number| *number <= max)
    };
    let mut date = date.split('-');
    let (year, month) = (number(date.next(), 9999)?, number(date.next(), 12)?);
    let day = number(date.next(), 31)?;
    let mut clock = time.split(':');
    let (hour, minute) = (number(clock.next(), 23)?, number(clock.next(), 59)?);
    let second = number(clock.next(), 60)?;
    let name = MONTHS.get(month.checked_sub(1)? as usize)?;
    if day == 0 || year < 1900 || date.next().is_some() || clock.next().is_some() {
        return None;
    }
    // Sakamoto's method: January and February count to the year before.
    const OFFSETS: [u32; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
    let counted = year - u32::from(month < 3);
    let offset = OFFSETS.get(month as usize - 1)?;
    let weekday = (counted + counted / 4 - counted / 100 + counted / 400 + offset + day) % 7;
    let weekday = DAYS.get(weekday as usize)?;
    Some(format!("{weekday}, {day:02} {name} {year:04} {hour:02}:{minute:02}:{second:02} GMT"))
}
