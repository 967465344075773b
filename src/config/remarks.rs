//! What an entry says for people alone: whose it is, and where it was asked for.

use std::fmt;
use std::path::Path;

use super::Config;
use super::csv::{self, Columns};
use crate::policy::{Pattern, Place};

/// Owner and ticket of an entry; nothing is decided by them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remarks {
    /// Who answers for the entry.
    pub owner: Option<String>,
    /// Where it was asked for.
    pub ticket: Option<String>,
}

impl Remarks {
    /// Returns whether the entry says neither.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.owner.is_none() && self.ticket.is_none()
    }
}

/// `owner uc team, ticket UC-1042`, or what there is of it.
impl fmt::Display for Remarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.owner, &self.ticket) {
            (Some(owner), Some(ticket)) => write!(f, "owner {owner}, ticket {ticket}"),
            (Some(owner), None) => write!(f, "owner {owner}"),
            (None, Some(ticket)) => write!(f, "ticket {ticket}"),
            (None, None) => Ok(()),
        }
    }
}

impl Config {
    /// Returns what the entry at `place` says for people.
    ///
    /// Of a row of a list only its line is kept: the file is read again, as far as that, and
    /// counts only while the row there is still about the same domain. Cold: tens of milliseconds
    /// for a list of a million.
    #[must_use]
    pub fn remarks(&self, place: Place) -> Remarks {
        let stated = |owner: &Option<String>, ticket: &Option<String>| Remarks {
            owner: owner.clone(),
            ticket: ticket.clone(),
        };
        let found = match place {
            Place::Partner(index) => {
                let index = index as usize;
                if let Some(partner) = self.partners.get(index) {
                    return stated(&partner.owner, &partner.ticket);
                }
                let row = index - self.partners.len();
                self.partner_list.as_ref().and_then(|list| list.remarks(row))
            }
            Place::Blocked(index) => {
                let index = index as usize;
                if let Some(blocked) = self.blocked.get(index) {
                    return stated(&blocked.owner, &blocked.ticket);
                }
                let row = index - self.blocked.len();
                self.blocked_list.as_ref().and_then(|list| list.remarks(row))
            }
            Place::XmppPartner(_) | Place::Provider(_) | Place::DefaultRoute | Place::Key(_) => {
                None
            }
        };
        found.unwrap_or_default()
    }
}

/// Reads the remarks of the row about `domain` in line `line` of the file at `path`.
pub(super) fn of_row(
    path: &Path,
    columns: &Columns,
    line: u32,
    domain: &Pattern,
) -> Option<Remarks> {
    let text = std::fs::read_to_string(path).ok()?;
    csv::at(&text, columns, line, |row| {
        let (_, written) = row.field("domain")?;
        let same = super::read_pattern(&written).is_ok_and(|listed| listed == *domain);
        let field = |column| row.field(column).map(|(_, text)| text.into_owned());
        same.then(|| Remarks { owner: field("owner"), ticket: field("ticket") })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::LEAST;
    use crate::config::{lists, parse};

    #[test]
    fn entries_of_the_file_and_rows_of_a_list_say_whose_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("p.csv");
        let rows = "owner,domain,ticket\n\n\"uc, team\",b.example,UC-2\n,c.example,\n";
        std::fs::write(&list, rows).unwrap();
        let text = format!(
            "{LEAST}[[partner]]\ndomain = \"a.example\"\nowner = \"ann\"\n\
             [[blocked]]\ndomain = \"d.example\"\nticket = \"SEC-7\"\n"
        );
        let mut config = parse(Path::new("e.toml"), &text).unwrap();
        config.partner_list = Some(lists::PartnerList::load(&list).unwrap().into());
        let last = u32::try_from(config.partners.len()).unwrap();
        let told = |place| config.remarks(place).to_string();
        assert_eq!(told(Place::Partner(last - 1)), "owner ann");
        assert_eq!(told(Place::Partner(last)), "owner uc, team, ticket UC-2");
        assert!(config.remarks(Place::Partner(last + 1)).is_empty());
        assert!(config.remarks(Place::Partner(last + 2)).is_empty());
        assert_eq!(told(Place::Blocked(0)), "ticket SEC-7");
        assert!(config.remarks(Place::DefaultRoute).is_empty());
        // The list has changed since: what stands in that line is about somebody else.
        std::fs::write(&list, "owner,domain\n\neve,e.example\n").unwrap();
        assert!(config.remarks(Place::Partner(last)).is_empty());
    }
}
