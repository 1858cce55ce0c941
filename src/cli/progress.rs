//! Standard error: a progress bar on a terminal or a line every few seconds elsewhere, plus notes and log lines.

use std::{
    io::{self, IsTerminal, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Client, Progress,
    text::{harmless_json, line},
};
use indicatif::{HumanBytes, HumanCount, MultiProgress, ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use super::{flags::with_flags, lines::Lines};

/// Time between two updates of a bar.
const FRAME: Duration = Duration::from_millis(100);
/// Time between two progress lines if standard error is not a terminal.
const LINE: Duration = Duration::from_secs(5);

/// Standard error, with its display settings and its progress bars. It hides the bars while it prints text.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    shown: bool,
    quiet: bool,
    bars: MultiProgress,
}

impl Screen {
    pub(super) fn new(shown: bool, quiet: bool) -> Self {
        Self { shown, quiet, bars: MultiProgress::new() }
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Prints lines, unless `--quiet` is given.
    pub(super) fn say(&self, lines: &Lines) {
        if !self.quiet {
            self.lines(lines);
        }
    }

    /// Prints lines about an error, also with `--quiet`.
    pub(super) fn print_error(&self, lines: &Lines) {
        self.lines(lines);
    }

    fn lines(&self, lines: &Lines) {
        self.bars.suspend(|| {
            // Ignore a write error: standard error is closed, so the error cannot be shown.
            drop(io::stderr().lock().write_all(lines.text().as_bytes()));
        });
    }

    /// Returns a function that creates a writer for each log line. Control characters are escaped in JSON here;
    /// in text, they were already replaced in the fields.
    pub(super) fn writer(&self, json: bool) -> impl Fn() -> LogLine + Send + Sync + 'static {
        let bars = self.bars.clone();
        move || LogLine { bars: bars.clone(), json, text: Vec::new() }
    }

    /// Shows the progress of an export until [`Shown::end`].
    pub(super) fn show(&self, client: Client, progress: Arc<Progress>) -> Shown {
        self.show_as("", client, progress)
    }

    /// Shows the progress of one of several exports, with its name.
    pub(super) fn show_as(&self, name: &str, client: Client, progress: Arc<Progress>) -> Shown {
        let screen = self.clone();
        let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
        let bar = (self.shown && io::stderr().is_terminal()).then(|| {
            let bar = self.bars.add(ProgressBar::no_length());
            bar.set_style(style());
            bar.set_prefix(line(&name));
            bar
        });
        let (begun, lined) = (Instant::now(), None);
        let view = View { screen, name, client, progress, bar, begun, lined };
        Shown { view: view.clone(), task: tokio::spawn(view.run()) }
    }
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

#[derive(Clone)]
struct View {
    screen: Screen,
    /// Prefix of each line: empty, or the job's name and a colon.
    name: String,
    client: Client,
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
            self.notes();
            match &self.bar {
                Some(bar) => self.draw(bar),
                None if self.screen.shown => self.maybe_line(),
                None => {}
            }
        }
    }

    fn notes(&self) {
        for note in self.progress.take_notes() {
            let note = with_flags(&note);
            self.screen.say(&Lines::one(format_args!("{}{note}", self.name)));
        }
    }

    fn draw(&self, bar: &ProgressBar) {
        if let Some(total) = self.progress.total() {
            bar.set_length(total);
            bar.set_position(self.progress.rows());
        }
        bar.set_message(self.traffic());
    }

    fn maybe_line(&mut self) {
        let now = Instant::now();
        if now - self.lined.unwrap_or(self.begun) < LINE {
            return;
        }
        self.lined = Some(now);
        let rows = self.progress.rows();
        let fetched = rows - self.progress.kept().min(rows);
        let rate = fetched as f64 / self.begun.elapsed().as_secs_f64();
        let of = match self.progress.total() {
            Some(total) if total > 0 => {
                let percent = 100.0 * rows as f64 / total as f64;
                let left = (total.saturating_sub(rows)) as f64 / rate.max(0.001);
                let eta = humantime::format_duration(Duration::from_secs(left as u64));
                format!(" of {} rows ({percent:.0} %), {eta} left", HumanCount(total))
            }
            _ => " rows".to_owned(),
        };
        let text = format!(
            "{}{}{of} · {} rows/s · {}",
            self.name,
            HumanCount(rows),
            HumanCount(rate as u64),
            self.traffic()
        );
        self.screen.lines(&Lines::one(text));
    }

    /// Returns the state of the network: bytes per second, requests in flight, retries.
    fn traffic(&self) -> String {
        let meter = self.client.meter();
        let rate = meter.bytes() as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        format!(
            "{}/s · {} of {} in flight · {} retries",
            HumanBytes(rate as u64),
            self.client.in_flight(),
            self.client.limit(),
            meter.retries()
        )
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template(
        "{prefix}{wide_bar:.cyan/dim} {human_pos}/{human_len} rows · {per_sec} · {msg} · {eta} left",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar())
    .with_key("per_sec", |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
        let _ = write!(out, "{} rows/s", HumanCount(state.per_sec() as u64));
    })
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
