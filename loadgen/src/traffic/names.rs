//! Addresses of both sides, made once, because the generator must not measure itself.

use crate::options;
use crate::partner::Partner;
use crate::traffic::compose::Party;

/// Every address that requests of a run name.
pub(crate) struct Names {
    request_uris: Vec<String>,
    recipients: Vec<String>,
    senders: Vec<Party>,
    users: usize,
    ports: usize,
    partners: usize,
    /// Contact of the next hop's users.
    pub(crate) uas_contact: String,
    /// Via sent-by of the next hop.
    pub(crate) next_hop: String,
}

impl Names {
    /// Fills in the patterns of the command line.
    pub(crate) fn new(options: &options::Traffic, partners: &[Partner]) -> Self {
        let ports = options.listen_ports.max(1);
        let users = options.users.max(1);
        let domain = &options.to_domain;
        let (mut request_uris, mut recipients, mut senders) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..users {
            let (alice, bob) = (user("alice", users, number), user("bob", users, number));
            for offset in 0..ports {
                let port = options.listen.port().saturating_add(offset);
                request_uris.push(fill(&options.request_uri, &bob, domain, port));
            }
            recipients.push(format!("sip:{bob}@{domain}"));
            for Partner { domain, .. } in partners {
                senders.push(Party {
                    uri: format!("sip:{alice}@{domain}"),
                    contact: fill(&options.contact, &alice, domain, 0),
                });
            }
        }
        Self {
            request_uris,
            recipients,
            senders,
            users: users as usize,
            ports: usize::from(ports),
            partners: partners.len(),
            uas_contact: fill(&options.uas_contact, "bob", domain, options.listen.port()),
            next_hop: options.listen.to_string(),
        }
    }

    /// Returns the Request-URI of unit `serial` on link `link`.
    pub(crate) fn request_uri(&self, serial: u32, link: usize) -> &str {
        &self.request_uris[self.user(serial) * self.ports + link % self.ports]
    }

    /// Returns whom unit `serial` is for.
    pub(crate) fn to(&self, serial: u32) -> &str {
        &self.recipients[self.user(serial)]
    }

    /// Returns who unit `serial` of `partner` is from.
    pub(crate) fn from(&self, serial: u32, partner: usize) -> &Party {
        &self.senders[self.user(serial) * self.partners + partner % self.partners]
    }

    fn user(&self, serial: u32) -> usize {
        serial as usize % self.users
    }
}

fn user(name: &str, users: u32, number: u32) -> String {
    if users == 1 { name.to_owned() } else { format!("{name}{number}") }
}

fn fill(pattern: &str, user: &str, domain: &str, port: u16) -> String {
    let text = pattern.replace("{user}", user).replace("{domain}", domain);
    text.replace("{port}", &port.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_filled_in() {
        let uri = fill("sip:{user}@127.0.0.1:{port};x={domain}", "bob", "b.example", 6100);
        assert_eq!(uri, "sip:bob@127.0.0.1:6100;x=b.example");
    }

    #[test]
    fn one_user_has_no_number() {
        assert_eq!(user("alice", 1, 0), "alice");
        assert_eq!(user("alice", 2, 0), "alice0");
    }
}
