//! Addresses as people write them.

use crate::config::read_domain;
use crate::dns::Domain;

/// Schemes that people try and that no edge routes.
const OTHER_SCHEMES: [&str; 8] = ["tel", "im", "pres", "xmpp", "mailto", "http", "https", "conf"];

/// An address of a user.
#[derive(Clone, Debug)]
pub(super) struct Party {
    /// As it is put into the message.
    pub(super) uri: String,
    /// The part before the `@`; empty where there is none.
    pub(super) user: String,
    /// The part behind it.
    pub(super) domain: Domain,
}

/// Reads `sip:alice@contoso.example`, also without its scheme, in angle brackets, with a port or
/// parameters, which say nothing about who it is.
///
/// # Errors
/// What is wrong with it, for whoever wrote it.
pub(super) fn party(text: &str) -> Result<Party, String> {
    let trimmed = text.trim();
    let inner = trimmed.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
    let bare = without_scheme(inner.unwrap_or(trimmed))
        .map_err(|scheme| format!("`{text}` is no sip URI: {scheme} URIs are not routed"))?;
    let (user, host) = bare.rsplit_once('@').unwrap_or(("", bare));
    let host = host.split([';', '?']).next().unwrap_or(host);
    let domain = read_domain(without_port(host))
        .map_err(|why| format!("`{text}` names no domain: {why}"))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/%".contains(&byte);
    if !user.bytes().all(plain) {
        return Err(format!(
            "`{text}` is no sip URI: its user part has a character that must be escaped (%C3%B6)"
        ));
    }
    let at = if user.is_empty() { "" } else { "@" };
    Ok(Party { uri: format!("sip:{user}{at}{domain}"), user: user.to_owned(), domain })
}

/// Returns what stands after `sip:` or `sips:`.
///
/// # Errors
/// The scheme, where it is another one.
fn without_scheme(text: &str) -> Result<&str, String> {
    let Some((scheme, rest)) = text.split_once(':') else { return Ok(text) };
    let scheme = scheme.to_ascii_lowercase();
    match scheme.as_str() {
        "sip" | "sips" => Ok(rest),
        other if OTHER_SCHEMES.contains(&other) => Err(scheme),
        _ => Ok(text),
    }
}

/// Returns a host without the port behind it; an address in brackets stays as it is.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.parse::<u16>().is_ok() => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Result<String, String> {
        party(text).map(|party| party.uri)
    }

    #[test]
    fn an_address_is_read_as_people_write_it() {
        for (written, read) in [
            ("alice@contoso.example", "sip:alice@contoso.example"),
            ("sips:Alice@CONTOSO.example", "sip:Alice@contoso.example"),
            ("SIP:alice@contoso.example", "sip:alice@contoso.example"),
            ("<sip:alice@contoso.example>", "sip:alice@contoso.example"),
            ("sip:alice@contoso.example;transport=tls", "sip:alice@contoso.example"),
            ("sip:alice@contoso.example:5061", "sip:alice@contoso.example"),
            ("contoso.example", "sip:contoso.example"),
            ("contoso.example:5061", "sip:contoso.example"),
            ("jorg@münchen.example", "sip:jorg@xn--mnchen-3ya.example"),
        ] {
            assert_eq!(uri(written).as_deref(), Ok(read), "{written}");
        }
        let party = party("sip:Alice@contoso.example").unwrap();
        assert_eq!((party.user.as_str(), party.domain.as_str()), ("Alice", "contoso.example"));
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_reason() {
        for (written, why) in [
            ("sip:alice", "names no domain: expected a full name with at least one dot"),
            ("sip:bob@192.0.2.7", "names no domain: expected a name, not an address"),
            ("tel:+498912345", "is no sip URI: tel URIs are not routed"),
            (
                "sip:jörg@contoso.example",
                "is no sip URI: its user part has a character that must be escaped (%C3%B6)",
            ),
        ] {
            assert_eq!(uri(written), Err(format!("`{written}` {why}")));
        }
        for written in ["", "sip:", "sip:a\r\nb@contoso.example", "sip:a@[2001:db8::1]:5061", "@"] {
            assert!(uri(written).is_err(), "{written:?}");
        }
    }
}
