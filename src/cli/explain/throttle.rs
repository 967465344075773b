//! The limits of the partner that sends, and how it stands with the edge that runs.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::{Case, Direction};
use crate::cli::ctl::{client, span};
use crate::config::Config;
use crate::config::lists::PartnerList;
use crate::policy::{Decision, Limits, PartnerKey, PartnerKind, Place};

/// Names of one partner that the running edge is asked for: domain, entry, hosts.
const NAMES_MAX: usize = 4;

/// The throttle state of a partner.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Throttle {
    /// DNS may make another partner of it, with other limits.
    pub(super) depends_on_dns: bool,
    /// `None`: it has none.
    pub(super) limits: Option<Shown>,
    /// Where they are said.
    pub(super) place: Option<String>,
    /// How the running edge has it; not asked where there are no limits.
    score: Option<Scored>,
}

/// The limits, in the words of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Shown {
    messages_per_s: u32,
    suspicious_messages_per_s: u32,
    hold_ms: u32,
    distinct_users: u32,
    distinct_users_window_s: u32,
    failed_percent: u8,
    failed_least: u32,
    failed_half_life_s: u32,
}

/// What the running edge knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Scored {
    /// The scores as the edge tells them, under each name.
    scores: Vec<Value>,
    /// Whether it might be listed, with the evidence.
    suggestions: Vec<String>,
    /// Why there are none.
    none: Option<String>,
}

/// Returns the throttle state of whoever sends from outside; `None` where nobody does, or policy
/// has nothing to do with him.
pub(super) fn of(case: &Case<'_>, policy: &Decision) -> Option<Throttle> {
    if case.direction != Direction::In {
        return None;
    }
    let (partner, kind, depends_on_dns) = match policy {
        Decision::Permit(permit) => (permit.partner(), permit.kind(), false),
        Decision::Ask(_) => {
            let (partner, kind) = prospect(case)?;
            (partner, kind, true)
        }
        Decision::Refuse(_) => return None,
    };
    let limits = case.snapshot.limits(partner, kind);
    let place = limits.map(|_| place(case.config, partner, kind));
    let score = limits.map(|_| scored(case, partner));
    Some(Throttle { depends_on_dns, limits: limits.map(shown), place, score })
}

/// Returns what the sender is unless its SRV record names a provider.
fn prospect(case: &Case<'_>) -> Option<(PartnerKey, PartnerKind)> {
    match &case.entry {
        Some(entry) if entry.exact => {
            Some((PartnerKey::Listed(entry.index), PartnerKind::AllowedDomain))
        }
        // Limits of what lies below a name are those of the kind, whatever its key is.
        Some(_) => Some((PartnerKey::Subdomain(0), PartnerKind::AllowedDomain)),
        None if case.config.federation.discovery => {
            Some((PartnerKey::Discovered(0), PartnerKind::Discovered))
        }
        None => None,
    }
}

const fn shown(limits: &Limits) -> Shown {
    Shown {
        messages_per_s: limits.messages_per_s,
        suspicious_messages_per_s: limits.suspicious_per_s,
        hold_ms: limits.hold_ms,
        distinct_users: limits.users,
        distinct_users_window_s: limits.users_window_s,
        failed_percent: limits.failed_percent,
        failed_least: limits.failed_least,
        failed_half_life_s: limits.half_life_s,
    }
}

/// Returns the entry that states the limits: the partner's own, that of its kind, or the switches.
fn place(config: &Config, partner: PartnerKey, kind: PartnerKind) -> String {
    if let PartnerKey::Listed(index) = partner
        && states_limits(config, index as usize)
    {
        let place = Place::Partner(index);
        return format!("{place}, {}", config.whereabouts(place));
    }
    let of_kind = || {
        let index = config.federation_limits.iter().position(|limit| limit.kind == kind)?;
        Some(format!("federation_limit[{index}]"))
    };
    if let Some(key) = of_kind() {
        return format!("{key}, {}", config.source.whereabouts(&key));
    }
    let key = "federation.messages_per_s";
    match config.source.says(key) {
        true => format!("{key}, {}", config.source.whereabouts(key)),
        false => format!("the defaults of [federation], {}", config.source.path.display()),
    }
}

/// Tells whether a listed partner's own entry or row states limits.
fn states_limits(config: &Config, index: usize) -> bool {
    if let Some(entry) = config.partners.get(index) {
        return entry.messages_per_s.is_some() || entry.distinct_users.is_some();
    }
    let row = |list: &PartnerList| {
        let terms = list.rows.get(index - config.partners.len())?.terms;
        let terms = list.terms.get(terms as usize)?;
        Some(terms.messages_per_s.is_some() || terms.distinct_users.is_some())
    };
    config.partner_list.as_deref().and_then(row).unwrap_or(false)
}

/// Asks the running edge, by every name the partner may count under.
fn scored(case: &Case<'_>, partner: PartnerKey) -> Scored {
    let Some(socket) = &case.config.management.socket else {
        let none = "not known: without management.socket a running edge cannot be asked";
        return Scored { none: Some(none.to_owned()), ..Scored::default() };
    };
    let mut names = vec![case.from.domain.to_string()];
    names.extend(case.snapshot.partner_domain(partner).map(str::to_owned));
    names.extend(case.peer.dns_names.iter().map(ToString::to_string));
    let mut scored = Scored::default();
    let mut asked: Vec<String> = Vec::new();
    for name in names {
        if asked.contains(&name) || asked.len() >= NAMES_MAX {
            continue;
        }
        if let Err(error) = ask(socket, &name, &mut scored) {
            let none = Some(format!("not known: {error:#}"));
            return Scored { none, ..Scored::default() };
        }
        asked.push(name);
    }
    if scored.scores.is_empty() {
        let none = "none: the running edge has counted nothing of it since it started";
        scored.none = Some(none.to_owned());
    }
    scored
}

fn ask(socket: &Path, name: &str, scored: &mut Scored) -> anyhow::Result<()> {
    let told = client::ask(socket, "GET", &format!("/scores/{name}"), None)?.success()?;
    let list = |key: &str| told[key].as_array().cloned().unwrap_or_default();
    for score in list("scores") {
        if !scored.scores.contains(&score) {
            scored.scores.push(score);
        }
    }
    let suggestions = list("suggestions");
    for suggestion in suggestions.iter().filter_map(Value::as_str) {
        if !scored.suggestions.iter().any(|known| known == suggestion) {
            scored.suggestions.push(suggestion.to_owned());
        }
    }
    Ok(())
}

impl Throttle {
    /// Returns the limits in a sentence, for the screen.
    pub(super) fn sentence(&self) -> String {
        match &self.limits {
            None => "this partner has no limits".to_owned(),
            Some(limits) => format!("at most {} messages a second", limits.messages_per_s),
        }
    }

    /// Returns the limits, a line each.
    pub(super) fn limit_lines(&self) -> Vec<String> {
        let Some(limits) = &self.limits else {
            return vec!["none: listed partners have some only where the file says so".to_owned()];
        };
        // One that is never suspicious has no use for the lower rate.
        let suspicious = match limits.failed_percent {
            0 => String::new(),
            _ => format!(", {}/s while suspicious", limits.suspicious_messages_per_s),
        };
        let mut lines = vec![format!(
            "{} messages/s{suspicious}; what comes too early waits at most {} ms",
            limits.messages_per_s, limits.hold_ms
        )];
        lines.push(match limits.distinct_users {
            0 => "any number of users".to_owned(),
            users => {
                let window = span(u64::from(limits.distinct_users_window_s));
                format!("{users} distinct users in {window}")
            }
        });
        lines.push(match limits.failed_percent {
            0 => "never suspicious".to_owned(),
            percent => format!(
                "suspicious while {percent} % or more of at least {} requests fail; half-life {}",
                limits.failed_least,
                span(u64::from(limits.failed_half_life_s))
            ),
        });
        lines.extend(self.place.clone());
        if self.depends_on_dns {
            lines
                .push("unless its SRV record names a provider, whose limits then count".to_owned());
        }
        lines
    }

    /// Returns how the running edge has it, a line each.
    pub(super) fn score_lines(&self) -> Vec<String> {
        let Some(scored) = &self.score else { return Vec::new() };
        let mut lines: Vec<String> = scored.scores.iter().map(score_line).collect();
        lines.extend(scored.suggestions.iter().cloned());
        lines.extend(scored.none.clone());
        lines
    }
}

/// Returns one score in a sentence.
fn score_line(score: &Value) -> String {
    let number = |key: &str| score[key].as_u64().unwrap_or_default();
    let standing = match score["suspicious"].as_bool() {
        Some(true) => "SUSPICIOUS",
        _ => "ordinary",
    };
    format!(
        "{} {}: {standing}, {} % fail; {} messages, {} held, {} refused; {} of {} answered failed; \
         {} users, {} times one too many; heard of {} ago",
        score["holder"].as_str().unwrap_or("name"),
        score["name"].as_str().unwrap_or("-"),
        number("failed_percent"),
        number("messages"),
        number("held"),
        number("refused"),
        number("failures"),
        number("answers"),
        number("users"),
        number("users_blocked"),
        span(number("silent_s")),
    )
}
