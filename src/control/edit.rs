//! Editing the policy file: one entry at a time, checked before it is written, written as a whole.
//!
//! The configuration knows where each of its values stands in the text, so an edit is a splice:
//! comments, order and layout of everything else stay byte by byte. What comes out is read by the
//! ordinary reader and must say exactly what it said before, apart from the one domain.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::start;
use crate::config::{self, Config};
use crate::dns::Domain;
use crate::policy::{Pattern, Place, XmppKind};

mod file;

/// A change an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Lists a partner.
    Add(Addition),
    /// Takes a domain off the blocked list, and lists it unless it is listed.
    Allow(Addition),
    /// Blocks a domain; its partner entries go, because one domain cannot have both.
    Block(Pattern),
    /// Takes a partner off the list of one side.
    Remove(Pattern, Side),
}

/// On which side a domain is a partner; it may be one on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `[[partner]]`.
    Sip,
    /// `[[xmpp_partner]]`.
    Xmpp,
}

impl Edit {
    /// Returns whom it is about.
    #[must_use]
    pub const fn domain(&self) -> &Pattern {
        match self {
            Self::Add(addition) | Self::Allow(addition) => &addition.domain,
            Self::Block(domain) | Self::Remove(domain, _) => domain,
        }
    }
}

/// A partner to be listed; what is not said keeps its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// Its domain, or for SIP all domains below one.
    pub domain: Pattern,
    /// How it is a partner.
    pub terms: Terms,
}

/// What is said of a partner to be listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Terms {
    /// Of one on SIP.
    Sip {
        /// FQDN of its edge: an allowed partner server.
        edge: Option<Domain>,
        /// Port of its edge.
        port: Option<u16>,
    },
    /// Of one on XMPP.
    Xmpp {
        /// What its users may do unasked.
        kind: Option<XmppKind>,
    },
}

impl Addition {
    const fn side(&self) -> Side {
        match self.terms {
            Terms::Sip { .. } => Side::Sip,
            Terms::Xmpp { .. } => Side::Xmpp,
        }
    }

    fn section(&self) -> String {
        let section = self.side().section();
        let mut text = format!("[[{section}]]\ndomain = \"{}\"\n", self.domain);
        match &self.terms {
            Terms::Sip { edge, port } => {
                if let Some(edge) = edge {
                    text.push_str(&format!("kind = \"allowed_server\"\nedge = \"{edge}\"\n"));
                }
                if let Some(port) = port {
                    text.push_str(&format!("port = {port}\n"));
                }
            }
            Terms::Xmpp { kind } => {
                if let Some(kind) = kind {
                    text.push_str(&format!("kind = \"{}\"\n", kind.as_str()));
                }
            }
        }
        text
    }
}

impl Side {
    const fn section(self) -> &'static str {
        match self {
            Self::Sip => "partner",
            Self::Xmpp => "xmpp_partner",
        }
    }
}

/// A policy file as it was read.
#[derive(Debug)]
pub struct PolicyFile {
    config: Config,
}

/// What an edit comes to, checked and not yet written.
#[derive(Debug)]
pub struct Edited {
    before: String,
    config: Config,
    /// What was done, in sentences.
    pub done: Vec<String>,
}

impl Edited {
    /// Returns the text as it would be written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.config.source.text
    }

    /// Writes the file as a whole: whoever reads it meanwhile, or after a crash, finds the old text
    /// or the new one.
    ///
    /// # Errors
    /// Why the file is as it was: somebody else changed it meanwhile, or the kernel refused.
    pub fn write(&self) -> anyhow::Result<()> {
        file::replace(&self.config.source.path, &self.before, self.text())
    }
}

impl PolicyFile {
    /// Reads the file at `path`, which must be sound before it is edited.
    ///
    /// # Errors
    /// [`config::Report`].
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { config: config::load(path)? })
    }

    /// Returns what it says.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the file with `edit` made to it.
    ///
    /// # Errors
    /// In an operator's words: there is nothing to do, the entry cannot be edited here, or what
    /// would come out is refused by the reader or contradicts itself.
    pub fn edit(&self, edit: &Edit) -> anyhow::Result<Edited> {
        let domain = edit.domain();
        let mut splices = Splices::of(&self.config);
        match edit {
            Edit::Add(addition) => {
                self.refuse_blocked(domain)?;
                if let Some(place) = self.listed(domain, addition.side()) {
                    bail!("{domain} is listed already ({place})");
                }
                splices.add(addition.side().section(), &addition.section());
            }
            Edit::Allow(addition) => {
                self.refuse_blocked_above(domain)?;
                let listed = self.listed(domain, addition.side());
                let unblocked = splices.take_out("blocked", self.blocked_index(domain))?;
                match (listed, unblocked) {
                    (Some(place), _) => bail!("{domain} is listed already ({place})"),
                    (None, _) => splices.add(addition.side().section(), &addition.section()),
                }
            }
            Edit::Block(domain) => {
                self.refuse_blocked_twice(domain)?;
                for side in [Side::Sip, Side::Xmpp] {
                    splices.take_out(side.section(), self.index(domain, side))?;
                }
                splices.add("blocked", &format!("[[blocked]]\ndomain = \"{domain}\"\n"));
            }
            Edit::Remove(domain, side) => {
                if self.listed(domain, *side).is_none() {
                    bail!("{domain} is not listed in {}", self.path().display());
                }
                splices.take_out(side.section(), self.index(domain, *side))?;
            }
        }
        let Splices { done, .. } = &splices;
        let done = done.clone();
        let text = splices.text();
        let config = config::load_text(self.path(), &text)?;
        self.says_nothing_else(&config, domain)?;
        start::policy(&config)?;
        Ok(Edited { before: self.config.source.text.clone(), config, done })
    }

    fn path(&self) -> &Path {
        &self.config.source.path
    }

    /// Returns the number of the partner's entry, counted on into the list of its own file.
    fn partner_index(&self, domain: &Pattern) -> Option<usize> {
        let stated = self.config.partners.iter().map(|partner| &partner.domain);
        let rows = self.config.partner_list.iter().flat_map(|list| &list.rows);
        stated.chain(rows.map(|row| &row.domain)).position(|listed| listed == domain)
    }

    fn index(&self, domain: &Pattern, side: Side) -> Option<usize> {
        match (side, domain) {
            (Side::Sip, _) => self.partner_index(domain),
            // Nothing below a domain is meant with an XMPP partner.
            (Side::Xmpp, Pattern::Exact(domain)) => {
                self.config.xmpp_partners.iter().position(|partner| partner.domain == *domain)
            }
            (Side::Xmpp, Pattern::Below(_)) => None,
        }
    }

    fn blocked_index(&self, domain: &Pattern) -> Option<usize> {
        self.all_blocked().position(|blocked| blocked == domain)
    }

    fn all_blocked(&self) -> impl Iterator<Item = &Pattern> {
        let stated = self.config.blocked.iter().map(|blocked| &blocked.domain);
        let rows = self.config.blocked_list.iter().flat_map(|list| &list.rows);
        stated.chain(rows.map(|(row, _)| row))
    }

    /// Returns where `domain` is listed as a partner.
    fn listed(&self, domain: &Pattern, side: Side) -> Option<String> {
        let index = self.index(domain, side)?;
        let place = match side {
            Side::Sip => Place::Partner(u32::try_from(index).ok()?),
            Side::Xmpp => Place::XmppPartner(u16::try_from(index).ok()?),
        };
        Some(self.config.whereabouts(place))
    }

    /// Returns where `domain` is blocked.
    fn blocked(&self, domain: &Pattern) -> Option<String> {
        let index = u32::try_from(self.blocked_index(domain)?).ok()?;
        Some(self.config.whereabouts(Place::Blocked(index)))
    }

    fn refuse_blocked(&self, domain: &Pattern) -> anyhow::Result<()> {
        let Some(place) = self.blocked(domain) else { return self.refuse_blocked_above(domain) };
        bail!("{domain} is blocked ({place}); `entente ctl partner allow {domain}` ends that");
    }

    /// Refuses what a wider blocked entry would make void: a block wins over every list.
    fn refuse_blocked_above(&self, domain: &Pattern) -> anyhow::Result<()> {
        let wider = |blocked: &&Pattern| *blocked != domain && blocked.contains(domain);
        let Some(wider) = self.all_blocked().find(wider) else { return Ok(()) };
        let place = self.blocked(wider).unwrap_or_default();
        bail!("{domain} would stay blocked by {wider} ({place}); narrow that entry first");
    }

    fn refuse_blocked_twice(&self, domain: &Pattern) -> anyhow::Result<()> {
        let Some(place) = self.blocked(domain) else { return Ok(()) };
        bail!("{domain} is blocked already ({place})");
    }

    /// Makes sure that `new` says what the file said, apart from `domain`.
    fn says_nothing_else(&self, new: &Config, domain: &Pattern) -> anyhow::Result<()> {
        let rest = |config: &Config| {
            let mut rest = config.clone();
            rest.partners.retain(|partner| partner.domain != *domain);
            rest.blocked.retain(|blocked| blocked.domain != *domain);
            if let Pattern::Exact(domain) = domain {
                rest.xmpp_partners.retain(|partner| partner.domain != *domain);
            }
            rest.source = std::sync::Arc::default();
            rest
        };
        if rest(&self.config) != rest(new) {
            let path = self.path().display();
            bail!("the edit would change more of {path} than {domain}; edit it by hand");
        }
        Ok(())
    }
}

/// Text to take out and to put in, by place.
struct Splices<'a> {
    config: &'a Config,
    splices: Vec<(Range<usize>, String)>,
    done: Vec<String>,
}

impl<'a> Splices<'a> {
    const fn of(config: &'a Config) -> Self {
        Self { config, splices: Vec::new(), done: Vec::new() }
    }

    /// Takes out the entry `index` of `section`, if there is one; tells whether there was.
    fn take_out(&mut self, section: &str, index: Option<usize>) -> anyhow::Result<bool> {
        let Some(index) = index else { return Ok(false) };
        let key = format!("{section}[{index}]");
        let place = self.config.whereabouts(match section {
            "partner" => Place::Partner(u32::try_from(index)?),
            "xmpp_partner" => Place::XmppPartner(u16::try_from(index)?),
            _ => Place::Blocked(u32::try_from(index)?),
        });
        let path = self.config.source.path.display();
        let lines = entry_lines(self.config, &key).with_context(|| {
            format!("it is listed at {place}, which is no [[{section}]] section of {path}")
        })?;
        let text = &self.config.source.text;
        let written = text.get(lines.clone()).unwrap_or_default().trim_end();
        self.done.push(format!("taken out ({place}):\n{}", indented(written)));
        self.splices.push((with_blank_line(text, lines), String::new()));
        Ok(true)
    }

    /// Adds `entry` after the last entry of `section` that the file has, or at its end.
    fn add(&mut self, section: &str, entry: &str) {
        let text = &self.config.source.text;
        let of_section = format!("{section}[");
        let keys = self.config.source.places.keys().filter(|key| {
            key.strip_prefix(of_section.as_str()).is_some_and(|rest| rest.ends_with(']'))
                && !key.contains('.')
        });
        let last = keys.filter_map(|key| entry_lines(self.config, key)).map(|lines| lines.end);
        let at = last.max().unwrap_or(text.len());
        let (before, after) = (&text[..at], &text[at..]);
        let mut written = String::new();
        if !before.is_empty() && !before.ends_with('\n') {
            written.push('\n');
        }
        if !before.trim_ascii().is_empty() && !before.ends_with("\n\n") {
            written.push('\n');
        }
        written.push_str(entry);
        if !after.is_empty() && !after.starts_with('\n') && !after.starts_with("\r\n") {
            written.push('\n');
        }
        self.done.push(format!("added:\n{}", indented(entry.trim_end())));
        self.splices.push((at..at, written));
    }

    /// Returns the text with everything done.
    fn text(mut self) -> String {
        let mut text = self.config.source.text.clone();
        self.splices.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
        for (range, written) in self.splices {
            text.replace_range(range, &written);
        }
        text
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// Returns the whole lines of the entry `key`, with the comment lines directly above it; `None` if
/// it is not written as a section of its own.
fn entry_lines(config: &Config, key: &str) -> Option<Range<usize>> {
    let (text, places) = (&config.source.text, &config.source.places);
    let header = places.get(key)?;
    let mut start = line_start(text, header.start);
    if !text.get(start..)?.trim_start().starts_with("[[") {
        return None;
    }
    let inside = format!("{key}.");
    let values = places.range(inside.clone()..).take_while(|(path, _)| path.starts_with(&inside));
    let end = values.map(|(_, span)| span.end).chain([header.end]).max()?;
    let end = text.get(end..)?.find('\n').map_or(text.len(), |at| end + at + 1);
    while start > 0 {
        let above = line_start(text, start - 1);
        if !text.get(above..start)?.trim_start().starts_with('#') {
            break;
        }
        start = above;
    }
    Some(start..end)
}

/// Returns where the line with the byte at `at` begins.
fn line_start(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1)
}

/// Adds the blank line before an entry to what is taken out, where another one follows it.
fn with_blank_line(text: &str, lines: Range<usize>) -> Range<usize> {
    let before = text.get(..lines.start).unwrap_or_default();
    let after = text.get(lines.end..).unwrap_or_default();
    let follows = after.is_empty() || after.starts_with('\n');
    if follows && before.ends_with("\n\n") { lines.start - 1..lines.end } else { lines }
}

/// Returns the admin socket that the file at `path` names, even where the rest of it is not sound:
/// whoever has just broken the file may need `confirm` or `status` most.
#[must_use]
pub fn socket_in(path: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(path).ok()?;
    let (document, _) = toml::de::DeTable::parse_recoverable(&text);
    let sections = document.get_ref().iter();
    let management = sections.into_iter().find(|(name, _)| name.get_ref() == "management")?.1;
    let keys = management.get_ref().as_table()?.iter();
    let socket = keys.into_iter().find(|(name, _)| name.get_ref() == "socket")?.1.get_ref();
    let directory = path.parent().unwrap_or_else(|| Path::new(""));
    Some(directory.join(socket.as_str()?))
}

#[cfg(test)]
mod tests;
