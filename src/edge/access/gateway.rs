//! Messages and presence of own users to XMPP partners: by way of the gateway, which is a next hop,
//! or by SIP federation where the domain is a partner there too (`xmpp_partner.prefer`).
//!
//! The edge pushes no Record-Route here: gateway and next hop are both inside and reach each other,
//! so what follows in a dialog does not come this way again, and a dialog stays on the side where
//! it began.

use super::Access;
use super::diagnostics::Fault;
use super::headers::Crossing;
use super::outlet::GroupId;
use super::screen::{Admission, Egress, Parts, Plan, Stop, forms_dialog};
use super::toll::offers_media;
use super::transaction::Stamp;
use crate::edge::Effects;
use crate::policy::{PartnerKey, PartnerKind, Preferred};
use crate::sip::{HeaderName, Message, Method};
use crate::time::Now;

impl Access {
    /// Finds the way of a request out: by SIP, or by the gateway where the domain is an XMPP
    /// partner and the request something that XMPP knows.
    ///
    /// Where there are two ways, the preferred one is taken unless it leads nowhere: policy refuses
    /// it, DNS has no answer, or its last attempts to connect failed.
    pub(super) fn screen_out(
        &mut self,
        now: Now,
        message: &Message<'_>,
        parts: &Parts<'_>,
        to: &[u8],
        effects: &mut Effects,
    ) -> Result<Plan, Stop> {
        let begins = !parts.in_dialog && self.snapshot.is_own(parts.from_host);
        let preferred =
            if begins && crosses_to_xmpp(message) { self.snapshot.xmpp_way(now, to) } else { None };
        match preferred {
            None => self.by_sip(now, message, parts, to, effects),
            Some(Preferred::Xmpp) => match self.by_gateway(now, message, parts) {
                Err(Stop::Refuse(no_gateway)) => {
                    match self.by_sip(now, message, parts, to, effects) {
                        // Why the way that was meant does not work says more.
                        Err(Stop::Refuse(_)) => Err(no_gateway.into()),
                        other => other,
                    }
                }
                other => other,
            },
            Some(Preferred::Sip) => {
                let by_sip = self.by_sip(now, message, parts, to, effects);
                let by_sip = by_sip.and_then(|plan| self.reaches(now, message, plan));
                match by_sip {
                    Err(Stop::Refuse(no_sip)) => match self.by_gateway(now, message, parts) {
                        Err(Stop::Refuse(_)) => Err(no_sip.into()),
                        other => other,
                    },
                    other => other,
                }
            }
        }
    }

    fn by_sip(
        &mut self,
        now: Now,
        message: &Message<'_>,
        parts: &Parts<'_>,
        to: &[u8],
        effects: &mut Effects,
    ) -> Result<Plan, Stop> {
        let (admission, group) = self.admit_outbound(now, parts.from_host, to, effects)?;
        Ok(Plan {
            crossing: Crossing::InsideToPartner,
            egress: Egress::Group(group),
            admission,
            dialog_forming: forms_dialog(message, parts.in_dialog),
            by_token: parts.good(),
            places: parts.places,
            score: None,
        })
    }

    fn by_gateway(
        &mut self,
        now: Now,
        message: &Message<'_>,
        parts: &Parts<'_>,
    ) -> Result<Plan, Stop> {
        let hop = self.snapshot.gateway_hop().ok_or_else(Fault::no_next_hop)?;
        let group = self.next_hop_group(now, hop)?;
        self.explain(|| "XMPP partner, by way of the gateway".to_owned());
        let plan = Plan {
            crossing: Crossing::InsideToGateway,
            egress: Egress::Group(group),
            admission: Admission {
                partner: PartnerKey::NextHop,
                kind: PartnerKind::AllowedDomain,
                audio_video: true,
                minds_revocation: false,
                stamp: Stamp::default(),
                connection: None,
                decision: 0,
            },
            dialog_forming: false,
            by_token: false,
            places: parts.places,
            score: None,
        };
        self.reaches(now, message, plan)
    }

    /// Refuses a way whose connections have failed, as forwarding would.
    fn reaches(&self, now: Now, message: &Message<'_>, plan: Plan) -> Result<Plan, Stop> {
        let admits = |group: GroupId| self.group_admits(now, group, message.raw().len());
        match plan.egress {
            Egress::Group(group) => admits(group)?,
            Egress::Flow { .. } => {}
        }
        Ok(plan)
    }
}

/// Tells whether XMPP has something like this request that begins something: a message, a session
/// of messages, or a subscription to presence.
fn crosses_to_xmpp(message: &Message<'_>) -> bool {
    match message.method() {
        Some(Method::Message) => true,
        Some(Method::Invite) => !offers_media(message),
        Some(Method::Subscribe) => message.first(HeaderName::Event).is_some_and(|event| {
            let package = event.value.split(|byte| *byte == b';').next().unwrap_or_default();
            package.trim_ascii().eq_ignore_ascii_case(b"presence")
        }),
        _ => false,
    }
}
