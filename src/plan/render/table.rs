//! Tables for a terminal: cells in columns, the reason under each row.

use std::fmt::Write as _;

use super::sheet::{Sheet, sheets};
use crate::plan::Plan;

/// Columns of text that reasons are broken at.
const WIDTH: usize = 100;
/// Columns a cell may have before the rest of its row moves to a line of its own.
const CELL: usize = 44;

/// Returns the plan as text.
#[must_use]
pub fn table(plan: &Plan) -> String {
    let mut text = String::new();
    for sheet in sheets(plan) {
        if !text.is_empty() {
            text.push('\n');
        }
        write_sheet(&mut text, &sheet);
    }
    text
}

fn write_sheet(text: &mut String, sheet: &Sheet) {
    let _ = writeln!(text, "{}\n{}", sheet.title, "=".repeat(sheet.title.chars().count()));
    let last = sheet.columns.len().saturating_sub(1);
    let wide: Vec<usize> = (0..sheet.columns.len()).map(|at| width(sheet, at)).collect();
    let mut line = |cells: &[&str]| {
        let mut row = String::new();
        for (at, cell) in cells.iter().enumerate() {
            let columns = if at == last { 0 } else { wide[at] };
            let _ = write!(row, "{cell:<columns$}  ");
        }
        let _ = writeln!(text, "{}", row.trim_end());
    };
    if !sheet.rows.is_empty() {
        line(&sheet.columns);
    }
    for (cells, why) in &sheet.rows {
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        line(&cells);
        for part in why.split('\n') {
            for piece in broken(part, WIDTH - 4) {
                line(&[&format!("    {piece}")]);
            }
        }
    }
    for note in &sheet.notes {
        for (at, piece) in broken(note, WIDTH - 2).iter().enumerate() {
            line(&[&format!("{} {piece}", if at == 0 { "*" } else { " " })]);
        }
    }
}

/// Returns the width of a column: its widest cell, but one long cell does not move all others.
fn width(sheet: &Sheet, at: usize) -> usize {
    let cells = sheet.rows.iter().filter_map(|(cells, _)| cells.get(at));
    let widths = cells.map(|cell| cell.chars().count()).filter(|wide| *wide <= CELL);
    let head = sheet.columns.get(at).map_or(0, |column| column.chars().count());
    widths.max().unwrap_or(0).max(head)
}

/// Breaks a sentence at spaces.
fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
