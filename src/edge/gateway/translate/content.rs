//! Bodies of SIP messages, and the words in them.

use super::multipart;
use super::text::{with_crlf, xml_text};
use super::{Loss, Losses, Translated, html, rtf, xhtml};
use crate::limits;
use crate::sip::params;
use crate::xmpp::Node;

/// The types of body that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// `text/plain`
    Plain,
    /// `text/html`
    Html,
    /// `text/rtf`, which Lync sends beside or instead of plain text
    Rtf,
    /// `multipart/alternative`, `multipart/mixed`, `multipart/related`
    Multipart,
    /// `message/cpim` (RFC 3862)
    Cpim,
    /// `message/imdn+xml` (RFC 5438)
    Imdn,
    /// `application/ms-imdn+xml`, Lync's own
    MsImdn,
    /// `application/im-iscomposing+xml` (RFC 3994)
    IsComposing,
    /// `application/xml`, in which Lync says that somebody types
    Xml,
    /// `application/pidf+xml`, and what OCS calls the same
    Pidf,
    /// `application/sdp`
    Sdp,
    /// Anything else.
    Other,
}

/// Their names; the first of a type is the one it is written as.
const MEDIA_TYPES: [(&str, MediaType); 16] = [
    ("text/plain", MediaType::Plain),
    ("text/html", MediaType::Html),
    ("text/rtf", MediaType::Rtf),
    ("application/rtf", MediaType::Rtf),
    ("multipart/alternative", MediaType::Multipart),
    ("multipart/mixed", MediaType::Multipart),
    ("multipart/related", MediaType::Multipart),
    ("message/cpim", MediaType::Cpim),
    ("message/imdn+xml", MediaType::Imdn),
    ("application/ms-imdn+xml", MediaType::MsImdn),
    ("application/im-iscomposing+xml", MediaType::IsComposing),
    ("application/xml", MediaType::Xml),
    ("text/xml", MediaType::Xml),
    ("application/pidf+xml", MediaType::Pidf),
    ("text/xml+msrtc.pidf", MediaType::Pidf),
    ("application/sdp", MediaType::Sdp),
];

/// A Content-Type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentType<'a> {
    /// The type.
    pub media: MediaType,
    parameters: &'a [u8],
}

impl<'a> ContentType<'a> {
    /// Reads the value of a Content-Type header field.
    #[must_use]
    pub fn read(value: &'a [u8]) -> Self {
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let (name, parameters) = value.split_at(end);
        let name = name.trim_ascii();
        let found =
            MEDIA_TYPES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes()));
        Self { media: found.map_or(MediaType::Other, |(_, media)| *media), parameters }
    }

    /// Returns a parameter's value without its quotes.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&'a [u8]> {
        let (_, value) = params(self.parameters)
            .find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))?;
        let value = value?;
        let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        Some(unquoted.unwrap_or(value))
    }
}

/// Why a body has no words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ContentFault {
    /// Its type is none that has words, or none of its parts is.
    #[error("the type of the body is not supported")]
    MediaType,
    /// Its character set is not supported.
    #[error("the character set of the body is not supported")]
    Charset,
    /// It is larger than allowed.
    #[error("the body is too large")]
    TooLarge,
    /// It does not follow the grammar of its type.
    #[error("the body does not follow the grammar of its type")]
    Malformed,
}

impl ContentFault {
    /// Returns the status code that says so (RFC 3261 section 21.4).
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::MediaType | Self::Charset => 415,
            Self::TooLarge => 413,
            Self::Malformed => 400,
        }
    }
}

/// What the bodies this part reads are called in Accept, and in `a=accept-types`.
pub const ACCEPTED: &str = "text/plain, text/html, text/rtf, multipart/alternative, message/cpim, \
    message/imdn+xml, application/im-iscomposing+xml";

/// What somebody wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// Without formatting; lines end in LF. Never has a character that XML cannot carry.
    pub plain: String,
    /// The XHTML `<body>` with the formatting, if there is any; only names of the allow-list.
    pub rich: Option<Node>,
}

/// Reads the words of a body.
///
/// # Errors
/// [`ContentFault`]: why there are none.
pub fn words_of(
    content_type: &ContentType<'_>,
    body: &[u8],
) -> Result<Translated<Words>, ContentFault> {
    if body.len() > limits::GATEWAY_BODY_BYTES_MAX {
        return Err(ContentFault::TooLarge);
    }
    match content_type.media {
        MediaType::Multipart => words_of_parts(content_type, body),
        _ => words_of_one(content_type, body),
    }
}

fn words_of_one(
    content_type: &ContentType<'_>,
    body: &[u8],
) -> Result<Translated<Words>, ContentFault> {
    let (read, mut losses) = match content_type.media {
        MediaType::Plain => {
            let text = decoded(content_type, body)?;
            (xml_text(&text.value, limits::GATEWAY_TEXT_BYTES_MAX), text.losses)
        }
        MediaType::Rtf => (rtf::plain(body), Losses::NONE),
        MediaType::Html => {
            let text = decoded(content_type, body)?;
            let mut words = formatted(&html::sanitised(&text.value));
            words.losses.add_all(text.losses);
            return Ok(words);
        }
        _ => return Err(ContentFault::MediaType),
    };
    losses.add_all(read.losses);
    Ok(Translated { value: Words { plain: read.value, rich: None }, losses })
}

/// Returns the words of formatted text that was sanitised.
#[must_use]
pub fn formatted(body: &Translated<Node>) -> Translated<Words> {
    let plain = xml_text(&xhtml::plain(&body.value), limits::GATEWAY_TEXT_BYTES_MAX);
    let mut losses = body.losses;
    losses.add_all(plain.losses);
    let rich = xhtml::is_formatted(&body.value).then(|| body.value.clone());
    Translated { value: Words { plain: plain.value, rich }, losses }
}

/// Takes the best part that has words: HTML before plain text before RTF.
fn words_of_parts(
    content_type: &ContentType<'_>,
    body: &[u8],
) -> Result<Translated<Words>, ContentFault> {
    let boundary = content_type.parameter("boundary").ok_or(ContentFault::Malformed)?;
    let parts = multipart::parts(boundary, body).ok_or(ContentFault::Malformed)?;
    let mut best: Option<(u8, Translated<Words>)> = None;
    let mut other = false;
    for part in parts {
        let content_type = part.content_type();
        let rank = match content_type.media {
            MediaType::Html => 3,
            MediaType::Plain => 2,
            MediaType::Rtf => 1,
            _ => {
                other = true;
                continue;
            }
        };
        if best.as_ref().is_some_and(|(known, _)| *known >= rank) {
            continue;
        }
        let Some(content) = part.decoded() else {
            other = true;
            continue;
        };
        if let Ok(words) = words_of_one(&content_type, &content) {
            best = Some((rank, words));
        }
    }
    let (_, mut words) = best.ok_or(ContentFault::MediaType)?;
    if other {
        words.losses.add(Loss::BodyPart);
    }
    Ok(words)
}

/// Reads the first text that Lync puts in the INVITE itself: the value of `ms-text-format`, a
/// Content-Type whose parameter `ms-body` is the body in base64. `None`: there is none.
///
/// Source: wire-protocols A.11.
#[must_use]
pub fn first_text(ms_text_format: &[u8]) -> Option<Translated<Words>> {
    let content_type = ContentType::read(ms_text_format);
    let body = multipart::base64(content_type.parameter("ms-body")?)?;
    let words = words_of(&content_type, &body).ok()?;
    (!words.value.plain.trim().is_empty()).then_some(words)
}

/// Decodes by the `charset` parameter; UTF-8 without one, as RFC 3261 section 25.1 has it.
fn decoded(
    content_type: &ContentType<'_>,
    body: &[u8],
) -> Result<Translated<String>, ContentFault> {
    let charset = content_type.parameter("charset").unwrap_or(b"utf-8");
    let is = |name: &str| charset.eq_ignore_ascii_case(name.as_bytes());
    if is("utf-8") || is("us-ascii") || is("ascii") {
        let text = String::from_utf8_lossy(body);
        let mut losses = Losses::NONE;
        if matches!(text, std::borrow::Cow::Owned(_)) {
            losses.add(Loss::Encoding);
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        return Ok(Translated { value: text.to_owned(), losses });
    }
    if is("iso-8859-1") || is("windows-1252") {
        return Ok(Translated::whole(body.iter().map(|byte| html::windows_1252(*byte)).collect()));
    }
    Err(ContentFault::Charset)
}

/// A body as a SIP message carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The value of Content-Type.
    pub content_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// How words are written to a SIP peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextForm {
    /// `text/plain`, which every peer takes.
    Plain,
    /// `text/html` where there is formatting, for a peer that lists it.
    Html,
}

impl Words {
    /// Writes the words as a body.
    #[must_use]
    pub fn to_body(&self, form: TextForm) -> Translated<Body> {
        let mut losses = Losses::NONE;
        let (name, text) = match (form, &self.rich) {
            (TextForm::Html, Some(rich)) => ("text/html", xhtml::to_html(rich)),
            (TextForm::Plain, Some(_)) => {
                losses.add(Loss::Formatting);
                ("text/plain", with_crlf(&self.plain))
            }
            (_, None) => ("text/plain", with_crlf(&self.plain)),
        };
        let content_type = format!("{name}; charset=UTF-8");
        Translated { value: Body { content_type, bytes: text.into_bytes() }, losses }
    }
}
