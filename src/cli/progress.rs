//! Standard error: a progress bar on a terminal or a line every few seconds elsewhere, plus notes and log lines.

use std::{
    io::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Client, Failure, Progress,
    config::with_keys,
    text::{grouped, harmless_json, line},
};
use console::{Term, measure_text_width, style};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use super::{
    flags::with_flags,
    lines::{self, Lines},
    table::cut,
};

/// Time between two updates of a bar.
const FRAME: Duration = Duration::from_millis(100);
/// Time between two progress lines if standard error is not a terminal.
const LINE: Duration = Duration::from_secs(5);
/// Smallest width of a bar.
const BAR: usize = 10;

/// Standard error, with its display settings and its progress bars. It hides the bars while it prints text.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    shown: bool,
    quiet: bool,
    json: bool,
    bars: MultiProgress,
}

impl Screen {
    /// `json` writes each text as a JSON object on one line, like the log.
    pub(super) fn new(shown: bool, quiet: bool, json: bool) -> Self {
        Self { shown, quiet, json, bars: MultiProgress::new() }
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Prints lines, unless `--quiet` is given.
    pub(super) fn say(&self, lines: Lines) {
        if !self.quiet {
            self.lines(lines);
        }
    }

    /// Prints the report of a failure, also with `--quiet`. `job` is empty or the name of the failed job.
    pub(super) fn print_failure(&self, job: &str, failure: &Failure) {
        self.write(&lines::report(job, failure, self.json));
    }

    fn lines(&self, lines: Lines) {
        self.write(&match self.json {
            true => lines::log_object("INFO", lines.text()),
            false => lines.wrapped(width()).text(),
        });
    }

    fn write(&self, text: &str) {
        self.bars.suspend(|| {
            // Ignore a write error: standard error is closed, so the error cannot be shown.
            drop(io::stderr().lock().write_all(text.as_bytes()));
        });
    }

    /// Returns a function that creates a writer for each log line. Control characters are escaped in JSON here;
    /// in text, they were already replaced in the fields.
    pub(super) fn writer(&self) -> impl Fn() -> LogLine + Send + Sync + 'static {
        let (bars, json) = (self.bars.clone(), self.json);
        move || LogLine { bars: bars.clone(), json, text: Vec::new() }
    }

    /// Shows the progress of an export until [`Shown::end`].
    pub(super) fn show(&self, client: Client, progress: Arc<Progress>) -> Shown {
        self.show_as("", client, progress)
    }

    /// Shows the progress of one of several exports, with its name.
    pub(super) fn show_as(&self, name: &str, client: Client, progress: Arc<Progress>) -> Shown {
        let view = self.view(name, Some(client), progress);
        Shown { view: view.clone(), task: tokio::spawn(view.run()) }
    }

    /// Shows the progress of work without requests.
    pub(super) fn show_reading(&self, progress: Arc<Progress>) -> Shown {
        let view = self.view("", None, progress);
        Shown { view: view.clone(), task: tokio::spawn(view.run()) }
    }

    fn view(&self, name: &str, client: Option<Client>, progress: Arc<Progress>) -> View {
        let screen = self.clone();
        let bar = (self.shown && !self.json && has_cursor()).then(|| {
            let bar = ProgressBar::no_length().with_style(style_of_line());
            self.bars.add(bar)
        });
        let (name, begun, lined) = (line(name), Instant::now(), None);
        View { screen, name, client, progress, bar, begun, lined }
    }
}

/// The progress bars of a program that embeds this crate. They look like those of the command: a bar on a terminal, or
/// a line every few seconds elsewhere. Bars of calls that run at the same time stand below each other.
#[derive(Debug, Clone)]
pub struct TerminalProgress(Screen);

impl Default for TerminalProgress {
    fn default() -> Self {
        Self(Screen::new(true, true, false))
    }
}

impl TerminalProgress {
    /// Creates a bar. It appears when it is drawn for the first time. Without a client it shows no requests.
    pub fn bar(&self, client: Option<Client>, progress: Arc<Progress>) -> TerminalBar {
        TerminalBar(self.0.view("", client, progress))
    }

    /// Removes all bars from the terminal until the next [`TerminalBar::draw`], so that text can be written.
    pub fn hide(&self) {
        // Ignore an error: standard error is closed, so there is no bar either.
        drop(self.0.bars.clear());
    }
}

/// A progress bar on standard error. It disappears when it is dropped.
#[derive(Debug)]
pub struct TerminalBar(View);

impl TerminalBar {
    /// Draws the current numbers.
    pub fn draw(&mut self) {
        self.0.frame();
    }
}

impl Drop for TerminalBar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0.bar {
            bar.finish_and_clear();
            self.0.screen.bars.remove(bar);
        }
    }
}

/// Whether standard error is a terminal on which a bar can be drawn again. A terminal with `TERM=dumb`, or without
/// `TERM`, gets lines.
fn has_cursor() -> bool {
    Term::stderr().is_term() && !console::is_dumb()
}

/// Returns the width of the terminal on standard error.
fn width() -> Option<usize> {
    Term::stderr().size_checked().map(|(_, columns)| columns.into())
}

/// The progress display of an export.
pub(super) struct Shown {
    view: View,
    task: JoinHandle<()>,
}

impl Shown {
    pub(super) fn end(self) {
        self.task.abort();
        self.view.notes();
        if let Some(bar) = self.view.bar {
            bar.finish_and_clear();
        }
    }
}

#[derive(Debug, Clone)]
struct View {
    screen: Screen,
    /// The job's name, or empty.
    name: String,
    /// Sends the requests; `None` if an export is read back.
    client: Option<Client>,
    progress: Arc<Progress>,
    bar: Option<ProgressBar>,
    begun: Instant,
    lined: Option<Instant>,
}

impl View {
    async fn run(mut self) {
        let mut frames = tokio::time::interval(FRAME);
        loop {
            frames.tick().await;
            self.frame();
        }
    }

    fn frame(&mut self) {
        self.notes();
        match &self.bar {
            Some(bar) => {
                let fields = self.fields();
                bar.set_message(fields.with_bar(&self.name, width().unwrap_or(80)));
            }
            None if self.screen.shown => self.maybe_line(),
            None => {}
        }
    }

    fn notes(&self) {
        let name = self.prefix();
        for note in self.progress.take_notes() {
            let note = match name.is_empty() {
                true => with_flags(&note).into_owned(),
                false => with_keys(&note),
            };
            self.screen.say(Lines::one(format_args!("{name}{note}")));
        }
    }

    fn prefix(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!("{}: ", self.name) }
    }

    fn maybe_line(&mut self) {
        let now = Instant::now();
        if now - self.lined.unwrap_or(self.begun) < LINE {
            return;
        }
        self.lined = Some(now);
        let name = self.prefix();
        // The log has no width.
        let room = width().filter(|_| !self.screen.json).unwrap_or(usize::MAX);
        let text = self.fields().within(room.saturating_sub(measure_text_width(&name)), true);
        self.screen.lines(Lines::one(format_args!("{name}{text}")));
    }

    fn fields(&self) -> ProgressFields {
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        let (rows, kept) = (self.progress.rows(), self.progress.kept());
        // Rows of kept parts were not fetched now.
        let rate = rows.saturating_sub(kept) as f64 / seconds;
        let requests = self.client.as_ref().map(|client| {
            let meter = client.meter();
            let bytes = meter.bytes() as f64 / seconds;
            RequestFields {
                bytes: HumanBytes(bytes as u64).to_string(),
                in_flight: client.in_flight() as u64,
                limit: client.limit() as u64,
                retries: meter.retries(),
            }
        });
        ProgressFields { rows, total: self.progress.total(), rate, requests }
    }
}

/// The values of a progress line.
struct ProgressFields {
    rows: u64,
    /// `None` until the first page has come.
    total: Option<u64>,
    /// Rows fetched in a second.
    rate: f64,
    requests: Option<RequestFields>,
}

/// The values of a progress line about requests.
struct RequestFields {
    /// Bytes received in a second.
    bytes: String,
    in_flight: u64,
    limit: u64,
    retries: u64,
}

impl ProgressFields {
    /// Returns the fields that fit into this width, the position at least. The others are dropped in this order:
    /// requests in flight, retries, bytes per second, rows per second, time left.
    fn within(&self, room: usize, percent: bool) -> String {
        let position = self.position(percent);
        let mut texts = vec![(4, format!("{} rows/s", grouped(self.rate as u64)))];
        if let Some(RequestFields { bytes, in_flight, limit, retries }) = &self.requests {
            texts.push((3, format!("{bytes}/s")));
            texts.push((1, format!("{in_flight} of {limit} in flight")));
            texts.push((2, format!("{} retries", grouped(*retries))));
        }
        if let Some(left) = self.left() {
            texts.push((5, format!("{left} left")));
        }
        loop {
            let texts_of = texts.iter().map(|(_, text)| text.as_str());
            let all: Vec<&str> = std::iter::once(position.as_str()).chain(texts_of).collect();
            let text = all.join(" · ");
            let first = (0..texts.len()).min_by_key(|&index| texts[index].0);
            match first {
                Some(index) if measure_text_width(&text) > room => drop(texts.remove(index)),
                _ => return cut(&text, room),
            }
        }
    }

    fn position(&self, percent: bool) -> String {
        let rows = grouped(self.rows);
        match self.total {
            None if self.rows > 0 => format!("{rows} rows"),
            None => "waiting for the first page".to_owned(),
            Some(total) if percent && total > 0 => {
                let percent = 100.0 * self.rows as f64 / total as f64;
                format!("{rows} of {} rows ({percent:.0} %)", grouped(total))
            }
            Some(total) => format!("{rows}/{} rows", grouped(total)),
        }
    }

    fn left(&self) -> Option<String> {
        let left = self.total?.saturating_sub(self.rows) as f64;
        let seconds = (self.rate > 0.0).then(|| (left / self.rate) as u64)?;
        let seconds = if seconds < 3600 { seconds } else { seconds - seconds % 60 };
        Some(humantime::format_duration(Duration::from_secs(seconds)).to_string())
    }

    /// Returns the line with a bar, which takes the rest of the width. Only a terminal without room for the bar
    /// and the position has no bar. A long name is cut to a third of the width.
    fn with_bar(&self, name: &str, width: usize) -> String {
        let name = match name {
            "" => String::new(),
            name => cut(name, (width / 3).max(3)) + ": ",
        };
        let room = width.saturating_sub(measure_text_width(&name));
        let text_room = room.saturating_sub(BAR + 1);
        if measure_text_width(&self.position(false)) > text_room {
            return cut(&format!("{name}{}", self.within(room, false)), width);
        }
        let text = self.within(text_room, false);
        let bar = room.saturating_sub(measure_text_width(&text) + 1);
        let done = match self.total {
            Some(0) => bar,
            Some(total) => (bar as f64 * self.rows as f64 / total as f64) as usize,
            None => 0,
        };
        let done = done.min(bar);
        let (full, empty) = ("█".repeat(done), "░".repeat(bar - done));
        let (full, empty) = (style(full).for_stderr().cyan(), style(empty).for_stderr().dim());
        format!("{name}{full}{empty} {text}")
    }
}

fn style_of_line() -> ProgressStyle {
    ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A buffered log line. It is written at once when dropped, with the progress bars hidden for that moment.
pub(super) struct LogLine {
    bars: MultiProgress,
    json: bool,
    text: Vec<u8>,
}

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        let mut text = std::mem::take(&mut self.text);
        if self.json {
            text = harmless_json(&String::from_utf8_lossy(&text)).into_bytes();
        }
        self.bars.suspend(|| drop(io::stderr().lock().write_all(&text)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(rows: u64, total: u64) -> ProgressFields {
        ProgressFields {
            rows,
            total: Some(total),
            rate: 21_412.0,
            requests: Some(RequestFields {
                bytes: "22.90 MiB".to_owned(),
                in_flight: 16,
                limit: 16,
                retries: 1234,
            }),
        }
    }

    #[test]
    fn narrow_bar_drops_fields_in_order() {
        let fields = fields(48_200, 100_000);
        let line = |width| console::strip_ansi_codes(&fields.with_bar("", width)).into_owned();
        insta::assert_snapshot!([120, 100, 80, 60, 44, 34, 24, 12].map(line).join("\n"), @"
        ███████████░░░░░░░░░░░░ 48,200/100,000 rows · 21,412 rows/s · 22.90 MiB/s · 16 of 16 in flight · 1,234 retries · 2s left
        ███████████░░░░░░░░░░░░░ 48,200/100,000 rows · 21,412 rows/s · 22.90 MiB/s · 1,234 retries · 2s left
        █████████░░░░░░░░░░░ 48,200/100,000 rows · 21,412 rows/s · 22.90 MiB/s · 2s left
        ██████░░░░░░░░ 48,200/100,000 rows · 21,412 rows/s · 2s left
        ██████░░░░░░░░ 48,200/100,000 rows · 2s left
        ██████░░░░░░░░ 48,200/100,000 rows
        48,200/100,000 rows
        48,200/100,…
        ");
    }

    proptest! {
        #[test]
        fn bar_fits_and_is_there_at_80_columns(
            rows in 0..1_000_000_000_u64,
            more in 0..1_000_000_000_u64,
            name in "[a-z漢]{0,100}",
            width in 1_usize..200,
        ) {
            let line = fields(rows, rows + more).with_bar(&name, width);
            prop_assert!(measure_text_width(&line) <= width, "{line:?}");
            prop_assert!(width < 80 || line.contains(['█', '░']), "{line:?}");
        }
    }
}
