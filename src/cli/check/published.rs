//! The records of the plan, compared with what the name servers give.

use std::net::IpAddr;

use super::{Checker, Severity};
use crate::cli::plan::deployment;
use crate::dns::resolver::Resolver;
use crate::dns::{Domain, Failure, Question};
use crate::edge::Side;
use crate::plan::{self, DnsRow, Record, Role};

/// Record sets that are looked up; a deployment with more sees the first of them.
const RECORDS_ASKED_MAX: usize = 64;

/// The servers stopped answering, which has a finding of its own.
struct Silent;

impl Checker<'_> {
    /// Looks every record of the plan up, and says how what is there differs.
    pub(super) async fn published(&mut self, resolver: &Resolver) {
        let plan = plan::plan(&deployment(self.config));
        // Names that somebody is sent to matter more than names that only the plan has.
        let mut pointed_at = vec![self.config.edge.external_fqdn.to_string()];
        for row in plan.dns.iter().take(RECORDS_ASKED_MAX) {
            let done = match &row.record {
                Record::Srv { port, target, .. } => {
                    let found = self.service(row, *port, target, resolver).await;
                    found.map(|there| pointed_at.extend(there.then(|| target.clone())))
                }
                Record::Addresses(addresses) => {
                    let matters = row.served && pointed_at.contains(&row.name);
                    self.addresses(row, addresses, matters, resolver).await
                }
                Record::Alias(_) => self.addresses(row, &[], false, resolver).await,
            };
            if done.is_err() {
                return;
            }
        }
    }

    /// Says what peers that look for a service would find; returns whether it is this edge.
    async fn service(
        &mut self,
        row: &DnsRow,
        port: u16,
        target: &str,
        resolver: &Resolver,
    ) -> Result<bool, Silent> {
        let key = self.place_of(row);
        let (name, record) = (&row.name, format!("{}. SRV 0 0 {port} {target}.", row.name));
        let matters = if row.served { Severity::Warning } else { Severity::Note };
        match resolver.srv(name).await {
            Ok(targets) => {
                let same = targets.iter().find(|found| found.fqdn.as_str() == target);
                if let Some(same) = same {
                    if same.port != port {
                        let sentence =
                            format!("{name} names port {}, and the edge has {port}", same.port);
                        self.at(&key, matters, "dns-record-port", sentence, record);
                    }
                    return Ok(true);
                }
                let found: Vec<_> = targets.iter().map(|found| found.fqdn.as_str()).collect();
                let sentence = format!("{name} names {}, not {target}", found.join(", "));
                self.at(&key, matters, "dns-record-elsewhere", sentence, record);
            }
            Err(Failure::Timeout | Failure::ServerFailure) => return Err(Silent),
            Err(Failure::ServiceRefused) => {
                let sentence = format!("{name} says that there is no such service");
                self.at(&key, matters, "dns-record-elsewhere", sentence, record);
            }
            Err(Failure::NoSuchService | Failure::NoAddress) => {
                let sentence = format!("there is no {name}: {}", row.why);
                let advice = format!("publish {record}");
                self.at(&key, Severity::Note, "dns-record-missing", sentence, advice);
            }
        }
        Ok(false)
    }

    /// Compares the addresses of a name; an empty list means that any will do.
    async fn addresses(
        &mut self,
        row: &DnsRow,
        planned: &[IpAddr],
        matters: bool,
        resolver: &Resolver,
    ) -> Result<(), Silent> {
        let Ok(fqdn) = Domain::parse(row.name.as_bytes()) else { return Ok(()) };
        let severity = if matters { Severity::Warning } else { Severity::Note };
        let key = self.place_of(row);
        let name = &row.name;
        let planned = listed(planned.to_vec());
        let answer = resolver.answer(&Question::Host { fqdn, port: 0 }).await;
        match answer.outcome {
            Ok(targets) => {
                let found = targets.into_iter().flat_map(|target| target.addresses).collect();
                let found = listed(found);
                if !planned.is_empty() && planned != found {
                    let (found, planned) = (found.join(", "), planned.join(", "));
                    self.at(
                        &key,
                        severity,
                        "dns-address-differs",
                        format!("{name} has {found}, and the plan says {planned}"),
                        "correct the record, or [[plan_node]] and the addresses of [plan]; if \
                         this host asks the other view of a split zone, ask from that side",
                    );
                }
            }
            Err(Failure::Timeout | Failure::ServerFailure) => return Err(Silent),
            Err(_) => {
                let advice = match &row.record {
                    Record::Alias(target) => format!("publish {name}. CNAME {target}."),
                    _ if planned.is_empty() => format!("publish A or AAAA for {name}"),
                    _ => format!("publish {} for {name}", planned.join(", ")),
                };
                let sentence = format!("{name} has no address: {}", row.why);
                self.at(&key, severity, "dns-address-missing", sentence, advice);
            }
        }
        Ok(())
    }

    /// Returns the key that a record comes from.
    fn place_of(&self, row: &DnsRow) -> String {
        let domains = &self.config.edge.domains;
        let of_domain = domains.iter().position(|domain| {
            row.name.starts_with('_') && row.name.ends_with(&format!(".{domain}"))
        });
        match (of_domain, row.side, row.role) {
            (Some(index), ..) => format!("edge.domains[{index}]"),
            (None, Side::Internal, Role::Access) => "edge.internal_fqdn".to_owned(),
            (None, Side::External, Role::Access) => "edge.external_fqdn".to_owned(),
            _ => "plan.roles".to_owned(),
        }
    }
}

/// Returns addresses as text, in one order.
fn listed(mut addresses: Vec<IpAddr>) -> Vec<String> {
    addresses.sort();
    addresses.dedup();
    addresses.iter().map(ToString::to_string).collect()
}
