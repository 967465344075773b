//! A plan as text: tables for people, and files for the programs that want them.

use super::Plan;

mod csr;
mod markdown;
mod nftables;
mod sheet;
mod table;
mod zone;

pub use csr::csr;
pub use markdown::markdown;
pub use nftables::nftables;
pub use table::table;
pub use zone::zone;

/// Returns the plan as one JSON object.
///
/// # Panics
/// Never: rows hold nothing that JSON cannot.
#[must_use]
pub fn json(plan: &Plan) -> String {
    let mut text = serde_json::to_string_pretty(plan).expect("rows are plain values");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
