//! What a proxy must know to be well formed before it forwards (RFC 3261 section 16.3).

use super::fault::SyntaxFault;
use super::message::{CSeq, Message, TopVia};
use super::method::Method;
use super::name::{HeaderName, ONCE, REQUIRED};
use super::name_addr::NameAddr;
use super::uri::{Scheme, Uri};
use crate::limits;

/// What [`Message::check`] read on its way, so that nobody reads it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Essentials<'a> {
    /// The first Via value.
    pub top_via: TopVia<'a>,
    /// From.
    pub from: NameAddr<'a>,
    /// The URI in From; `None` only where a NEGOTIATE names nobody.
    pub from_uri: Option<Uri<'a>>,
    /// To.
    pub to: NameAddr<'a>,
    /// The URI in To; `None` only where a NEGOTIATE names nobody.
    pub to_uri: Option<Uri<'a>>,
    /// The Request-URI; `None` in a response.
    pub request_uri: Option<Uri<'a>>,
    /// CSeq.
    pub cseq: CSeq<'a>,
    /// Max-Forwards, if there is one.
    pub max_forwards: Option<u32>,
}

impl<'a> Message<'a> {
    /// Checks what [`Message::check`] checks, for callers that need only the verdict.
    /// # Errors
    /// As [`Message::check`].
    pub fn verify(&self) -> Result<(), SyntaxFault> {
        self.check().map(|_| ())
    }

    /// Checks what a proxy relies on, and returns it: version, the five header fields that must
    /// be there, those that may be there once, first Via, From, To, CSeq, Max-Forwards, the
    /// Request-URI, and that the method of CSeq is the request's.
    ///
    /// Everything else is the business of the ends (RFC 3261 section 16.3: a proxy does not
    /// refuse what it has no need to understand).
    /// Hot: once per message. Bench `sip_verify/message_700`.
    /// # Errors
    /// The first fault found, in the order in which it would be answered.
    pub fn check(&self) -> Result<Essentials<'a>, SyntaxFault> {
        if let Some(fault) = self.scan_fault() {
            return Err(fault);
        }
        self.verify_presence()?;
        let request_uri = match self.method() {
            Some(_) => Some(self.read_request_uri()?),
            None => None,
        };
        let top_via = self.top_via()?;
        let (from, to) = (self.from()?, self.to()?);
        // COMPAT(Lync 2010 and later): NEGOTIATE is between two transports and may name nobody.
        let may_be_nobody = self.method() == Some(Method::Negotiate);
        let read = |address: &NameAddr<'a>, fault| match Uri::parse(address.uri) {
            Ok(uri) => Ok(Some(uri)),
            Err(_) if may_be_nobody => Ok(None),
            Err(_) => Err(fault),
        };
        let from_uri = read(&from, SyntaxFault::From)?;
        let to_uri = read(&to, SyntaxFault::To)?;
        let cseq = self.cseq()?;
        if self.method().is_some() && cseq.method != self.method_token() {
            return Err(SyntaxFault::CSeqMethod);
        }
        let max_forwards = self.max_forwards()?;
        self.verify_depth(HeaderName::Via, limits::SIP_VIAS_MAX, SyntaxFault::TooManyVias)?;
        self.verify_depth(HeaderName::Route, limits::SIP_ROUTES_MAX, SyntaxFault::TooManyRoutes)?;
        Ok(Essentials { top_via, from, from_uri, to, to_uri, request_uri, cseq, max_forwards })
    }

    fn verify_presence(&self) -> Result<(), SyntaxFault> {
        let seen = self.table().seen();
        if seen & REQUIRED != REQUIRED {
            let missing = [
                HeaderName::Via,
                HeaderName::From,
                HeaderName::To,
                HeaderName::CallId,
                HeaderName::CSeq,
            ];
            let name = missing.into_iter().find(|name| seen & name.bit() == 0);
            return Err(SyntaxFault::Missing(name.unwrap_or(HeaderName::Other)));
        }
        let repeated = self.table().repeated() & ONCE;
        if repeated != 0 {
            let again = self.fields().map(|field| field.name).find(|n| repeated & n.bit() != 0);
            return Err(SyntaxFault::Repeated(again.unwrap_or(HeaderName::Other)));
        }
        if self.call_id().is_empty() {
            return Err(SyntaxFault::Missing(HeaderName::CallId));
        }
        Ok(())
    }

    fn read_request_uri(&self) -> Result<Uri<'a>, SyntaxFault> {
        let uri = Uri::parse(self.uri()).map_err(|_| SyntaxFault::RequestUri)?;
        if uri.scheme == Scheme::Other {
            return Err(SyntaxFault::Scheme);
        }
        if !uri.headers.is_empty() {
            return Err(SyntaxFault::RequestUriHeaders);
        }
        Ok(uri)
    }

    /// Counts values only where there is room for too many, and only as far as the bound.
    fn verify_depth(
        &self,
        name: HeaderName,
        max: usize,
        fault: SyntaxFault,
    ) -> Result<(), SyntaxFault> {
        if self.values_max(name) > max && self.values(name).nth(max).is_some() {
            return Err(fault);
        }
        Ok(())
    }
}
