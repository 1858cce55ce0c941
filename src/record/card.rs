//! The dataset card of an export: a README that describes it to people, with the YAML that makes Hugging Face's
//! `load_dataset` find its files.
//!
//! It has no time and no host name, so equal exports have equal cards. Text from outside is escaped.

use std::fmt::Write;

use serde_json::Value;

use super::{
    earlier::{EarlierTransform, rows_of_dataset},
    layout::{folder_and_name, is_part_path},
    manifest::{Completeness, Manifest, Part},
};
use crate::{
    batch::{ColumnType, OutputColumn},
    nested::RESCUED,
    sink::{Format, JsonColumns},
    text::{counted, grouped},
    transform::TransformRecord,
};

/// Name of the card in the directory of the export.
pub(crate) const CARD: &str = "README.md";
/// The folder of the data next to a card.
pub(crate) const DATA: &str = "data";
/// Name of the only split of an export without splits.
const ALL: &str = "train";

/// Whether Hugging Face allows this name of a split.
pub(crate) fn is_hub_name(name: &str) -> bool {
    name != "all" && !name.contains('-')
}

impl Manifest {
    /// Whether there is a card that `load_dataset` cannot read as a whole: it refuses splits without rows.
    pub(crate) fn has_empty_card(&self) -> bool {
        self.card.is_some() && self.rows == 0
    }

    /// Returns the files that the record lists: path, size in bytes and SHA-256 of each part, and of the card.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, u64, &str)> {
        let parts = self.parts.iter().map(|part| (&*part.path, part.bytes, &*part.sha256));
        let card = self.card.as_ref().map(|card| (CARD, card.bytes, &*card.sha256));
        parts.chain(card)
    }
}

/// Whether a run gives this path to a file of an export: a part or the card.
pub(crate) fn is_export_path(path: &str) -> bool {
    path == CARD || is_part_path(path)
}

/// Returns the text of the card that belongs to a record.
pub(crate) fn text(manifest: &Manifest) -> String {
    let mut card = front_matter(manifest);
    // Writing to a string cannot fail.
    let _ = body(&mut card, manifest);
    card
}

/// A split of the card.
struct CardSplit<'a> {
    name: &'a str,
    folder: &'a str,
    files: u64,
    rows: u64,
    bytes: u64,
}

/// Returns the splits, in the order of the record. Without splits, all rows are in one.
fn splits(manifest: &Manifest) -> Vec<CardSplit<'_>> {
    let mut splits: Vec<CardSplit<'_>> = Vec::new();
    for part in &manifest.parts {
        let Part { path, split, rows, bytes, .. } = part;
        let name = split.as_deref().unwrap_or(ALL);
        if splits.last().is_none_or(|last| last.name != name) {
            let folder = folder_and_name(path).0;
            splits.push(CardSplit { name, folder, files: 0, rows: 0, bytes: 0 });
        }
        if let Some(last) = splits.last_mut() {
            last.files += 1;
            last.rows = last.rows.saturating_add(*rows);
            last.bytes = last.bytes.saturating_add(*bytes);
        }
    }
    splits
}

/// Returns a text as a string of YAML: a JSON string in which every character that YAML does not print is an escape.
fn quoted(text: &str) -> String {
    let is_printed = |c: char| match c {
        ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => {
            // These two end a line, and a parser drops a byte order mark.
            !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
        }
        _ => false,
    };
    let mut yaml = String::new();
    for c in Value::from(text).to_string().chars() {
        match is_printed(c) {
            true => yaml.push(c),
            // Characters beyond 0xffff are printed.
            false => yaml += &format!("\\u{:04x}", u32::from(c)),
        }
    }
    yaml
}

/// Returns the YAML at the beginning.
fn front_matter(manifest: &Manifest) -> String {
    let mut yaml = "---\nconfigs:\n- config_name: default\n  data_files:\n".to_owned();
    let splits = splits(manifest);
    // The loader refuses a split without rows, and all others with it.
    let is_listed = |split: &&CardSplit<'_>| split.rows > 0 || manifest.rows == 0;
    for CardSplit { name, folder, .. } in splits.iter().filter(is_listed) {
        let path = if folder.is_empty() { "part-*".to_owned() } else { format!("{folder}/part-*") };
        yaml += &format!("  - split: {}\n    path: {}\n", quoted(name), quoted(&path));
    }
    // The values of JSON Lines have types of their own, which the loader finds.
    if let Some(types) = features(manifest) {
        yaml += "dataset_info:\n  features:\n";
        for (name, key, kind) in types {
            yaml += &format!("  - name: {}\n    {key}: {kind}\n", quoted(name));
        }
    }
    yaml += &format!("size_categories:\n- {}\n---\n", size_category(manifest.rows));
    yaml
}

/// Returns the columns and their types as Hugging Face names them: `dtype` and the type, or `list` and that of the
/// elements. `None` for JSON Lines with JSON values, and for nested columns.
fn features(manifest: &Manifest) -> Option<Vec<(&str, &'static str, &'static str)>> {
    let is_text = match manifest.format {
        // The files have the types of nested columns, which the loader reads.
        _ if manifest.nested.is_some() => return None,
        Format::Parquet | Format::Arrow => false,
        Format::Csv => true,
        Format::JsonLines if manifest.json_columns == Some(JsonColumns::Text) => true,
        Format::JsonLines => return None,
    };
    let plain = |column_type: ColumnType| match column_type {
        ColumnType::Int => "int64",
        ColumnType::Float => "float64",
        ColumnType::Bool => "bool",
        ColumnType::Timestamp if !is_text => "timestamp[us, tz=UTC]",
        // A cell of CSV has the JSON text of its list.
        ColumnType::String | ColumnType::Json | ColumnType::Timestamp | ColumnType::List(_) => {
            "string"
        }
    };
    let feature = |column: &OutputColumn| match column.column_type() {
        ColumnType::List(item) if manifest.format != Format::Csv => {
            ("list", plain(item.column_type()))
        }
        column_type => ("dtype", plain(column_type)),
    };
    let columns = manifest.columns.iter().map(|column| (column.name(), feature(column)));
    let columns = columns.map(|(name, (key, kind))| (name, key, kind));
    Some(columns.chain(manifest.has_rescued().then_some((RESCUED, "dtype", "string"))).collect())
}

/// Returns the class of size that the hub lists datasets by.
fn size_category(rows: u64) -> String {
    let names = ["1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T"];
    let limits = (0..names.len() as u32).map(|power| 1000 * 10_u64.pow(power));
    let above = limits.take_while(|limit| rows >= *limit).count();
    match (above.checked_sub(1).and_then(|below| names.get(below)), names.get(above)) {
        (None, Some(most)) => format!("n<{most}"),
        (Some(least), Some(most)) => format!("{least}<n<{most}"),
        (_, None) => "n>1T".to_owned(),
    }
}

fn body(card: &mut String, manifest: &Manifest) -> std::fmt::Result {
    let from = manifest.converted_from.as_ref();
    let snapshot = manifest.snapshot.as_ref().or_else(|| from?.snapshot.as_ref());
    let name = snapshot.and_then(|snapshot| snapshot.listed.as_ref()?.name.clone());
    let dataset = manifest.dataset.map(|id| id.to_string());
    let title = name.or_else(|| dataset.clone()).unwrap_or_else(|| "Dataset".to_owned());
    writeln!(card, "\n# {}\n", escaped(&title))?;
    let tool = format!("{} {}", escaped(&manifest.tool.name), escaped(&manifest.tool.version));
    match (dataset, from) {
        (Some(dataset), None) => {
            writeln!(card, "Exported from the dataset `{dataset}` by {tool}.")?;
        }
        (Some(dataset), Some(_)) => {
            writeln!(card, "Converted from an export of the dataset `{dataset}` by {tool}.")?;
        }
        (None, _) => writeln!(card, "Converted by {tool} from rows of an unknown dataset.")?,
    }

    writeln!(card, "\n## Size\n\n| split | rows | files | bytes |\n|---|---:|---:|---:|")?;
    for CardSplit { name, files, rows, bytes, .. } in splits(manifest) {
        let numbers = [rows, files, bytes].map(grouped).join(" | ");
        writeln!(card, "| {} | {numbers} |", escaped(name))?;
    }

    if manifest.rows == 0 {
        writeln!(
            card,
            "\nThere are no rows. `load_dataset()` reads such a dataset only with `streaming=True`."
        )?;
    }
    writeln!(card, "\n## Provenance\n")?;
    writeln!(card, "- Completeness: {}", completeness(manifest))?;
    let filters = match manifest.query.as_ref().map(ToString::to_string) {
        None => "unknown".to_owned(),
        Some(query) if query.is_empty() => "none".to_owned(),
        Some(query) => code(&query),
    };
    writeln!(card, "- Filters of the API: {filters}")?;
    writeln!(card, "- Digest of the rows: {}", code(&manifest.digest))?;
    for split in &manifest.splits {
        writeln!(card, "  - {}: {}", escaped(&split.name), code(&split.digest))?;
    }
    for EarlierTransform { rows_read, rows, split, transform } in &manifest.earlier {
        let (read, rows) = (grouped(*rows_read), counted(*rows, "row"));
        let split = split.as_ref().map(|split| format!(", the split {}", escaped(split)));
        let split = split.unwrap_or_default();
        let what = format!("Earlier transformation ({rows} of {read}{split})");
        transformation(card, &what, transform)?;
    }
    if let Some(transform) = &manifest.transform {
        transformation(card, "Transformation of the rows", transform)?;
    }

    writeln!(card, "\n## Columns\n\n| column | type |\n|---|---|")?;
    for column in &manifest.columns {
        let own = manifest.nested.iter().flatten().find(|it| it.name == column.name());
        let leaves = match own {
            Some(own) => own.leaves(),
            None => vec![(column.name().to_owned(), column.column_type().name())],
        };
        for (name, kind) in leaves {
            writeln!(card, "| {} | {} |", escaped(&name), escaped(kind))?;
        }
    }
    if manifest.has_rescued() {
        writeln!(card, "| {} | json |", escaped(RESCUED))?;
    }
    Ok(())
}

/// Writes how rows were chosen and changed.
fn transformation(card: &mut String, what: &str, transform: &TransformRecord) -> std::fmt::Result {
    // The card may be published, and the check value would let others test keys.
    let shown = TransformRecord { pseudonym_key: None, ..transform.clone() };
    let json = serde_json::to_string_pretty(&shown).map_err(|_| std::fmt::Error)?;
    let fence = "`".repeat(3.max(longest_run(&json) + 1));
    writeln!(card, "- {what}:\n\n{fence}json\n{json}\n{fence}")
}

fn completeness(manifest: &Manifest) -> String {
    let read = rows_of_dataset(&manifest.earlier, manifest.rows_read);
    let (read, rows) = (grouped(read), counted(manifest.rows, "row"));
    let Some(count) = manifest.count else {
        return format!("unknown: the source does not say it ({rows} written)");
    };
    let of = counted(count, "row");
    let claim = match manifest.completeness {
        Completeness::Proven => "proven: every row of the dataset was read exactly once",
        Completeness::Partial => "partial: only some rows of the dataset were read",
    };
    format!("{claim} ({read} of {of} read, {rows} written)")
}

/// Escapes a text for one line of Markdown: no character of it is markup, also in a table.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_control() => escaped.push(' '),
            c if c.is_ascii_punctuation() && !matches!(c, '-' | '_' | '.' | ',' | ':') => {
                escaped.extend(['\\', c]);
            }
            // Inside a word it is no markup, and at its beginning or its end it can be.
            '_' => escaped.push_str("\\_"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Returns a text as code in one line of Markdown.
fn code(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let fence = "`".repeat(longest_run(&text) + 1);
    // A space that is stripped again separates backticks from the fence.
    format!("{fence} {text} {fence}")
}

/// Returns the length of the longest run of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_is_no_markup() {
        assert_eq!(escaped("a|b"), "a\\|b");
        assert_eq!(escaped("<img src=x>\n# *x*"), "\\<img src\\=x\\> \\# \\*x\\*");
        assert_eq!(escaped("[x](y) `z` _w_"), "\\[x\\]\\(y\\) \\`z\\` \\_w\\_");
        assert_eq!(code("a`b``c"), "``` a`b``c ```");
        assert_eq!(code("a\nb"), "` a b `");
    }

    #[test]
    fn yaml_has_only_characters_that_it_prints() {
        assert_eq!(quoted("naïve \"x\" 😀\u{1ffff}"), "\"naïve \\\"x\\\" 😀\u{1ffff}\"");
        let hidden = "\u{fffe}\u{ffff}\u{feff}\u{85}\u{9f}\u{2028}\u{7f}\n\0";
        let escaped = r#""\ufffe\uffff\ufeff\u0085\u009f\u2028\u007f\n\u0000""#;
        assert_eq!(quoted(hidden), escaped);
        assert_eq!(serde_json::from_str::<String>(escaped).unwrap(), hidden);
    }

    #[test]
    fn sizes_have_the_names_of_the_hub() {
        let sizes = [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (250_000, "100K<n<1M")];
        for (rows, name) in sizes.into_iter().chain([(u64::MAX, "n>1T"), (2_000_000, "1M<n<10M")]) {
            assert_eq!(size_category(rows), name, "{rows}");
        }
    }
}
