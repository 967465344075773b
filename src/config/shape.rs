//! What a value may look like: type, unit, range and the reader of it, in one place.

use std::net::{IpAddr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::report::{Code, Problem};
use super::section::Context;
use super::suggest;
use crate::dns::Domain;
use crate::policy::users::{AccessPolicy, user_and_domain};
use crate::policy::{ArchivingNotice, Date, Pattern};
use crate::sip::HeaderName;

/// Reads a value written at a path such as `edge.domains[0]`; what is wrong goes to the context.
type Read<T> = Box<dyn Fn(&mut Context, &str, &Spanned<DeValue<'_>>) -> Option<T>>;

/// A kind of value: how it is named, what it may be, and its reader.
pub(super) struct Shape<T> {
    /// Type and unit, for the reference.
    pub(super) type_text: String,
    /// What is accepted, for the reference and under the caret.
    pub(super) range_text: String,
    read: Read<T>,
}

impl<T> Shape<T> {
    /// Reads `value`; `None` after a problem has been noted.
    pub(super) fn read(
        &self,
        context: &mut Context,
        path: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<T> {
        context.places.insert(path.to_owned(), value.span());
        (self.read)(context, path, value)
    }
}

/// Notes that `value` has another type than `wanted`, with a hint where the mistake is a known one.
fn wrong_type(context: &mut Context, path: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
    let found = value.get_ref().type_str();
    let mut problem = Problem::new(
        Code::WrongType,
        Some(value.span()),
        format!("`{path}` must be {wanted}, not {} {found}", article(found)),
        format!("expected {wanted}"),
    );
    let unquoted = value.get_ref().as_str().filter(|text| {
        (wanted.starts_with("an integer") && text.parse::<i64>().is_ok())
            || (wanted == "true or false" && matches!(*text, "true" | "false"))
    });
    if let Some(text) = unquoted {
        problem = problem.help(format!("write it without quotes: {text}"));
    } else if wanted.starts_with("a list") && value.get_ref().is_str() {
        let text = value.get_ref().as_str().unwrap_or_default();
        problem = problem.help(format!("write a list of one: [\"{text}\"]"));
    }
    context.problems.push(problem);
}

const fn article(noun: &str) -> &'static str {
    match noun.as_bytes() {
        [b'a' | b'e' | b'i' | b'o' | b'u', ..] => "an",
        _ => "a",
    }
}

fn malformed(context: &mut Context, span: Range<usize>, message: String, label: &str) {
    context.problems.push(Problem::new(Code::Malformed, Some(span), message, label));
}

/// An integer from `least` to `most`; `unit` is empty or a plural noun.
fn counted<T: TryFrom<i64> + 'static>(least: i64, most: i64, unit: &'static str) -> Shape<T> {
    let type_text = if unit.is_empty() { "integer".to_owned() } else { format!("integer, {unit}") };
    let range_text = format!("{least} to {most}");
    let expected = range_text.clone();
    let read = move |context: &mut Context, path: &str, value: &Spanned<DeValue<'_>>| {
        let Some(integer) = value.get_ref().as_integer() else {
            wrong_type(context, path, value, "an integer");
            return None;
        };
        let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let kept = number.filter(|n| (least..=most).contains(n)).and_then(|n| T::try_from(n).ok());
        if kept.is_none() {
            context.problems.push(Problem::new(
                Code::OutOfRange,
                Some(value.span()),
                format!("`{path}` is out of range"),
                format!("expected {expected}"),
            ));
        }
        kept
    };
    Shape { type_text, range_text, read: Box::new(read) }
}

/// A number of things.
pub(super) fn integer<T: TryFrom<i64> + 'static>(least: i64, most: i64) -> Shape<T> {
    counted(least, most, "")
}

/// A number of seconds.
pub(super) fn seconds(least: i64, most: i64) -> Shape<u64> {
    counted(least, most, "seconds")
}

/// A number of milliseconds.
pub(super) fn milliseconds(least: i64, most: i64) -> Shape<u64> {
    counted(least, most, "milliseconds")
}

/// A number of microseconds.
pub(super) fn microseconds(least: i64, most: i64) -> Shape<u64> {
    counted(least, most, "microseconds")
}

/// A number of bytes.
pub(super) fn bytes(least: i64, most: i64) -> Shape<usize> {
    counted(least, most, "bytes")
}

/// Yes or no.
pub(super) fn boolean() -> Shape<bool> {
    let read = |context: &mut Context, path: &str, value: &Spanned<DeValue<'_>>| {
        let kept = value.get_ref().as_bool();
        if kept.is_none() {
            wrong_type(context, path, value, "true or false");
        }
        kept
    };
    let range_text = "true, false".to_owned();
    Shape { type_text: "boolean".to_owned(), range_text, read: Box::new(read) }
}

/// A text that `parse` understands; `parse` says what it wants instead otherwise.
fn text<T: 'static>(
    type_text: &str,
    range_text: &str,
    parse: impl Fn(&Context, &str) -> Result<T, &'static str> + 'static,
) -> Shape<T> {
    let noun = type_text.to_owned();
    let read = move |context: &mut Context, path: &str, value: &Spanned<DeValue<'_>>| {
        let Some(written) = value.get_ref().as_str() else {
            wrong_type(context, path, value, "a string");
            return None;
        };
        match parse(context, written) {
            Ok(kept) => Some(kept),
            Err(expected) => {
                let message = format!("`{written}` is not {} {noun}", article(&noun));
                malformed(context, value.span(), message, expected);
                None
            }
        }
    };
    let range_text = range_text.to_owned();
    Shape { type_text: type_text.to_owned(), range_text, read: Box::new(read) }
}

/// Reads a name in any script as A-labels in lower case, with at least `dots` dots in it.
fn read_name(written: &str, dots: usize) -> Result<Domain, &'static str> {
    const WANTED: &str = "expected letters, digits and hyphens, such as contoso.example";
    // An address ends in a digit or has a colon in it; looking costs less than reading one.
    let may_be_address = written.ends_with(|last: char| last.is_ascii_digit())
        || memchr::memchr(b':', written.as_bytes()).is_some();
    if may_be_address && written.parse::<IpAddr>().is_ok() {
        return Err("expected a name, not an address");
    }
    // Mapping costs ten times what the rest does, and changes nothing of most names.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let domain = if written.bytes().all(plain) && !written.contains("--") {
        Domain::parse(written.as_bytes())
    } else {
        let ascii = idna::domain_to_ascii(written).map_err(|_| "not a name under IDNA (UTS 46)")?;
        Domain::parse(ascii.as_bytes())
    };
    let domain = domain.map_err(|_| WANTED)?;
    if domain.as_str().bytes().filter(|&byte| byte == b'.').count() < dots {
        return Err("expected a full name with at least one dot");
    }
    Ok(domain)
}

/// Reads a fully qualified name as the configuration does: any script, at least two labels.
///
/// # Errors
/// What was expected instead.
pub fn read_domain(written: &str) -> Result<Domain, &'static str> {
    read_name(written, 1)
}

/// Reads a name, or `*.` and a name for all that lies below it.
///
/// # Errors
/// What was expected instead.
pub fn read_pattern(written: &str) -> Result<Pattern, &'static str> {
    match written.strip_prefix("*.") {
        // Whole top-level domains are blocked by people who know why.
        Some(name) => read_name(name, 0).map(Pattern::Below),
        None if written.contains('*') => Err("the star stands for whole labels: *.contoso.example"),
        None => read_domain(written).map(Pattern::Exact),
    }
}

/// Reads a free text that goes into no message on the wire.
pub(super) fn read_remark(written: &str) -> Result<String, &'static str> {
    let usable = |c: char| !c.is_control();
    if written.is_empty() || written.len() > 200 || !written.chars().all(usable) {
        return Err("expected 1 to 200 bytes of text on one line");
    }
    Ok(written.to_owned())
}

/// A fully qualified name in any script; kept as A-labels in lower case.
pub(super) fn domain() -> Shape<Domain> {
    let range_text = "at least two labels; IDNA (UTS 46) applied";
    text("domain name", range_text, |_, written| read_domain(written))
}

/// A domain, or all domains below one.
pub(super) fn pattern() -> Shape<Pattern> {
    let range_text = "a full name, or `*.` and a name for all below it; IDNA (UTS 46) applied";
    text("domain name", range_text, |_, written| read_pattern(written))
}

/// A remark for people.
pub(super) fn remark() -> Shape<String> {
    text("text", "1 to 200 bytes on one line", |_, written| read_remark(written))
}

/// The address of something on the web.
pub(super) fn web_address() -> Shape<String> {
    text("web address", "https:// or http://, at most 2,000 bytes", |_, written| {
        let host = written.strip_prefix("https://").or_else(|| written.strip_prefix("http://"));
        let usable = |host: &str| !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic());
        if written.len() > 2_000 || !host.is_some_and(usable) {
            return Err("expected something like https://www.contoso.example/icon.png");
        }
        Ok(written.to_owned())
    })
}

/// A day, as TOML writes it.
pub(super) fn date() -> Shape<Date> {
    let read = |context: &mut Context, path: &str, value: &Spanned<DeValue<'_>>| {
        if let Some(text) = value.get_ref().as_str().filter(|text| Date::parse(text).is_ok()) {
            let problem = Problem::new(
                Code::WrongType,
                Some(value.span()),
                format!("`{path}` must be a date, not a string"),
                "expected a date",
            );
            context.problems.push(problem.help(format!("write it without quotes: {text}")));
            return None;
        }
        let Some(written) = value.get_ref().as_datetime() else {
            wrong_type(context, path, value, "a date such as 2026-12-31");
            return None;
        };
        let day = written.date.filter(|_| written.time.is_none() && written.offset.is_none());
        let day = day.and_then(|day| Date::new(day.year, day.month, day.day));
        if day.is_none() {
            let message = format!("`{path}` is not a day from 1970 on");
            malformed(context, value.span(), message, "expected a date such as 2026-12-31");
        }
        day
    };
    let (type_text, range_text) = ("date".to_owned(), "YYYY-MM-DD, in UTC".to_owned());
    Shape { type_text, range_text, read: Box::new(read) }
}

/// A free text of 1 to 64 bytes that names something inside the file.
pub(super) fn label() -> Shape<String> {
    text("name", "1 to 64 letters, digits, `-`, `_` or `.`", |_, written| {
        let usable = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if written.is_empty() || written.len() > 64 || !written.bytes().all(usable) {
            return Err("expected 1 to 64 letters, digits, `-`, `_` or `.`");
        }
        Ok(written.to_owned())
    })
}

/// The name of an external access policy.
pub(super) fn policy_name() -> Shape<String> {
    let range = "1 to 64 letters, digits, `-`, `_` or `.`; `site:` before the name of a site";
    text("policy name", range, |_, written| {
        let name = written.strip_prefix(AccessPolicy::SITE).unwrap_or(written);
        let usable = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(usable) {
            return Err("expected global, site:name, or a name of letters, digits, `-`, `_`, `.`");
        }
        Ok(written.to_owned())
    })
}

/// An own user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The part before the `@`, in lower case.
    pub user: String,
    /// The part behind it.
    pub domain: Domain,
}

/// Reads the address of a user, with or without `sip:`.
pub(super) fn read_user(written: &str) -> Result<User, &'static str> {
    let expected = "expected an address such as kim@contoso.example";
    let (user, host) = written.rsplit_once('@').ok_or(expected)?;
    let ascii = idna::domain_to_ascii(host).map_err(|_| "not a name under IDNA (UTS 46)")?;
    let (user, domain) = user_and_domain(&format!("{user}@{ascii}")).ok_or(expected)?;
    Ok(User { user, domain })
}

/// A user's address.
pub(super) fn user() -> Shape<User> {
    text("address of a user", "user@domain, with or without `sip:`", |_, written| {
        read_user(written)
    })
}

/// The name of a SIP header that the edge itself has no use for.
pub(super) fn header_name() -> Shape<String> {
    text("header name", "a token (RFC 3261 section 25.1)", |_, written| {
        if ArchivingNotice::new(written, "x").is_none() {
            return Err("expected letters, digits and hyphens");
        }
        if HeaderName::of(written.as_bytes()) != HeaderName::Other {
            return Err("the edge reads or strips this header itself");
        }
        Ok(written.to_owned())
    })
}

/// The value of a SIP header.
pub(super) fn header_value() -> Shape<String> {
    text("header value", "1 to 256 bytes on one line", |_, written| {
        if written.len() > 256 || ArchivingNotice::new("x", written).is_none() {
            return Err("expected 1 to 256 bytes without line breaks");
        }
        Ok(written.to_owned())
    })
}

/// A directive list of the log.
pub(super) fn log_level() -> Shape<String> {
    text("log level", "off, error, warn, info, debug, trace; then part=level, ...", |_, written| {
        // The parser of directives takes a word that is no level for the name of a part.
        let level = |word: &str| {
            matches!(word.trim(), "off" | "error" | "warn" | "info" | "debug" | "trace")
        };
        let directive = |text: &str| text.split_once('=').map_or(level(text), |(_, to)| level(to));
        if written.split(',').all(directive) {
            Ok(written.to_owned())
        } else {
            Err("expected error, warn, info, debug or trace")
        }
    })
}

/// A file, taken from the directory of the configuration unless it is absolute.
pub(super) fn path() -> Shape<PathBuf> {
    text("path", "relative to the directory of this file, or absolute", |context, written| {
        if written.is_empty() {
            return Err("expected the path of a file");
        }
        Ok(context.base.join(written))
    })
}

/// Address and port; `least_port` 0 where the kernel may choose one.
pub(super) fn socket_address(least_port: u16) -> Shape<SocketAddr> {
    text("address with port", "IPv4:port or [IPv6]:port", move |_, written| {
        let address = written
            .parse::<SocketAddr>()
            .map_err(|_| "expected an address with a port, such as 192.0.2.1:5061")?;
        if address.port() < least_port {
            return Err("expected a port from 1 to 65535");
        }
        Ok(address)
    })
}

/// A server by name, with the port it listens at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// Its FQDN.
    pub host: Domain,
    /// Its port.
    pub port: u16,
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The name of a server and its port.
pub(super) fn host_port() -> Shape<HostPort> {
    text("name with port", "name:port; IDNA (UTS 46) applied", |_, written| {
        let expected = "expected a name with a port, such as xmpp.contoso.example:5269";
        let (host, port) = written.rsplit_once(':').ok_or(expected)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or(expected)?;
        Ok(HostPort { host: read_domain(host)?, port })
    })
}

/// An address without port.
pub(super) fn address() -> Shape<IpAddr> {
    text("address", "IPv4 or IPv6", |_, written| {
        written.parse().map_err(|_| "expected an address without port, such as 192.0.2.1")
    })
}

/// Ports from one to another; a port alone is a range of one.
pub(super) fn port_range() -> Shape<RangeInclusive<u16>> {
    text("port range", "low-high, or one port alone; 1 to 65535", |_, written| {
        let expected = "expected ports such as \"50000-54999\" or \"3480\", from 1 to 65535";
        let port = |text: &str| text.parse().ok().filter(|port| *port > 0).ok_or(expected);
        let (low, high) = written.split_once('-').unwrap_or((written, written));
        let (low, high) = (port(low)?, port(high)?);
        if low > high {
            return Err("expected the lower port first");
        }
        Ok(low..=high)
    })
}

/// A network; an address alone is a network of one.
pub(super) fn network() -> Shape<IpNet> {
    text("network", "address/prefix, or an address alone", |_, written| {
        let alone = written.parse::<IpAddr>().map(IpNet::from);
        let network = alone.or_else(|_| written.parse::<IpNet>());
        let network = network.map_err(|_| "expected a network such as 192.0.2.0/24")?;
        if network.trunc() != network {
            return Err("the address has bits outside the prefix");
        }
        Ok(network)
    })
}

/// One of a few words.
pub(super) fn one_of<T: Clone + 'static>(choices: &'static [(&'static str, T)]) -> Shape<T> {
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let range_text = words.join(", ");
    let read = move |context: &mut Context, path: &str, value: &Spanned<DeValue<'_>>| {
        let Some(written) = value.get_ref().as_str() else {
            wrong_type(context, path, value, "a string");
            return None;
        };
        if let Some((_, kept)) = choices.iter().find(|(word, _)| *word == written) {
            return Some(kept.clone());
        }
        let mut problem = Problem::new(
            Code::OutOfRange,
            Some(value.span()),
            format!("`{path}` cannot be `{written}`"),
            format!("expected one of: {}", words.join(", ")),
        );
        if let Some(meant) = suggest::closest(written, words.iter().copied()) {
            problem = problem.help(format!("did you mean \"{meant}\"?"));
        }
        context.problems.push(problem);
        None
    };
    Shape { type_text: "string".to_owned(), range_text, read: Box::new(read) }
}

/// Any number of `of`, from none to `most`.
pub(super) fn list<T: 'static>(of: Shape<T>, most: usize) -> Shape<Vec<T>> {
    let type_text = format!("list of {}", of.type_text);
    let range_text = format!("0 to {most} of: {}", of.range_text);
    let wanted = format!("a list of {}", of.type_text);
    let read = move |context: &mut Context, path: &str, value: &Spanned<DeValue<'_>>| {
        let Some(items) = value.get_ref().as_array() else {
            wrong_type(context, path, value, &wanted);
            return None;
        };
        if items.len() > most {
            context.problems.push(Problem::new(
                Code::OutOfRange,
                Some(value.span()),
                format!("`{path}` has {} entries", items.len()),
                format!("expected at most {most}"),
            ));
            return None;
        }
        let read: Vec<Option<T>> = items
            .iter()
            .enumerate()
            .map(|(index, item)| of.read(context, &format!("{path}[{index}]"), item))
            .collect();
        read.into_iter().collect()
    };
    Shape { type_text, range_text, read: Box::new(read) }
}

/// A list of `of`, of which one may stand alone.
pub(super) fn one_or_list<T: 'static>(of: fn() -> Shape<T>, most: usize) -> Shape<Vec<T>> {
    let (one, of) = (of(), list(of(), most));
    let type_text = format!("{}, or one alone", of.type_text);
    let range_text = of.range_text.clone();
    let read = move |context: &mut Context, path: &str, value: &Spanned<DeValue<'_>>| {
        if value.get_ref().is_array() {
            return of.read(context, path, value);
        }
        one.read(context, &format!("{path}[0]"), value).map(|one| vec![one])
    };
    Shape { type_text, range_text, read: Box::new(read) }
}

/// Either a list of `of`, or one of a few words that stand for something else.
pub(super) fn word_or_list<T: 'static, U: Clone + 'static>(
    words: &'static [(&'static str, U)],
    of: Shape<Vec<T>>,
    listed: impl Fn(Vec<T>) -> U + 'static,
) -> Shape<U> {
    let word = one_of(words);
    let type_text = format!("string, or {}", of.type_text);
    let range_text = format!("{}; or {}", word.range_text, of.range_text);
    let read = move |context: &mut Context, path: &str, value: &Spanned<DeValue<'_>>| {
        if value.get_ref().is_array() {
            of.read(context, path, value).map(&listed)
        } else {
            word.read(context, path, value)
        }
    };
    Shape { type_text, range_text, read: Box::new(read) }
}
