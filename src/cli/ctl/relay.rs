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
    /// Ends the allocation of a client; exit code 1 where it has none.
    Kill {
        /// The client's address and port, as the list shows it.
        #[arg(value_parser = client)]
        client: SocketAddr,
    },
    /// Tells how it stands, what runs out when, and how long a drain takes.
    Status,
    /// Takes no new allocations; those that are there go on.
    Drain,
    /// Takes new allocations again.
    Open,
}

fn client(text: &str) -> Result<SocketAddr, String> {
    let expected = "expected an address with its port, as `entente ctl relay list` shows it, such \
                    as 203.0.113.7:50123";
    text.parse().map_err(|_| expected.to_owned())
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
            let ended = done["ended"] == json!(true);
            let printed = print(args, &done, || match ended {
                true => format!("the allocation of {client} was ended\n"),
                false => format!("{client} has no allocation\n"),
            })?;
            Ok(if ended { printed } else { ExitCode::FAILURE })
        }
        Command::Status => {
            let told = ask(args, "POST", "/relay/status", Some(json!({})))?;
            print(args, &told, || status(&told))
        }
        Command::Drain => {
            let done = ask(args, "POST", "/relay/drain", Some(json!({})))?;
            print(args, &done, || {
                let left = &done["allocations"];
                format!("no new allocations; {left} are left\n{}", drained(&done))
            })
        }
        Command::Open => {
            let done = ask(args, "POST", "/relay/open", Some(json!({})))?;
            print(args, &done, || "new allocations are taken\n".to_owned())
        }
    }
}

/// Returns how the relay stands, for people.
fn status(told: &Value) -> String {
    let free = match &told["free_ports"] {
        Value::Null => "ports are shared".to_owned(),
        free => format!("{free} ports free"),
    };
    let mut text = format!(
        "{} allocations of {} users, {} TCP connections with peers, {} streams; {free}; {} \
         kbit/s\n",
        told["allocations"], told["users"], told["connections"], told["streams"], told["kbit_s"],
    );
    for (key, runs_out, has_run_out) in [
        ("ports_run_out_s", "ports run out", "no port is free"),
        ("allocations_run_out_s", "allocations run out", "there may be no more allocations"),
        ("bandwidth_run_out_s", "the link is full", "the link is full"),
    ] {
        let _ = match told[key].as_u64() {
            Some(0) => writeln!(text, "{has_run_out}"),
            Some(seconds) => writeln!(text, "{runs_out} in {} at this rate", lasting(seconds)),
            None => Ok(()),
        };
    }
    if told["draining"] == json!(true) {
        text.push_str("no new allocations are taken\n");
        text.push_str(&drained(told));
    }
    text
}

/// Returns how long a drain takes.
fn drained(told: &Value) -> String {
    let below = &told["drain_below"];
    let at_rate = match told["drained_s"].as_u64() {
        Some(0) => return format!("no more than {below} are left: the drain is over\n"),
        Some(seconds) => format!("in {} at the rate of the last minutes", lasting(seconds)),
        None => "not yet to be told: none has ended in the last minutes".to_owned(),
    };
    let unrefreshed = told["drained_unrefreshed_s"].as_u64().unwrap_or(0);
    format!("down to {below}: {at_rate}; in {} if none is refreshed\n", lasting(unrefreshed))
}

/// Returns a time as people say it.
fn lasting(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} minutes", seconds / 60),
        7_200..=172_799 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Returns the list for people: a line for each allocation, the whole last.
fn list(told: &Value) -> String {
    let mut text = String::new();
    let listed = told["listed"].as_array().map_or(&[][..], Vec::as_slice);
    for one in listed {
        let ports = one["relayed_ports"].as_array().map_or(&[][..], Vec::as_slice);
        let ports: Vec<String> = ports.iter().map(Value::to_string).collect();
        let of = one["domain"].as_str().map_or(String::new(), |domain| format!(" of {domain}"));
        let _ = writeln!(
            text,
            "{} {}{of} at {} relayed {}: {} datagrams ({} bytes) to peers, {} ({}) back, ends in \
             {} s",
            one["transport"].as_str().unwrap_or("?"),
            one["client"].as_str().unwrap_or("?"),
            one["at"].as_str().unwrap_or("?"),
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
    fn what_is_no_client_is_told_with_an_example() {
        use clap::Parser as _;
        for words in ["203.0.113.7", "alice"] {
            let words = ["entente", "ctl", "relay", "kill", words];
            let refused = crate::cli::Cli::try_parse_from(words).unwrap_err().to_string();
            assert!(refused.contains("such as 203.0.113.7:50123"), "{refused}");
        }
    }

    #[test]
    fn each_allocation_has_a_line() {
        let told = json!({
            "allocations": 2,
            "free_ports": 9_998,
            "skipped": 0,
            "listed": [{
                "client": "192.0.2.1:5000",
                "at": "192.0.2.12:3478",
                "domain": "contoso.example",
                "transport": "udp",
                "relayed_ports": [50_000, 50_007],
                "datagrams_to_peers": 3,
                "bytes_to_peers": 480,
                "datagrams_to_client": 1,
                "bytes_to_client": 160,
                "ends_in_s": 599,
            }],
        });
        let lines = "udp 192.0.2.1:5000 of contoso.example at 192.0.2.12:3478 relayed 50000 and \
                     50007: 3 datagrams (480 bytes) to peers, 1 (160) back, ends in 599 s\n\
                     1 of 2 allocations, from the one after 0; 9998 ports free\n";
        assert_eq!(list(&told), lines);
        let none = json!({ "allocations": 0, "free_ports": null, "skipped": 5, "listed": [] });
        assert_eq!(list(&none), "0 of 0 allocations, from the one after 5; ports are shared\n");
    }

    #[test]
    fn what_runs_out_and_how_long_a_drain_takes_is_said() {
        let told = json!({
            "allocations": 120, "users": 9, "connections": 4, "streams": 7, "free_ports": 9_880,
            "kbit_s": 4_200, "ports_run_out_s": 2_580, "allocations_run_out_s": null,
            "bandwidth_run_out_s": 90, "draining": true, "drain_below": 20, "drained_s": 360,
            "drained_unrefreshed_s": 3_500,
        });
        let lines = "120 allocations of 9 users, 4 TCP connections with peers, 7 streams; 9880 \
                     ports free; 4200 kbit/s\n\
                     ports run out in 43 minutes at this rate\n\
                     the link is full in 90 s at this rate\n\
                     no new allocations are taken\n\
                     down to 20: in 6 minutes at the rate of the last minutes; in 58 minutes if \
                     none is refreshed\n";
        assert_eq!(status(&told), lines);
        let full = status(&json!({ "allocations_run_out_s": 0, "free_ports": 0 }));
        assert!(full.ends_with("\nthere may be no more allocations\n"), "{full}");
        let over = json!({ "drain_below": 20, "drained_s": 0 });
        assert_eq!(drained(&over), "no more than 20 are left: the drain is over\n");
    }
}
