use std::path::Path;

use super::super::report::{Report, Source};
use super::*;

const COLUMNS: Columns = Columns { known: &["name", "note"], needed: "name", example: "name,note" };

type Rows = Vec<(u32, String, Option<String>)>;

/// Returns the rows of a text, or its problems as they are shown.
fn rows(text: &str) -> Result<Rows, String> {
    let mut rows = Vec::new();
    let problems = read(text, &COLUMNS, |row| {
        let name = row.needed("name", |text| Ok(text.to_owned()))?;
        let note = row.read("note", |text| Ok(text.to_owned()))?;
        rows.push((row.line(), name, note));
        Some(())
    });
    if problems.is_empty() {
        return Ok(rows);
    }
    let source =
        Source { path: Path::new("l.csv").to_owned(), text: text.to_owned(), ..Source::default() };
    Err(Report::new(source, problems).to_string())
}

fn row(line: u32, name: &str, note: &str) -> (u32, String, Option<String>) {
    (line, name.to_owned(), (!note.is_empty()).then(|| note.to_owned()))
}

#[test]
fn ends_of_lines_and_a_byte_order_mark_are_no_part_of_a_field() {
    for text in [
        "name,note\na,b\n",
        "name,note\r\na,b\r\n",
        "name,note\r\na,b",
        "\u{feff}name,note\r\na,b\r\n",
        "\u{feff}\"name\",\"note\"\na,b\n",
        "note , name\n b ,\ta\n",
    ] {
        assert_eq!(rows(text).unwrap(), [row(2, "a", "b")], "{text:?}");
    }
    assert_eq!(rows("\u{feff}").unwrap(), []);
}

#[test]
fn empty_lines_and_remarks_count_as_lines_alone() {
    let text = "\u{feff}# remark, \"\n\nname,note\r\n  \r\n#\na,\r\n";
    assert_eq!(rows(text).unwrap(), [row(6, "a", "")]);
}

#[test]
fn a_quoted_field_holds_commas_spaces_and_quotes() {
    let text = "name,note\n\"a, b\",\" c \"\n\"say \"\"x\"\"\",\"\"\n\"#1\",\n";
    let expected = [row(2, "a, b", " c "), row(3, "say \"x\"", ""), row(4, "#1", "")];
    assert_eq!(rows(text).unwrap(), expected);
}

#[test]
fn a_bad_row_is_told_of_exactly() {
    for (text, told) in [
        (
            "name,note\na\n",
            "error[config-malformed]: 1 fields in a list of 2 columns\n --> l.csv:2:1\n",
        ),
        (
            "name,note\na,b,c\n",
            "error[config-malformed]: 3 fields in a list of 2 columns\n --> l.csv:2:1\n",
        ),
        (
            "name,note\na,\"b\n",
            "error[config-malformed]: a quote is opened and not closed on its line\n\
             \x20--> l.csv:2:3\n",
        ),
        (
            "name,note\n\"a\" ,b\n",
            "error[config-malformed]: text after a quoted field\n --> l.csv:2:1\n",
        ),
        (
            "name,note\na, \"b\"\n",
            "error[config-malformed]: a quote inside a field\n --> l.csv:2:4\n",
        ),
        (
            "name,note\r\n,b\r\n",
            "error[config-missing-key]: line 2: the name is missing\n --> l.csv:2:1\n",
        ),
        (
            "note\nb\n",
            "error[config-missing-key]: the first line names no column `name`\n --> l.csv:1:1\n",
        ),
        (
            "\u{feff}name,nota\n",
            "error[config-unknown-key]: there is no column `nota`\n --> l.csv:1:7\n",
        ),
        (
            "name,name\n",
            "error[config-contradiction]: the column `name` is named twice\n --> l.csv:1:6\n",
        ),
    ] {
        let report = rows(text).expect_err(text);
        assert!(report.starts_with(told), "{text:?}:\n{report}");
    }
}

#[test]
fn a_row_is_found_again_though_others_are_wrong() {
    let text = "\u{feff}name,note\nx\n\"b\",1\nb,2\n";
    let found = find(text, &COLUMNS, |row| {
        let (_, name) = row.field("name")?;
        (name == "b").then(|| row.line())
    });
    assert_eq!(found, Some(3));
    assert_eq!(find("other\nb\n", &COLUMNS, |_| Some(())), None);
    assert_eq!(find("", &COLUMNS, |_| Some(())), None);
}
