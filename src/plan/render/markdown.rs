//! Tables in Markdown, the reason as the last column.

use std::fmt::Write as _;

use super::sheet::sheets;
use crate::plan::Plan;

/// Returns the plan in Markdown.
#[must_use]
pub fn markdown(plan: &Plan) -> String {
    let mut text = String::new();
    for sheet in sheets(plan) {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "## {}\n", sheet.title);
        if !sheet.rows.is_empty() {
            let columns = sheet.columns.iter().copied().chain(["why"]);
            let _ = writeln!(text, "| {} |", columns.collect::<Vec<_>>().join(" | "));
            let _ = writeln!(text, "|{}", " --- |".repeat(sheet.columns.len() + 1));
        }
        for (cells, why) in &sheet.rows {
            let cells = cells.iter().chain([why]).map(|cell| escaped(cell));
            let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
        }
        if !sheet.rows.is_empty() && !sheet.notes.is_empty() {
            text.push('\n');
        }
        for note in &sheet.notes {
            let _ = writeln!(text, "* {}", escaped(note));
        }
    }
    text
}

/// Returns `cell` without what would end it or mean something else.
fn escaped(cell: &str) -> String {
    cell.replace('|', "\\|").replace('*', "\\*").replace('<', "&lt;").replace('\n', "<br>")
}
