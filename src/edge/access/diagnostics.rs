//! The one table from what went wrong to what goes on the wire: SIP status, reason phrase and
//! `ms-diagnostics` (wire-protocols A.10).

use std::borrow::Cow;

use crate::dns::Failure;
use crate::edge::{ConnectFailure, RefusedBy};
use crate::policy::users::Closed;
use crate::policy::{Refusal, RefusalRule, SourceNetwork};
use crate::sip::{FramingFault, HeaderName, Message, SyntaxFault};

/// An answer of the edge itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
    /// ErrorId of `ms-diagnostics`; 0 for none.
    pub(crate) diagnostics: u16,
    /// For the log, and for the inside; no user parts of addresses.
    pub(crate) sentence: String,
    /// Whole header lines that the status demands: `Retry-After`, `Unsupported`, `Allow`.
    pub(crate) headers: Cow<'static, [u8]>,
    pub(crate) blame: Blame,
    /// Number of the decision, where it has one before it is answered; 0: it gets one then.
    pub(crate) decision: u64,
    /// The rule of policy that refuses, where one does.
    pub(crate) rule: Option<RefusalRule>,
    /// What refused after policy had let the domains pass.
    pub(crate) by: Option<RefusedBy>,
}

/// Who reads an answer of the edge, with the name by which he knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader<'a> {
    /// Our own servers and users, who may know why.
    Inside(&'a str),
    /// A partner, who gets no inner name and no sentence.
    Outside(&'a str),
}

/// Whose fault it is; chooses the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    Syntax,
    Policy,
    Rate,
    Overload,
    Unreachable,
}

/// Who is at the other end of what failed; the codes differ by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FarEnd {
    /// A next hop, or a user of ours.
    Inside,
    Partner,
    /// A public instant messaging service.
    PublicProvider,
}

impl FarEnd {
    pub(crate) const fn of_network(network: SourceNetwork) -> Self {
        match network {
            SourceNetwork::Federation => Self::Partner,
            SourceNetwork::PublicCloud => Self::PublicProvider,
        }
    }

    /// Returns the code of three that is this one's.
    const fn code(self, [inside, partner, public]: [u16; 3]) -> u16 {
        match self {
            Self::Inside => inside,
            Self::Partner => partner,
            Self::PublicProvider => public,
        }
    }
}

/// Longest `Retry-After` told to a partner beyond its limits; they may have changed by then.
const RETRY_AFTER_S_MAX: u64 = 3_600;

impl Fault {
    pub(crate) fn new(
        status: u16,
        reason: &'static str,
        diagnostics: u16,
        blame: Blame,
        sentence: &str,
    ) -> Self {
        Self {
            status,
            reason,
            diagnostics,
            sentence: sentence.to_owned(),
            headers: Cow::Borrowed(b""),
            blame,
            decision: 0,
            rule: None,
            by: None,
        }
    }

    /// Returns this fault with header lines that its status demands.
    pub(crate) fn with_headers(mut self, lines: &'static [u8]) -> Self {
        self.headers = Cow::Borrowed(lines);
        self
    }

    /// Returns this fault as the answer to the decision with this number.
    pub(crate) const fn decided(mut self, decision: u64) -> Self {
        self.decision = decision;
        self
    }

    /// Returns this fault as one that does not follow from the domains alone.
    pub(crate) const fn by(mut self, by: RefusedBy) -> Self {
        self.by = Some(by);
        self
    }

    pub(crate) fn syntax(fault: &SyntaxFault) -> Self {
        let status = fault.status();
        let reason = match status {
            416 => "Unsupported URI Scheme",
            505 => "Version Not Supported",
            513 => "Message Too Large",
            _ => "Bad Request",
        };
        Self::new(status, reason, 1018, Blame::Syntax, fault.reason())
    }

    pub(crate) fn framing(fault: FramingFault) -> Self {
        let sentence = "where the next message begins cannot be known";
        Self::new(fault.status(), fault.reason(), 1018, Blame::Syntax, sentence)
    }

    pub(crate) fn policy(refusal: &Refusal) -> Self {
        let (status, reason) = (refusal.status(), refusal.reason());
        let sentence = refusal.sentence();
        let fault = Self::new(status, reason, refusal.diagnostics(), Blame::Policy, &sentence);
        Self { rule: Some(refusal.rule()), ..fault }
    }

    /// A provider whose entry lets no audio and video pass.
    pub(crate) fn no_media() -> Self {
        let sentence = "audio and video do not pass between this provider and us";
        Self::new(488, "Not Acceptable Here", 0, Blame::Policy, sentence).by(RefusedBy::Message)
    }

    /// One of our users may not.
    pub(crate) fn user(closed: &Closed) -> Self {
        Self::new(
            closed.status(),
            closed.reason(),
            closed.diagnostics(),
            Blame::Policy,
            &closed.sentence(),
        )
        .by(RefusedBy::User)
    }

    pub(crate) fn too_many_hops() -> Self {
        Self::new(483, "Too Many Hops", 0, Blame::Syntax, "Max-Forwards has reached 0")
    }

    pub(crate) fn loop_detected() -> Self {
        Self::new(482, "Loop Detected", 0, Blame::Syntax, "the request came back unchanged")
    }

    /// RFC 3261 section 16.3 step 5: the tags are named in `Unsupported`.
    pub(crate) fn bad_extension(message: &Message<'_>) -> Self {
        let mut line = b"Unsupported: ".to_vec();
        for (at, field) in message.all(HeaderName::ProxyRequire).enumerate() {
            line.extend_from_slice(if at == 0 { b"" } else { b", " });
            line.extend(field.value.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
        }
        line.extend_from_slice(b"\r\n");
        let sentence = "Proxy-Require asks for an extension that the edge does not have";
        let fault = Self::new(420, "Bad Extension", 0, Blame::Syntax, sentence);
        Self { headers: Cow::Owned(line), ..fault }
    }

    pub(crate) fn scheme() -> Self {
        let sentence = "only sip and sips URIs are routed";
        Self::new(416, "Unsupported URI Scheme", 0, Blame::Syntax, sentence)
    }

    pub(crate) fn not_a_domain() -> Self {
        let sentence = "the host of From or To is no domain name";
        Self::new(403, "Forbidden", 1012, Blame::Policy, sentence)
    }

    pub(crate) fn unknown_user() -> Self {
        let sentence = "a request from inside for one of our own domains, without a flow";
        Self::new(404, "Not Found", 1003, Blame::Policy, sentence)
    }

    pub(crate) fn no_next_hop() -> Self {
        let sentence = "no next hop is configured for this domain";
        Self::new(504, "Server Time-out", 1005, Blame::Unreachable, sentence)
    }

    pub(crate) fn method(sentence: &str) -> Self {
        Self::new(403, "Forbidden", 1027, Blame::Policy, sentence)
    }

    pub(crate) fn compression_declined() -> Self {
        Self::new(488, "Not Acceptable Here", 0, Blame::Policy, "compression is not offered")
    }

    pub(crate) fn not_for_us() -> Self {
        Self::new(
            403,
            "Forbidden",
            1005,
            Blame::Policy,
            "neither the Request-URI nor a valid route token leads to this organisation",
        )
    }

    pub(crate) fn dead_dialog() -> Self {
        Self::new(
            481,
            "Call Leg/Transaction Does Not Exist",
            1004,
            Blame::Policy,
            "the route token does not belong to this dialog",
        )
    }

    pub(crate) fn no_transaction() -> Self {
        Self::new(
            481,
            "Call Leg/Transaction Does Not Exist",
            0,
            Blame::Syntax,
            "no transaction matches the CANCEL",
        )
    }

    pub(crate) fn flow_failed() -> Self {
        Self::new(430, "Flow Failed", 0, Blame::Unreachable, "this edge does not have the flow")
    }

    pub(crate) fn too_fast() -> Self {
        let fault = Self::new(
            480,
            "Temporarily Unavailable",
            1007,
            Blame::Rate,
            "the rate or quota of this peer is used up",
        );
        Self { headers: Cow::Borrowed(b"Retry-After: 5\r\n"), ..fault }
    }

    /// A partner beyond its rate, whose message would have to be held for too long.
    pub(crate) fn beyond_rate(wait_ms: u64) -> Self {
        let sentence = "the partner sends more messages than its limit allows";
        Self::limited(sentence, wait_ms.div_ceil(1000))
    }

    /// A partner that has addressed as many local users as it may.
    pub(crate) fn one_user_too_many(wait_s: u64) -> Self {
        let sentence = "the partner addresses more local users than its limit allows";
        Self::limited(sentence, wait_s)
    }

    fn limited(sentence: &str, wait_s: u64) -> Self {
        let fault = Self::new(480, "Temporarily Unavailable", 1007, Blame::Rate, sentence);
        let line = format!("Retry-After: {}\r\n", wait_s.clamp(1, RETRY_AFTER_S_MAX));
        Self { headers: Cow::Owned(line.into_bytes()), ..fault }.by(RefusedBy::Limit)
    }

    pub(crate) fn sign_ins() -> Self {
        let fault = Self::new(
            403,
            "Forbidden",
            4003,
            Blame::Rate,
            "too many failed sign-ins from this source or for this user",
        );
        Self { headers: Cow::Borrowed(b"Retry-After: 60\r\n"), ..fault }
    }

    pub(crate) fn overload() -> Self {
        let fault = Self::new(
            503,
            "Service Unavailable",
            1007,
            Blame::Overload,
            "every transaction slot of this edge is taken",
        );
        Self { headers: Cow::Borrowed(b"Retry-After: 5\r\n"), ..fault }
    }

    pub(crate) fn draining() -> Self {
        let fault =
            Self::new(503, "Service Unavailable", 0, Blame::Overload, "this edge is draining");
        Self { headers: Cow::Borrowed(b"Retry-After: 30\r\n"), ..fault }
    }

    pub(crate) fn partner_full() -> Self {
        Self::new(
            504,
            "Server Time-out",
            1007,
            Blame::Unreachable,
            "as much as may wait for this peer is waiting already",
        )
    }

    pub(crate) fn no_answer_in_time() -> Self {
        Self::new(
            504,
            "Server Time-out",
            1007,
            Blame::Unreachable,
            "no connection within the time a message may wait",
        )
    }

    pub(crate) fn lost_after_write() -> Self {
        Self::new(
            504,
            "Server Time-out",
            1038,
            Blame::Unreachable,
            "the connection was lost after the request had been written",
        )
    }

    pub(crate) fn out_of_service(far_end: FarEnd) -> Self {
        Self::new(
            504,
            "Server Time-out",
            far_end.code([1041, 1042, 1043]),
            Blame::Unreachable,
            "every target of the peer is out of service",
        )
    }

    pub(crate) fn invite_timeout() -> Self {
        Self::new(408, "Request Timeout", 0, Blame::Unreachable, "no final answer came in time")
    }

    pub(crate) fn cancelled() -> Self {
        Self::new(487, "Request Terminated", 0, Blame::Unreachable, "cancelled before it was sent")
    }

    pub(crate) fn connect(why: ConnectFailure, far_end: FarEnd) -> Self {
        let (code, sentence) = match why {
            ConnectFailure::Unreachable => {
                let code = far_end.code([1038, 1039, 1040]);
                (code, "no address of the peer accepts a connection")
            }
            ConnectFailure::TlsFailed => {
                (far_end.code([1046, 1047, 1048]), "TLS could not be agreed with the peer")
            }
            ConnectFailure::CertificateUntrusted => (1010, "the peer's certificate is not trusted"),
            ConnectFailure::CertificateNameMismatch => {
                (1010, "the peer's certificate does not carry the name that was expected")
            }
            ConnectFailure::Exhausted => (1044, "no descriptor is left for an outgoing connection"),
        };
        Self::new(504, "Server Time-out", code, Blame::Unreachable, sentence)
    }

    pub(crate) fn dns(failure: Failure) -> Self {
        let (code, sentence) = match failure {
            Failure::NoSuchService | Failure::ServiceRefused => {
                (1008, "the domain has no federation SRV record")
            }
            Failure::NoAddress => (1014, "the name has no address"),
            Failure::ServerFailure => (1008, "the name server failed"),
            Failure::Timeout => (1008, "the name server did not answer in time"),
        };
        Self::new(504, "Server Time-out", code, Blame::Unreachable, sentence)
    }

    /// Appends the line that says why and under which number, which is also in the log.
    ///
    /// Inside gets the sentence and our name; outside the public form, which carries neither
    /// (wire-protocols A.10). What has no ErrorId says it in a `Warning` (RFC 3261 section 20.43),
    /// so that every refusal has its number.
    pub(crate) fn write_diagnostics(&self, reader: Reader<'_>, decision: u64, out: &mut Vec<u8>) {
        let (header, reason, source) = match reader {
            Reader::Inside(name) => ("ms-diagnostics", self.sentence.as_str(), name),
            Reader::Outside(name) => ("ms-diagnostics-public", self.reason, name),
        };
        if self.diagnostics == 0 {
            out.extend_from_slice(format!("Warning: 399 {source} \"").as_bytes());
            push_quotable(reason, out);
            out.extend_from_slice(format!("; decision={decision:016x}\"\r\n").as_bytes());
            return;
        }
        out.extend_from_slice(format!("{header}: {};reason=\"", self.diagnostics).as_bytes());
        push_quotable(reason, out);
        out.push(b'"');
        if let Reader::Inside(source) = reader {
            out.extend_from_slice(format!(";source=\"{source}\"").as_bytes());
        }
        out.extend_from_slice(format!(";decision=\"{decision:016x}\"\r\n").as_bytes());
    }
}

/// Appends what may stand between quotes; what could end them is left out.
fn push_quotable(text: &str, out: &mut Vec<u8>) {
    out.extend(text.bytes().filter(|byte| !matches!(byte, b'"' | b'\\' | b'\r' | b'\n')));
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSIDE: Reader<'_> = Reader::Inside("lsedge.contoso.example");
    const OUTSIDE: Reader<'_> = Reader::Outside("sip.contoso.example");

    fn written(fault: &Fault, reader: Reader<'_>, decision: u64) -> String {
        let mut out = Vec::new();
        fault.write_diagnostics(reader, decision, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_public_form_carries_no_source_and_no_sentence() {
        assert_eq!(
            written(&Fault::not_for_us(), OUTSIDE, 7),
            "ms-diagnostics-public: 1005;reason=\"Forbidden\";decision=\"0000000000000007\"\r\n"
        );
    }

    #[test]
    fn the_inner_form_names_the_edge_and_says_why() {
        let text = written(&Fault::partner_full(), INSIDE, 1);
        assert!(text.starts_with("ms-diagnostics: 1007;reason=\"as much as may wait"));
        assert!(text.contains(";source=\"lsedge.contoso.example\";"));
    }

    #[test]
    fn s20_43_what_has_no_error_id_carries_its_decision_in_a_warning() {
        assert_eq!(
            written(&Fault::loop_detected(), OUTSIDE, 7),
            "Warning: 399 sip.contoso.example \"Loop Detected; decision=0000000000000007\"\r\n"
        );
        assert_eq!(
            written(&Fault::too_many_hops(), INSIDE, 7),
            "Warning: 399 lsedge.contoso.example \"Max-Forwards has reached 0; \
             decision=0000000000000007\"\r\n"
        );
    }

    #[test]
    fn a_sentence_cannot_break_out_of_its_quotes() {
        let fault = Fault { sentence: "a\"b\r\nc\\".to_owned(), ..Fault::not_for_us() };
        assert!(written(&fault, INSIDE, 1).contains("reason=\"abc\""));
        let fault = Fault { diagnostics: 0, ..fault };
        assert!(written(&fault, INSIDE, 1).contains(" \"abc; decision="));
    }
}
