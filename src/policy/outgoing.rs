//! What partners are told beyond the messages themselves, and what they are not.

/// What is said of our users, of our archive, and of the inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Senders are marked as verified (`MarkSourceVerifiableOnOutgoingMessages`).
    pub mark_verifiable: bool,
    /// Messages carry a notice that they may be archived (`EnableArchivingDisclaimer`).
    pub archiving_notice: Option<ArchivingNotice>,
    /// Partners see no Via and no Record-Route of the inside.
    pub hide_topology: bool,
}

impl Default for Outgoing {
    fn default() -> Self {
        Self { mark_verifiable: true, archiving_notice: None, hide_topology: false }
    }
}

/// The line that tells a partner's client of our archive, with its CRLF.
///
/// No document names the header, so both name and value are the operator's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivingNotice(String);

impl ArchivingNotice {
    /// Returns the line; `None` if `name` is no header name or `value` would not stay in its line.
    #[must_use]
    pub fn new(name: &str, value: &str) -> Option<Self> {
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
        let named = !name.is_empty() && name.bytes().all(in_name);
        let one_line = !value.trim().is_empty() && !value.chars().any(char::is_control);
        (named && one_line).then(|| Self(format!("{name}: {}\r\n", value.trim())))
    }

    /// Returns the line as it is written.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_is_one_line_and_cannot_be_two() {
        let notice = ArchivingNotice::new("X-Archived", " may be archived ").unwrap();
        assert_eq!(notice.line(), b"X-Archived: may be archived\r\n");
        for (name, value) in
            [("", "x"), ("X Y", "x"), ("X:", "x"), ("X", ""), ("X", "a\r\nVia: b"), ("X", "a\0")]
        {
            assert_eq!(ArchivingNotice::new(name, value), None, "{name:?} {value:?}");
        }
    }
}
