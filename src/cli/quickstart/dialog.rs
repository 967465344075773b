//! Dialogs as the quickstart's own servers hold them.

use anyhow::Context;

use super::message::{self, Message};

/// The far end of one's own dialog, as RFC 3261 section 12.1 defines its state.
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    /// Its Call-ID.
    pub(super) call_id: String,
    local: String,
    remote: String,
    target: String,
    routes: Vec<String>,
    sequence: u32,
}

impl Dialog {
    /// Returns the dialog that `response` gives the sender of `request`.
    pub(super) fn of_caller(request: &Message, response: &Message) -> anyhow::Result<Self> {
        let mut routes: Vec<_> =
            response.list("Record-Route").into_iter().map(str::to_owned).collect();
        routes.reverse();
        Self::new(request, response, "From", "To", response, routes)
    }

    /// Returns the dialog that `response` gives its sender.
    pub(super) fn of_callee(request: &Message, response: &Message) -> anyhow::Result<Self> {
        let routes = request.list("Record-Route").into_iter().map(str::to_owned).collect();
        Self::new(request, response, "To", "From", request, routes)
    }

    fn new(
        request: &Message,
        response: &Message,
        local: &str,
        remote: &str,
        target: &Message,
        routes: Vec<String>,
    ) -> anyhow::Result<Self> {
        let owned = |name: &str| {
            let value =
                response.header(name).with_context(|| format!("a response without {name}"))?;
            anyhow::Ok(value.to_owned())
        };
        let contact = target.header("Contact").context("a dialog without a Contact")?;
        let sequence = request.header("CSeq").and_then(|c| c.split(' ').next()?.parse().ok());
        Ok(Self {
            call_id: owned("Call-ID")?,
            local: owned(local)?,
            remote: owned(remote)?,
            target: message::uri(contact).to_owned(),
            routes,
            sequence: sequence.unwrap_or(1),
        })
    }

    /// Begins a request inside the dialog; an ACK repeats the number of its INVITE.
    pub(super) fn request(&mut self, method: &str) -> Message {
        self.sequence += u32::from(method != "ACK");
        let mut request = Message::request(method, &self.target);
        for route in &self.routes {
            request.add("Route", route);
        }
        request.add("From", &self.local);
        request.add("To", &self.remote);
        request.add("Call-ID", &self.call_id);
        request.add("CSeq", &format!("{} {method}", self.sequence));
        request
    }
}
