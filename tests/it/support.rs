//! Common parts of all tests: the binary in a clean environment, an embedded API and a temporary folder.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use overmind_export::demo::{Background, Dataset, Options, serve_in_background};
use tempfile::TempDir;
use uuid::Uuid;

/// The API key of the tests. It must never appear in any output.
pub(crate) const KEY: &str = "ovr_canary_5f3c9b";
/// The dataset that most tests export.
pub(crate) const ID: Uuid = Uuid::from_u128(0x182b_d5e5_6e1a_4fe4_a799_aa6d_9a6a_b26e);

/// An embedded API and a temporary folder. Both are removed when the value is dropped.
pub(crate) struct World {
    pub(crate) server: Background,
    pub(crate) folder: TempDir,
}

impl World {
    /// An API that serves these rows as [`ID`].
    pub(crate) fn with_rows(options: Options, rows: Vec<String>) -> Self {
        Self::with(options, Dataset::from_rows("rows", rows).with_id(ID))
    }

    /// An API that serves this many generated rows as [`ID`].
    pub(crate) fn generated(options: Options, rows: u64) -> Self {
        Self::with(options, Dataset::generated(rows, 7).with_id(ID))
    }

    /// An API that serves this dataset.
    pub(crate) fn with(options: Options, dataset: Dataset) -> Self {
        let server = serve_in_background(options, vec![dataset]).unwrap();
        Self { server, folder: TempDir::new().unwrap() }
    }

    /// The command, in the folder, with the API's URL and [`KEY`] in its environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = command(self.folder.path());
        command.env("OVERMIND_LAB_BASE_URL", self.server.url()).env("OVERMIND_LAB_API_KEY", KEY);
        command
    }

    /// Runs `export ID` with these arguments.
    pub(crate) fn export(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command().args(["export", &ID.to_string()]).args(arguments))
    }

    /// Starts `export ID` with these arguments, without waiting for its end.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command();
        command.args(["export", &ID.to_string()]).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The sorted names of all entries in the folder, hidden entries included.
    pub(crate) fn entries(&self) -> Vec<String> {
        entries(self.folder.path())
    }

    /// The names that one export leaves in the folder: a directory has its record next to it, a file has none.
    pub(crate) fn exported(&self, name: &str) -> Vec<String> {
        let record = self.path(name).is_dir().then(|| format!("{name}.manifest.json"));
        [name.to_owned()].into_iter().chain(record).collect()
    }
}

/// The sorted names of all entries in a folder, hidden entries included.
pub(crate) fn entries(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

/// The command, in this folder, with an environment that contains only `PATH`.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overmind-export"));
    command.env_clear().current_dir(folder).env("PATH", std::env::var_os("PATH").unwrap());
    command
}

/// The SHA-256 of these bytes, hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Gives the JSON text of a record of the staging the check value that a run gives it, and no other one.
pub(crate) fn resealed(json: &str) -> String {
    let text = json
        .rsplit_once(",\"check\":\"")
        .map_or_else(|| json.trim_end().strip_suffix('}').expect("an object"), |(text, _)| text);
    format!("{text},\"check\":\"{}\"}}", sha256(text.as_bytes()))
}

/// The result of a command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::from(command.output().unwrap())
    }

    /// Asserts that the exit code is 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// The text for a snapshot test: exit code, standard output and standard error. The API's address and
    /// the folder are replaced by fixed words.
    pub(crate) fn told(&self, world: &World) -> String {
        let text = format!("exit {}\n{}{}", self.code.unwrap_or(-1), self.stdout, self.stderr);
        text.replace(&world.server.url(), "http://API")
            .replace(&world.server.addr().to_string(), "API")
            .replace(&world.folder.path().display().to_string(), "FOLDER")
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Processes all items with eight threads. Runs that wait for a backoff leave the processor idle, so more threads
/// than cores are useful.
pub(crate) fn side_by_side<T: Send>(items: impl IntoIterator<Item = T>, work: impl Fn(T) + Sync) {
    let queue = Mutex::new(items.into_iter().collect::<Vec<_>>());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    // Drop the lock's guard before the work starts.
                    let item = queue.lock().unwrap().pop();
                    match item {
                        Some(item) => work(item),
                        None => break,
                    }
                }
            });
        }
    });
}

/// Waits for a state that only the file system shows. Fails after 30 s.
#[track_caller]
pub(crate) fn wait_until(mut reached: impl FnMut() -> bool) {
    let reached = || reached().then_some(());
    poll(Duration::from_secs(30), reached, || "the state was not reached".to_owned());
}

/// Waits for a value that depends on another process, where no paused clock exists. Fails with the message after this
/// time.
#[track_caller]
pub(crate) fn poll<T>(
    limit: Duration,
    mut look: impl FnMut() -> Option<T>,
    message: impl FnOnce() -> String,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        if begun.elapsed() >= limit {
            panic!("{}", message());
        }
        thread::sleep(Duration::from_millis(1));
    }
}
