//! `diff`: compares two exports.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    DiffBy, DiffFile, DiffOptions, DiffSide, DiffSummary, Difference, Error, Location, Result,
    StorageOptions,
    destination::resolve_links,
    diff,
    tasks::Worker,
    text::{counted, grouped, harmless},
};
use clap::Args;
use console::measure_text_width;

use super::{
    global::Global,
    lines::Lines,
    progress::Screen,
    storage::Storage,
    table::{cut, stdout_width, terminal_width},
    value_limit::ValueLimit,
    values,
};

/// Exit code of a comparison that found differences.
const DIFFERENT: u8 = 1;
/// Time that a comparison has to end after a signal.
const GRACE: Duration = Duration::from_secs(5);

/// Compare two exports, also of different formats, and print what changed
#[derive(Debug, Args)]
#[command(after_help = "\
Another order of the same rows is not a difference. Exit code: 0 if equal, 1 if different.

Examples:
  overmind-export diff yesterday/ today/
  overmind-export diff v1.parquet v2.jsonl.gz --by order --show 10
  overmind-export diff v1/ v2/ -o changes.parquet")]
pub(super) struct DiffArgs {
    /// First export: a directory of parts or a file in any format; a path, or a URL such as
    /// s3://bucket/prefix/
    #[arg(value_name = "A")]
    before: OsString,
    /// Second export
    #[arg(value_name = "B")]
    after: OsString,
    /// Pair the rows with the same id, order or input; with order and input, ids are not compared
    #[arg(long, value_name = "KEY", default_value = "id", value_parser = values::value::<DiffBy>)]
    by: DiffBy,
    /// Compare JSON by value: 1 equals 1.0, \u00e9 equals é, and the order of keys does not matter
    #[arg(long)]
    ignore_spelling: bool,
    /// Number of added, of removed and of changed rows to print as examples
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = values::whole::<u64>)]
    show: u64,
    /// Print the counts as one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Write each difference as a row to a file or object (.parquet, .arrow, .jsonl, .csv; .jsonl.gz,
    /// .csv.zst and the like), or with - to standard output as JSON Lines
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Replace the output if it exists
    #[arg(long)]
    overwrite: bool,
    /// Directory to spill values of changed rows to [default: the system's temporary directory]
    #[arg(long, value_name = "DIR", value_parser = super::path())]
    temp_dir: Option<PathBuf>,
    /// Where the record of A is, if it was written with --record
    #[arg(long, value_name = "PATH", value_parser = super::path())]
    record_a: Option<PathBuf>,
    /// Where the record of B is, if it was written with --record
    #[arg(long, value_name = "PATH", value_parser = super::path())]
    record_b: Option<PathBuf>,
    #[command(flatten)]
    value_limit: ValueLimit,
    #[command(flatten)]
    storage: Storage,
}

impl DiffArgs {
    /// Compares on a separate thread, so that a signal can stop it and no temporary file stays behind.
    pub(super) fn run(self, global: &Global, screen: &Screen) -> Result<u8> {
        let named = |path: &Option<PathBuf>| path.clone().unwrap_or_default().into_os_string();
        let output = named(&self.output);
        let (record_a, record_b) = (named(&self.record_a), named(&self.record_b));
        let places = [&*self.before, &*self.after, &*output, &*record_a, &*record_b];
        if output == "-" {
            super::require_stdout()?;
        }
        let storage = self.storage.options(global, &places)?;
        let (screen, stop) = (screen.clone(), Arc::<AtomicBool>::default());
        let told = stop.clone();
        super::block_on(async move {
            let comparing = async move {
                let compare = move || self.compare(&storage, &screen, told);
                Worker::start("diff", "the comparison", compare)?.join().await?
            };
            let mut comparing = pin!(comparing);
            let compared = tokio::select! {
                // Catch signals before the first file is staged.
                biased;
                error = super::signals::interrupted_or_hung_up() => {
                    stop.store(true, Ordering::Relaxed);
                    // Do not wait longer than this: the disk may hang.
                    drop(tokio::time::timeout(GRACE, comparing).await);
                    return Err(error);
                }
                compared = comparing.as_mut() => compared,
            };
            compared
        })
    }

    fn compare(
        self,
        storage: &StorageOptions,
        screen: &Screen,
        stop: Arc<AtomicBool>,
    ) -> Result<u8> {
        let before = Location::of(&self.before, storage)?;
        let after = Location::of(&self.after, storage)?;
        let mut file = self.file([&before, &after], storage)?;
        let to_stdout = self.output.as_deref() == Some(Path::new("-"));
        let max_value_bytes = self.value_limit.max_value_bytes;
        let record = |path: &Option<PathBuf>| {
            path.as_ref().map(|path| Location::of(path, storage)).transpose()
        };
        let (record_a, record_b) = (record(&self.record_a)?, record(&self.record_b)?);
        let (by, temp_dir, ignore_spelling) = (self.by, self.temp_dir, self.ignore_spelling);
        let options = DiffOptions {
            by,
            temp_dir,
            stop,
            max_value_bytes,
            record_a,
            record_b,
            ignore_spelling,
        };
        let found = diff(&before, &after, options)?;
        let code = if found.summary().is_equal() { 0 } else { DIFFERENT };
        let tell = |lines: Lines| match to_stdout {
            true => {
                screen.say(lines);
                Ok(())
            }
            false => super::ignore_closed_stdout(super::print(&lines.wrapped(terminal_width()))),
        };
        let silent = self.json || screen.is_quiet();
        if self.json {
            super::ignore_closed_stdout(super::print_json(found.summary()))?;
        } else if !silent {
            tell(report(found.summary()))?;
        }
        let mut examples = Examples::new(self.by, if silent { 0 } else { self.show });
        if file.is_some() || examples.each > 0 {
            let limit = if file.is_some() { None } else { Some(examples.each) };
            let told = found.differences(limit, |difference| {
                if let Some(file) = &mut file {
                    file.push(&difference)?;
                }
                match examples.render(&difference) {
                    Some(lines) => tell(lines),
                    None => Ok(()),
                }
            });
            if let Err(Error::OutputClosed) = told {
                // The reader of the pipe closed it, because it needs no more differences.
                return Ok(code);
            }
            told?;
        }
        if let (Some(file), Some(path)) = (file, &self.output) {
            let rows = match file.publish() {
                Err(Error::OutputClosed) => return Ok(code),
                published => published?,
            };
            if !silent && !to_stdout {
                let rows = counted(rows, "difference");
                tell(Lines::one("").and(format_args!("{rows} in {}", path.display())))?;
            }
        }
        Ok(code)
    }

    /// Creates the file for `-o`. Does this before the comparison, so that an invalid output is refused first.
    fn file(&self, sides: [&Location; 2], storage: &StorageOptions) -> Result<Option<DiffFile>> {
        let Some(path) = &self.output else {
            if self.overwrite {
                return Err(Error::Usage(
                    "--overwrite replaces the output of -o: give both or neither".to_owned(),
                ));
            }
            return Ok(None);
        };
        if path == Path::new("-") && self.json {
            return Err(Error::Usage(
                "--json and -o - both write to standard output: leave one out".to_owned(),
            ));
        }
        if sides.into_iter().any(|side| is_in(path, side)) {
            return Err(Error::Invalid {
                what: "output",
                value: path.display().to_string(),
                why: "it is one of the compared exports, or inside one".to_owned(),
            });
        }
        DiffFile::create(path, self.overwrite, storage).map(Some)
    }
}

/// Returns whether an output is the export itself or lies directly in it.
fn is_in(output: &Path, export: &Location) -> bool {
    let Some(export) = export.as_local() else {
        let (output, export) = (output.to_string_lossy(), export.to_string());
        let rest = output.strip_prefix(export.trim_end_matches('/'));
        return rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    };
    let own = |path: &Path| path.canonicalize().ok();
    // The file is written where a link leads.
    let output = &resolve_links(output).unwrap_or_else(|_| output.to_owned());
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = own(folder.unwrap_or(Path::new(".")));
    own(export).is_some_and(|export| {
        own(output).as_ref() == Some(&export) || folder.as_ref() == Some(&export)
    })
}

/// Returns the counts, with notes that explain them.
fn report(summary: &DiffSummary) -> Lines {
    let DiffSummary { before, after, by, .. } = summary;
    let mut lines = Lines::default();
    let mut line = |line: String| lines.push(line);
    let ignored = if summary.ignore_spelling { ", spelling of JSON ignored" } else { "" };
    line(format!("{} → {}, by {by}{ignored}", before.path.display(), after.path.display()));
    if summary.is_equal() {
        let rows = counted(summary.unchanged, "row");
        line(match summary.columns.is_empty() {
            true => format!("equal in {by}: {rows}"),
            false => format!("equal: {rows}"),
        });
    } else {
        line(format!(
            "{} added · {} removed · {} changed · {} unchanged",
            grouped(summary.added),
            grouped(summary.removed),
            grouped(summary.changed),
            grouped(summary.unchanged)
        ));
    }
    let columns = summary.columns.iter().filter(|(_, count)| **count > 0);
    let columns: Vec<_> =
        columns.map(|(column, count)| format!("{column} in {}", grouped(*count))).collect();
    if !columns.is_empty() {
        line(format!("changed: {}", columns.join(", ")));
    }
    if summary.respelled > 0 {
        let (respelled, changed) = (summary.respelled, counted(summary.changed, "changed row"));
        let (differ, left) = match respelled {
            1 => ("differs only in the spelling of its JSON", "it"),
            _ => ("differ only in the spelling of their JSON", "them"),
        };
        let respelled = grouped(respelled);
        line(format!(
            "note: {respelled} of {changed} {differ}: --ignore-spelling leaves {left} out"
        ));
    }
    if summary.columns.is_empty() {
        line(format!(
            "note: only {by} was compared: the two exports have no other column in common"
        ));
    }
    for side in [before, after] {
        notes(side, *by).into_iter().for_each(&mut line);
    }
    if summary.shared_keys == 0 && before.rows > 0 && after.rows > 0 {
        line(format!("note: the two exports share no {by}"));
        if *by == DiffBy::Id {
            line(
                "hint: a new dataset version may give every datapoint a new id: compare rows \
                 with --by order or --by input instead"
                    .to_owned(),
            );
        }
    }
    lines
}

fn notes(side: &DiffSide, by: DiffBy) -> Vec<String> {
    let path = side.path.display();
    let mut notes = Vec::new();
    if !side.only_here.is_empty() {
        let columns: Vec<_> = side.only_here.iter().map(|it| it.name()).collect();
        notes.push(format!("not compared: {} (only in {path})", columns.join(", ")));
    }
    if !side.computed.is_empty() {
        let columns = side.computed.join(", ");
        notes.push(format!("not compared: {columns} (computed by expressions in {path})"));
    }
    if side.without_key > 0 {
        let rows = counted(side.without_key, "row");
        notes.push(format!("note: {rows} of {path} without {by}: paired only with equal rows"));
    }
    if side.repeated_keys > 0 {
        let rows = counted(side.repeated_keys, "row");
        notes.push(format!(
            "note: {rows} of {path} with a repeated {by}: equal rows are paired first; if one row \
             is left on each side, it counts as changed"
        ));
    }
    notes
}

/// The first differences of each kind, as text that fits the terminal and has no control characters.
struct Examples {
    by: DiffBy,
    each: u64,
    shown: [u64; 3],
    width: usize,
}

impl Examples {
    fn new(by: DiffBy, each: u64) -> Self {
        Self { by, each, shown: [0; 3], width: stdout_width().max(40) }
    }

    fn render(&mut self, difference: &Difference) -> Option<Lines> {
        let shown = &mut self.shown[difference.kind as usize];
        if *shown >= self.each {
            return None;
        }
        *shown += 1;
        let key = match &difference.key {
            Some(key) => beginning(key, self.width),
            None => format!("(no {})", self.by),
        };
        let mut lines = Lines::one("");
        lines.push(cut(&format!("{} {key}", difference.kind), self.width));
        let rows = (difference.before.as_ref(), difference.after.as_ref());
        match rows {
            (Some(before), Some(after)) => {
                for ((column, before), (_, after)) in before.values.iter().zip(&after.values) {
                    lines.push(self.change(column.name(), before, after));
                }
            }
            (Some(row), None) | (None, Some(row)) => {
                let values = row.values.iter();
                let values =
                    values.filter(|(column, value)| *column != self.by.column() && value != "null");
                for (column, value) in values {
                    let line = format!("  {column}: {}", beginning(value, self.width));
                    lines.push(cut(&line, self.width));
                }
            }
            (None, None) => {}
        }
        Some(lines)
    }

    /// Returns `column: before → after` on one line. Long texts begin shortly before their first difference.
    fn change(&self, column: &str, before: &str, after: &str) -> String {
        const ARROW: &str = " → ";
        let head = format!("  {column}: ");
        let room = self.width.saturating_sub(head.len() + measure_text_width(ARROW));
        let fits = before.len() + after.len() <= room;
        let from = if fits { 0 } else { context_start(before, after) };
        let [before, after] = [before, after].map(|text| match from {
            0 => beginning(text, room),
            from => format!("…{}", beginning(&text[from..], room)),
        });
        let lengths = [&before, &after].map(|text| measure_text_width(text));
        let half = room / 2;
        let rooms = match lengths {
            [first, _] if first <= half => [first, room - first],
            [_, second] if second <= half => [room - second, second],
            _ => [half, room - half],
        };
        format!("{head}{}{ARROW}{}", cut(&before, rooms[0]), cut(&after, rooms[1]))
    }
}

/// Returns the byte offset at which to begin two texts, so that their first difference is visible. This is 12
/// characters before the difference, or 0 if the difference is near the start.
fn context_start(before: &str, after: &str) -> usize {
    const LEAD: usize = 12;
    let mut same = before.bytes().zip(after.bytes()).take_while(|(a, b)| a == b).count();
    while !before.is_char_boundary(same) {
        same -= 1;
    }
    let lead = before[..same].char_indices().rev().nth(LEAD - 1);
    lead.map_or(0, |(at, _)| at).checked_sub(LEAD).map_or(0, |at| at + LEAD)
}

fn beginning(text: &str, width: usize) -> String {
    harmless(text, width + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn examples(width: usize) -> Examples {
        Examples { by: DiffBy::Id, each: 1, shown: [0; 3], width }
    }

    #[test]
    fn change_begins_shortly_before_first_difference() {
        let long =
            |word| format!("{{\"text\":\"{} {word} {}\"}}", "x".repeat(200), "y".repeat(200));
        assert_eq!(
            examples(60).change("input", &long("old"), &long("new")),
            "  input: …xxxxxxxxxxx old yyyyyy… → …xxxxxxxxxxx new yyyyyy…"
        );
        assert_eq!(examples(60).change("order", "1", "null"), "  order: 1 → null");
        assert_eq!(
            examples(40).change("tags", "null", &long("new")),
            "  tags: null → {\"text\":\"xxxxxxxxxxxxxxx…"
        );
    }

    proptest! {
        #[test]
        fn change_fits_terminal_without_control_chars(
            before in "[a-zü😀\\u{0}-\\u{1f}\"]{0,200}",
            after in "[a-zü😀\\u{0}-\\u{1f}\"]{0,200}",
            shared in "[a-zü😀]{0,60}",
            width in 40_usize..120,
        ) {
            let line = examples(width).change("input", &(shared.clone() + &before), &(shared + &after));
            prop_assert!(measure_text_width(&line) <= width, "{line:?}");
            prop_assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
}
