//! What a proxy must know to be well formed before it forwards (RFC 3261 section 16.3).

use super::fault::SyntaxFault;
use super::message::{Message, TopVia};
use super::method::Method;
use super::name::{HeaderName, ONCE, REQUIRED};
use super::name_addr::NameAddr;
use super::uri::{Scheme, Uri};
use crate::limits;

/// What had to be read to check a message, so that nobody reads it again.
#[derive(Clone, Debug)]
pub struct Essentials<'a> {
    /// The Request-URI; `None` in a response.
    pub uri: Option<Uri<'a>>,
    /// The first Via value.
    pub top_via: TopVia<'a>,
    /// From.
    pub from: NameAddr<'a>,
    /// The URI of From; `None` if it is none, as NEGOTIATE may have it.
    pub from_uri: Option<Uri<'a>>,
    /// To.
    pub to: NameAddr<'a>,
    /// The URI of To, likewise.
    pub to_uri: Option<Uri<'a>>,
    /// Max-Forwards, if there is one.
    pub max_forwards: Option<u32>,
}

impl<'a> Message<'a> {
    /// Checks what a proxy relies on: version, the five header fields that must be there, those
    /// that may be there once, first Via, From, To, CSeq, Max-Forwards, the Request-URI, and that
    /// the method of CSeq is the request's.
    ///
    /// Everything else is the business of the ends (RFC 3261 section 16.3: a proxy does not
    /// refuse what it has no need to understand).
    /// # Errors
    /// The first fault found, in the order in which it would be answered.
    pub fn verify(&self) -> Result<(), SyntaxFault> {
        self.essentials().map(drop)
    }

    /// Checks what [`Message::verify`] checks, and returns what was read to do so.
    /// # Errors
    /// The same.
    pub fn essentials(&self) -> Result<Essentials<'a>, SyntaxFault> {
        if let Some(fault) = self.scan_fault() {
            return Err(fault);
        }
        self.verify_presence()?;
        let uri = if self.method().is_some() { Some(self.verify_request_uri()?) } else { None };
        let top_via = self.top_via()?;
        let (from, to) = (self.from()?, self.to()?);
        // COMPAT(Lync 2010 and later): NEGOTIATE is between two transports and may name nobody.
        let (from_uri, to_uri) = (Uri::parse(from.uri).ok(), Uri::parse(to.uri).ok());
        if self.method() != Some(Method::Negotiate) {
            from_uri.ok_or(SyntaxFault::From)?;
            to_uri.ok_or(SyntaxFault::To)?;
        }
        let cseq = self.cseq()?;
        if self.method().is_some() && cseq.method != self.method_token() {
            return Err(SyntaxFault::CSeqMethod);
        }
        let max_forwards = self.max_forwards()?;
        self.verify_depth(HeaderName::Via, limits::SIP_VIAS_MAX, SyntaxFault::TooManyVias)?;
        self.verify_depth(HeaderName::Route, limits::SIP_ROUTES_MAX, SyntaxFault::TooManyRoutes)?;
        Ok(Essentials { uri, top_via, from, from_uri, to, to_uri, max_forwards })
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

    fn verify_request_uri(&self) -> Result<Uri<'a>, SyntaxFault> {
        let uri = Uri::parse(self.uri()).map_err(|_| SyntaxFault::RequestUri)?;
        if uri.scheme == Scheme::Other {
            return Err(SyntaxFault::Scheme);
        }
        if !uri.headers.is_empty() {
            return Err(SyntaxFault::RequestUriHeaders);
        }
        Ok(uri)
    }

    /// Counts values only as far as the bound.
    fn verify_depth(
        &self,
        name: HeaderName,
        max: usize,
        fault: SyntaxFault,
    ) -> Result<(), SyntaxFault> {
        if self.values(name).nth(max).is_some() {
            return Err(fault);
        }
        Ok(())
    }
}
