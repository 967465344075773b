//! `entente ctl relay`: the allocations of the A/V Edge.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Args, ask, print};

/// What to do with the A/V Edge.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Lists allocations, a thousand at most.
    List {
        /// Leaves out so many before the first one listed.
        #[arg(long, value_name = "N", default_value_t = 0)]
        skip: usize,
    },
    /// Ends the allocation of a client.
    Kill {
        /// The client's address and port, as the list shows it.
        client: SocketAddr,
    },
    /// Takes no new allocations; those that are there go on.
    Drain,
    /// Takes new allocations again.
    Open,
}

/// Runs `entente ctl relay`.
pub(super) fn run(args: &Args, command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List { skip } => {
            let told = ask(args, "POST", "/relay/list", Some(json!({ "skip": skip })))?;
            print(args, &told, || list(&told))
        }
        Command::Kill { client } => {
            let done = ask(args, "POST", "/relay/kill", Some(json!({ "client": client })))?;
            print(args, &done, || {
                if done["ended"] == json!(true) {
                    format!("the allocation of {client} was ended\n")
                } else {
                    format!("{client} has no allocation\n")
                }
            })
        }
        Command::Drain => {
            let done = ask(args, "POST", "/relay/drain", Some(json!({})))?;
            print(args, &done, || format!("no new allocations; {} are left\n", done["allocations"]))
        }
        Command::Open => {
            let done = ask(args, "POST", "/relay/open", Some(json!({})))?;
            print(args, &done, || "new allocations are taken\n".to_owned())
        }
    }
}

/// Returns the list for people: a line for each allocation, the whole last.
fn list(told: &Value) -> String {
    let mut text = String::new();
    let listed = told["listed"].as_array().map_or(&[][..], Vec::as_slice);
    for one in listed {
        let ports = one["relayed_ports"].as_array().map_or(&[][..], Vec::as_slice);
        let ports: Vec<String> = ports.iter().map(Value::to_string).collect();
        let _ = writeln!(
            text,
            "{} {} relayed {}: {} datagrams ({} bytes) to peers, {} ({}) back, ends in {} s",
            one["transport"].as_str().unwrap_or("?"),
            one["client"].as_str().unwrap_or("?"),
            ports.join(" and "),
            one["datagrams_to_peers"],
            one["bytes_to_peers"],
            one["datagrams_to_client"],
            one["bytes_to_client"],
            one["ends_in_s"],
        );
    }
    let free = match &told["free_ports"] {
        Value::Null => "ports are shared".to_owned(),
        free => format!("{free} ports free"),
    };
    let _ = writeln!(
        text,
        "{} of {} allocations, from the one after {}; {free}",
        listed.len(),
        told["allocations"],
        told["skipped"],
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_allocation_has_a_line() {
        let told = json!({
            "allocations": 2,
            "free_ports": 9_998,
            "skipped": 0,
            "listed": [{
                "client": "192.0.2.1:5000",
                "transport": "udp",
                "relayed_ports": [50_000, 50_007],
                "datagrams_to_peers": 3,
                "bytes_to_peers": 480,
                "datagrams_to_client": 1,
                "bytes_to_client": 160,
                "ends_in_s": 599,
            }],
        });
        let lines = "udp 192.0.2.1:5000 relayed 50000 and 50007: 3 datagrams (480 bytes) to \
                     peers, 1 (160) back, ends in 599 s\n\
                     1 of 2 allocations, from the one after 0; 9998 ports free\n";
        assert_eq!(list(&told), lines);
        let none = json!({ "allocations": 0, "free_ports": null, "skipped": 5, "listed": [] });
        assert_eq!(list(&none), "0 of 0 allocations, from the one after 5; ports are shared\n");
    }
}
