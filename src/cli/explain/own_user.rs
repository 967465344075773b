//! What the own user of a message may do beyond the organisation, and where that is said.

use serde::Serialize;

use super::{Direction, Party, marks};
use crate::policy::users::{Gate, Granted, Home, MarksCount, Role};
use crate::policy::{Decision, PartnerKind};
use crate::sip::Uri;

/// The own user of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct OwnUser {
    uri: String,
    /// `sender` or `recipient`.
    role: &'static str,
    /// `file:line` of the user; nowhere: he has what everybody has.
    named_at: Option<String>,
    /// `pool` or `branch_appliance`.
    home: &'static str,
    /// The policy that wins for him.
    policy: Option<PolicyShown>,
    pub(super) gates: Vec<GateShown>,
    /// What the marks of inner servers can change, and did.
    marks: Option<String>,
}

/// The policy that wins for a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct PolicyShown {
    name: String,
    /// `user`, `site` or `all`.
    granted: &'static str,
    place: String,
}

/// One thing that a policy opens or closes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct GateShown {
    gate: &'static str,
    what: &'static str,
    pub(super) open: bool,
    /// It is what this message needs.
    pub(super) asked: bool,
    /// Why, as the edge says it.
    pub(super) why: String,
    /// The policy's place, where one decided.
    pub(super) place: Option<String>,
}

/// Returns the user of ours that a message is from or for; `None` where there is none.
pub(super) fn of(case: &super::Case<'_>, policy: &Decision) -> Option<OwnUser> {
    let (party, role): (&Party, Role) = match case.direction {
        Direction::In => (case.to, Role::Recipient),
        Direction::Out | Direction::User => (case.from, Role::Sender),
    };
    if party.user.is_empty() || !case.snapshot.is_own(party.domain.as_str().as_bytes()) {
        return None;
    }
    let directory = case.snapshot.directory();
    let uri = Uri::parse(party.uri.as_bytes()).ok()?;
    let (user, host) = (uri.user_unescaped(), uri.host);
    let user: &[u8] = &user;
    let standing = directory.standing(user, host);
    let policy_shown = standing.policy.map(|grant| PolicyShown {
        name: grant.name.to_owned(),
        granted: match grant.granted {
            Granted::ToUser => "user",
            Granted::ToSite => "site",
            Granted::ToAll => "all",
        },
        place: place(case, &format!("external_access_policy[{}]", grant.index)),
    });
    // Inner servers mark what they send, and nothing else.
    let outward = case.direction == Direction::Out;
    let marks = if outward { marks(&case.args.mark) } else { marks(&[]) };
    let asked = asked(case, policy);
    let gates = Gate::ALL.map(|gate| {
        let judged = directory.judge(user, host, gate, role, marks);
        let closed_at = judged.as_ref().err().and_then(|closed| closed.place());
        let by_policy = policy_shown.as_ref().filter(|_| judged.is_ok());
        GateShown {
            gate: label(gate),
            what: gate.what(),
            open: judged.is_ok(),
            asked: asked == Some(gate),
            why: match (&judged, by_policy) {
                (Err(closed), _) => closed.sentence(),
                (Ok(()), Some(policy)) => format!("{} opens {}", policy.told(), gate.what()),
                (Ok(()), None) => "no external access policy: open".to_owned(),
            },
            place: match closed_at {
                Some(closed) => Some(place(case, &closed)),
                None => by_policy.map(|policy| policy.place.clone()),
            },
        }
    });
    Some(OwnUser {
        uri: party.uri.clone(),
        role: if role == Role::Sender { "sender" } else { "recipient" },
        named_at: case.config.whereabouts_of_user(&String::from_utf8_lossy(user), &party.domain),
        home: match standing.home {
            Home::Pool => "pool",
            Home::BranchAppliance => "branch_appliance",
        },
        policy: policy_shown,
        gates: gates.to_vec(),
        marks: outward.then(|| told_of_marks(directory.marks_count()).to_owned()),
    })
}

fn place(case: &super::Case<'_>, key: &str) -> String {
    format!("{key}, {}", case.config.source.whereabouts(key))
}

/// Returns the gate that the edge looks at for this message, as far as that is known.
fn asked(case: &super::Case<'_>, policy: &Decision) -> Option<Gate> {
    let Decision::Permit(permit) = policy else { return None };
    Some(match (case.direction, permit.kind()) {
        (Direction::User, _) => Gate::Outside,
        (_, PartnerKind::PublicProvider) if case.args.audio => Gate::PublicAv,
        (_, PartnerKind::PublicProvider) => Gate::PublicIm,
        _ => Gate::Federation,
    })
}

const fn label(gate: Gate) -> &'static str {
    match gate {
        Gate::Federation => "federation",
        Gate::Xmpp => "xmpp",
        Gate::PublicIm => "public_im",
        Gate::PublicAv => "public_av",
        Gate::Outside => "outside",
    }
}

const fn told_of_marks(count: MarksCount) -> &'static str {
    match count {
        MarksCount::Decide => {
            "a mark of an inner server (ms-user-data) wins over the policy: --mark"
        }
        MarksCount::Restrict => "a mark of an inner server (ms-user-data) can close more: --mark",
        MarksCount::Ignore => "marks of inner servers do not count (users.marks)",
    }
}

impl PolicyShown {
    fn told(&self) -> String {
        let name = &self.name;
        match self.granted {
            "user" => format!("the policy {name}, granted to this user,"),
            "site" => format!("the policy {name} of this user's site"),
            _ => format!("the policy {name} of all users"),
        }
    }
}

impl OwnUser {
    /// Returns what the message needs, and whether it is open; `None` while DNS decides that.
    pub(super) fn gate(&self) -> Option<&GateShown> {
        self.gates.iter().find(|gate| gate.asked)
    }

    /// Returns why no partner of any kind may have this user's messages, where that is so.
    pub(super) fn closed_to_all(&self) -> Option<&GateShown> {
        let of = |label| self.gates.iter().find(|gate| gate.gate == label);
        let (federation, public_im) = (of("federation")?, of("public_im")?);
        (!federation.open && !public_im.open).then_some(federation)
    }

    /// Returns all of it, a line each.
    pub(super) fn lines(&self) -> Vec<String> {
        let named = match &self.named_at {
            Some(place) => format!("named at {place}"),
            None => "named nowhere".to_owned(),
        };
        let homed = match self.home {
            "pool" => "",
            _ => ", homed on a survivable branch appliance",
        };
        let mut lines = vec![format!("{}, the {}: {named}{homed}", self.uri, self.role)];
        match &self.policy {
            Some(policy) => {
                let told = policy.told();
                lines.push(format!("{} ({})", told.trim_end_matches(','), policy.place));
            }
            None => lines.push("no external access policy: all gates stand open".to_owned()),
        }
        let of = |open: bool| -> String {
            let gates = self.gates.iter().filter(|gate| gate.open == open);
            gates.map(|gate| gate.what).collect::<Vec<_>>().join(", ")
        };
        let (open, closed) = (of(true), of(false));
        if !closed.is_empty() {
            lines.push(if open.is_empty() {
                "all gates are closed".to_owned()
            } else {
                format!("open: {open}")
            });
            lines.push(format!("closed: {closed}"));
        }
        lines.extend(self.marks.clone());
        lines
    }
}
