//! Providers that the planning guide names, filled in from what it says of them
//! (lync-federation 8.1 to 8.3 and 9).
//!
//! None is enabled by being named. Names of edges and domains marked below are from memory of the
//! services as they were; all of the public ones have ended.

use super::schema::{Preset, Provider, Verification};
use crate::dns::Domain;
use crate::policy::{self, Date, Decoration, ProviderKind, ProviderRule};

/// What is known of a provider.
struct Known {
    name: &'static str,
    kind: ProviderKind,
    edge: &'static str,
    domains: &'static [&'static str],
    audio_video: bool,
    needs_client_eku: bool,
    announced_end: Option<Date>,
    decoration: Option<(&'static str, &'static [&'static str])>,
}

const SKYPE_DOMAINS: &[&str] = &["msn.com", "outlook.com", "live.com", "hotmail.com"];

const fn known(preset: Preset) -> Known {
    let messenger = Known {
        name: "messenger",
        kind: ProviderKind::Public,
        edge: "federation.messenger.msn.com",
        domains: SKYPE_DOMAINS,
        audio_video: true,
        needs_client_eku: false,
        announced_end: Date::new(2013, 3, 15),
        decoration: None,
    };
    let online = Known {
        name: "lync_online",
        kind: ProviderKind::Hosting,
        edge: "sipfed.online.lync.com",
        domains: &[],
        announced_end: None,
        ..messenger
    };
    match preset {
        Preset::Messenger => messenger,
        Preset::Skype => Known {
            name: "skype",
            announced_end: Date::new(2025, 5, 5),
            decoration: Some(("msn.com", SKYPE_DOMAINS)),
            ..messenger
        },
        // Edge and domains from memory.
        Preset::Aol => Known {
            name: "aol",
            edge: "sip.oscar.aol.com",
            domains: &["aol.com", "aim.com"],
            audio_video: false,
            needs_client_eku: true,
            announced_end: Date::new(2014, 6, 30),
            ..messenger
        },
        // Edge and domain from memory.
        Preset::Yahoo => Known {
            name: "yahoo",
            edge: "lcsap.msg.yahoo.com",
            domains: &["yahoo.com"],
            audio_video: false,
            announced_end: Date::new(2014, 6, 30),
            ..messenger
        },
        Preset::LyncOnline => online,
        Preset::Push => Known { name: "push", domains: &["push.lync.com"], ..online },
    }
}

fn domain(name: &str) -> Domain {
    Domain::parse(name.as_bytes()).expect("the names of presets are domains")
}

impl From<Verification> for policy::Verification {
    fn from(said: Verification) -> Self {
        match said {
            Verification::Always => Self::Always,
            Verification::Source => Self::Source,
            Verification::Never => Self::Never,
        }
    }
}

impl Provider {
    /// Returns the provider with what its preset says; `None` where name, kind or edge are nowhere
    /// said. Its anchors have no name yet.
    #[must_use]
    pub fn resolved(&self) -> Option<ProviderRule> {
        resolved(self)
    }
}

fn resolved(provider: &Provider) -> Option<ProviderRule> {
    let known = provider.preset.map(known);
    let kind = provider.kind.or(known.as_ref().map(|known| known.kind))?;
    let name = provider.name.clone().or(known.as_ref().map(|known| known.name.to_owned()))?;
    let edge = provider.edge.clone().or(known.as_ref().map(|known| domain(known.edge)))?;
    let rule = ProviderRule::new(kind, &name, edge);
    let listed = |said: &Option<Vec<Domain>>, preset: Option<&[&str]>| match (said, preset) {
        (Some(said), _) => said.clone(),
        (None, Some(preset)) => preset.iter().map(|name| domain(name)).collect(),
        (None, None) => Vec::new(),
    };
    let preset_decoration = known.as_ref().and_then(|known| known.decoration);
    let decorated = provider.name_decoration_domain.clone();
    let decorated = decorated.or(preset_decoration.map(|(name, _)| domain(name)));
    let excluded = preset_decoration.map(|(_, excluded)| excluded);
    let excluded = listed(&provider.name_decoration_excluded, excluded);
    let verification = provider.verification.map_or(rule.verification, Into::into);
    let audio_video = known.as_ref().map_or(rule.audio_video, |known| known.audio_video);
    let needs_client_eku = known.as_ref().is_some_and(|known| known.needs_client_eku);
    Some(ProviderRule {
        port: provider.port,
        enabled: provider.enabled,
        domains: listed(&provider.domains, known.as_ref().map(|known| known.domains)),
        shared: provider.shared_address_space.clone(),
        audio_video: provider.audio_video.unwrap_or(audio_video),
        needs_client_eku: provider.needs_client_eku.unwrap_or(needs_client_eku),
        ends: provider.ends,
        announced_end: known.as_ref().and_then(|known| known.announced_end),
        decoration: decorated.map(|domain| Decoration { domain, excluded }),
        icon_url: provider.icon_url.clone(),
        common_name: provider.common_name,
        require_client_eku: provider.require_client_eku,
        allow_networks: provider.allow_networks.clone(),
        verification,
        ..rule
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::fixture::LEAST;

    fn provider(text: &str) -> ProviderRule {
        let text = format!("{LEAST}[[provider]]\n{text}");
        let config = crate::config::parse(Path::new("e.toml"), &text);
        let config = config.unwrap_or_else(|report| panic!("{report}"));
        resolved(&config.providers[0]).unwrap()
    }

    #[test]
    fn every_preset_is_a_provider_that_is_not_enabled() {
        let presets = ["messenger", "aol", "yahoo", "skype", "lync_online", "push"];
        for preset in presets {
            let rule = provider(&format!("preset = \"{preset}\"\n"));
            assert_eq!(rule.name, preset);
            assert!(!rule.enabled);
            assert_eq!(rule.ends, None, "only an operator's date refuses");
            let public = rule.kind == ProviderKind::Public;
            assert_eq!(rule.announced_end.is_some(), public, "{preset}");
            let safest =
                if public { policy::Verification::Never } else { policy::Verification::Source };
            assert_eq!(rule.verification, safest);
        }
    }

    /// lync-federation 8.3 and 9.
    #[test]
    fn presets_say_what_the_guide_says() {
        let skype = provider("preset = \"skype\"\nenabled = true\n");
        let decoration = skype.decoration.unwrap();
        let other = Domain::parse(b"other.example").unwrap();
        assert_eq!(decoration.address("kim", &other), "kim(other.example)@msn.com");
        assert_eq!(decoration.address("kim", &domain("live.com")), "kim@live.com");
        assert!(provider("preset = \"aol\"\n").needs_client_eku);
        let push = provider("preset = \"push\"\n");
        assert_eq!(push.edge.as_str(), "sipfed.online.lync.com");
        assert_eq!(push.domains, [domain("push.lync.com")]);
    }

    #[test]
    fn keys_beside_a_preset_win() {
        let rule = provider(
            "preset = \"skype\"\nname = \"s\"\nedge = \"sip.s.example\"\ndomains = []\n\
             verification = \"source\"\naudio_video = false\nends = 2030-01-31\n",
        );
        assert_eq!((rule.name.as_str(), rule.edge.as_str()), ("s", "sip.s.example"));
        assert!(rule.domains.is_empty() && !rule.audio_video);
        assert_eq!(rule.verification, policy::Verification::Source);
        assert_eq!(rule.ends, Date::new(2030, 1, 31));
    }
}
