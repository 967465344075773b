//! The reference, printed from the declaration of the keys.

use std::fmt::Write as _;

use super::schema::{header, sections, sections_of_pool};
use super::section::{Key, Presence, SectionEntry};

/// Returns the reference of all sections and keys in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         One TOML file. Unknown keys are refused. Paths are relative to its directory.\n\
         A reload (SIGHUP) takes all of a changed file or nothing of it. Each key says when a \
         change takes hold:\n\n\
         * `live`: at once, for open connections too\n\
         * `new-connections`: for connections opened from then on\n\
         * `restart`: a reload that changes it is refused\n",
    );
    for section in sections() {
        write_section(&mut text, &section, "");
    }
    for section in sections_of_pool() {
        write_section(&mut text, &section, ", in the file of `av.pool`");
    }
    text
}

fn write_section(text: &mut String, section: &SectionEntry, file: &str) {
    let header = header(section.name, section.repeated);
    let _ = write!(text, "\n## {header}{file}\n\n{}\n", section.meaning.trim());
    for key in &section.keys {
        write_key(text, section.name, key);
    }
}

fn write_key(text: &mut String, section: &str, key: &Key) {
    let default = match key.presence {
        Presence::Required => "none, must be given".to_owned(),
        Presence::Optional => "unset".to_owned(),
        Presence::Default(value) => format!("`{value}`"),
    };
    let see = match key.see {
        [] => "-".to_owned(),
        keys => keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "),
    };
    let _ = write!(
        text,
        "\n### {section}.{}\n\n{}\n\n\
         | | |\n| --- | --- |\n\
         | type | {} |\n\
         | default | {default} |\n\
         | range | {} |\n\
         | reload | `{}` |\n\
         | unset or exceeded | {} |\n\
         | example | `{} = {}` |\n\
         | see also | {see} |\n",
        key.name,
        key.meaning.trim(),
        key.type_text,
        key.range_text,
        key.reload.as_str(),
        key.beyond,
        key.name,
        key.example,
    );
}
