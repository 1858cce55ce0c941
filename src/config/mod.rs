//! Reads the configuration file of nightly snapshots, checks it as a whole, and fills in its defaults.
//!
//! The file is the one given by the user, or else the one in the user's configuration directory. It is never
//! a file in the current directory, because such a file could send the key elsewhere or run a command. Each
//! error names the line in the file. This module sends no requests and touches no snapshots.

mod api;
mod job;
mod keyed;
mod keys;
mod nesting;
mod section;
#[cfg(test)]
mod tests;
mod transform;
pub(crate) mod values;

use std::{
    env, io,
    path::{Component, Path, PathBuf},
};

use toml::de::DeTable;

pub use self::job::{DatasetName, Job, Keep, Schedule, Selection, Unchanged};
pub(crate) use self::keyed::with_keys;
pub(crate) use self::section::nearest;
#[cfg(feature = "cli")]
use self::{
    keys::{Keys, Select},
    section::{ConfigItem, ConfigMistake, Section},
};
use crate::{
    client::{Connection, Query},
    error::{Error, Result},
    files::read_input_text,
    location::{Location, StorageOptions},
    sink::{Encoding, Format, JsonColumns},
};

/// Largest size of a configuration file in bytes. A job takes a few hundred bytes.
const LARGEST: u64 = 16 << 20;

/// A configuration file that has been read and checked.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use overmind_export::Config;
///
/// let text = r#"
///     [defaults]
///     root = "snapshots"
///     keep = { last = 30 }
///
///     [[job]]
///     name = "triage-eval"
///     dataset = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e"
///     schedule = "0 2 * * *"
/// "#;
/// let config = Config::parse(text, "/etc/overmind/snapshots.toml".as_ref())?;
/// assert_eq!(config.jobs[0].root.to_str(), Some("/etc/overmind/snapshots"));
/// assert_eq!(config.jobs[0].keep.map(|keep| keep.last), Some(30));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Config {
    /// Absolute path of the file.
    pub path: PathBuf,
    /// Settings for the connection to the API, with relative paths resolved. Environment variables and flags
    /// take precedence over them.
    pub api: Connection,
    /// The jobs, in the order of the file.
    pub jobs: Vec<Job>,
}

impl Config {
    /// Returns the default path of the file: `overmind-export/snapshots.toml` in `XDG_CONFIG_HOME`, or else in
    /// `~/.config`.
    ///
    /// On Windows the file is in `APPDATA`. Returns `None` if the environment names no such directory.
    pub fn default_path() -> Option<PathBuf> {
        let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
        let folder = if cfg!(windows) {
            absolute("APPDATA")
        } else {
            absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))
        };
        Some(folder?.join("overmind-export").join("snapshots.toml"))
    }

    /// Reads the file at this path. Without a path, reads the file at the default path if it exists.
    ///
    /// # Errors
    /// [`Error::ConfigurationFile`] if the given file is missing, or if a file cannot be read or is not
    /// valid.
    pub fn find(named: Option<&Path>) -> Result<Option<Self>> {
        match named {
            Some(path) => Self::read(path).map(Some),
            None => match Self::default_path().filter(|path| path.exists()) {
                Some(path) => Self::read(&path).map(Some),
                None => Ok(None),
            },
        }
    }

    /// Reads a file. A FIFO is read to its end, which blocks until the writer closes it.
    ///
    /// # Errors
    /// [`Error::ConfigurationFile`] if the file cannot be read or is not valid. For an invalid file it contains
    /// the line and the value.
    pub fn read(path: &Path) -> Result<Self> {
        let unusable = |error: io::Error| unusable(path, error);
        let text = read_input_text(path, LARGEST).map_err(unusable)?;
        Self::parse(&text, path)
    }

    /// Parses the text of a configuration file. Relative paths in it are relative to the folder of `path`; the
    /// file need not exist.
    ///
    /// # Errors
    /// The same as for [`read`](Self::read).
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let absolute = std::path::absolute(path).map_err(|error| unusable(path, error))?;
        parse(text, &absolute)
            .map(|(api, jobs)| Self { path: absolute.clone(), api, jobs })
            .map_err(|wrong| unusable(path, wrong))
    }

    /// Returns the jobs with these names, in the order of the file. Without names, returns all jobs.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a name is unknown. The error contains the most similar known name.
    pub fn jobs_named(&self, names: &[String]) -> Result<Vec<Job>> {
        let known = || self.jobs.iter().map(|job| job.name.as_str());
        if let Some(unknown) = names.iter().find(|name| !known().any(|known| known == **name)) {
            let why = match nearest(unknown, known()) {
                "" => format!("{} has no jobs", self.path.display()),
                nearest => format!("{} has no such job; try {nearest:?}", self.path.display()),
            };
            return Err(Error::invalid("job", unknown, why));
        }
        let wanted = |job: &&Job| names.is_empty() || names.contains(&job.name);
        Ok(self.jobs.iter().filter(wanted).cloned().collect())
    }
}

fn unusable(path: &Path, error: impl Into<crate::error::Cause>) -> Error {
    let source = error.into();
    Error::ConfigurationFile { what: "the configuration", path: path.to_owned(), source }
}

fn parse(text: &str, path: &Path) -> section::ConfigResult<(Connection, Vec<Job>)> {
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let begin = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
        let line = text.get(begin..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        let what = match section::typographic_quote(line) {
            Some(mark) => format!("{mark} is a typographic quotation mark: write \" instead"),
            None => error.message().replace('\n', ", "),
        };
        ConfigMistake::new(text, at, what)
    })?;
    let mut file = Section::new(text, "", 0, document.get_ref());
    let folder = path.parent().unwrap_or(Path::new("/"));
    let resolve = |path: &str| folder.join(path);
    let (api, defaults, jobs) = (file.take("api"), file.take("defaults"), file.take("job"));
    // Report unknown tables first: a key that a job lacks may be in a mistyped [defaults].
    file.finish()?;
    let api = match api {
        Some(item) => api::read(item.section()?, path, resolve)?,
        None => Connection::default(),
    };
    let keys = match &defaults {
        Some(item) => read_defaults(item.section()?)?,
        None => Keys::default(),
    };
    let defaults = Defaults { item: defaults, keys };
    let mut read: Vec<Job> = Vec::new();
    if let Some(item) = jobs {
        for section in item.sections()? {
            read.push(job(text, section, &defaults, &read, resolve)?);
        }
    }
    Ok((api, read))
}

/// The table `[defaults]`.
struct Defaults<'t> {
    item: Option<ConfigItem<'t>>,
    keys: Keys,
}

impl Defaults<'_> {
    /// Returns the defaults of a job that switches these keys off.
    fn without(&self, off: &[&'static str]) -> section::ConfigResult<Keys> {
        match &self.item {
            Some(item) if !off.is_empty() => Keys::read(&mut item.section()?.without(off)),
            _ => Ok(self.keys.clone()),
        }
    }
}

fn read_defaults(mut section: Section<'_>) -> section::ConfigResult<Keys> {
    let keys = Keys::read(&mut section)?;
    // Taken only if it is there: it is none of the keys that an error lists.
    if section.has("name")
        && let Some(name) = section.take("name")
    {
        return Err(name.wrong("each job has its own: give it in [[job]]"));
    }
    section.finish()?;
    if keys.link.is_some() {
        return Err(section.wrong("link: it leads to the snapshots of one job: give it in [[job]]"));
    }
    Ok(keys)
}

fn job(
    text: &str,
    mut section: Section<'_>,
    defaults: &Defaults<'_>,
    before: &[Job],
    resolve: impl Fn(&str) -> PathBuf,
) -> section::ConfigResult<Job> {
    let Some(name_item) = section.take("name") else {
        return Err(section.wrong("it has no name"));
    };
    let name = name_item.parse(job_name)?;
    if let Some(other) = before.iter().find(|job| job.name.eq_ignore_ascii_case(&name)) {
        let line = other.line;
        return Err(name_item.wrong(format!("the job on line {line} has that name already")));
    }
    section.rename(format!("[[job]] {name:?}"));
    let own = Keys::read(&mut section)?;
    // Report unknown keys first: a missing key may be present with a typing error in its name.
    section.finish()?;
    let mut keys = own.or(&defaults.without(section.off())?);
    if keys.nesting.has_schema() && keys.json_columns.is_none() {
        keys.json_columns = Some(JsonColumns::Nested);
    }
    let nesting = keys.nesting.options(&resolve);
    let nesting =
        nesting.map_err(|error| section.wrong_in("schema", &with_keys(&error.one_line())))?;
    let has_card = keys.dataset_card.unwrap_or_default();
    let form = (keys.json_columns, &nesting);
    let checked = encoding(&keys).and_then(|it| keys.transform.check(it, has_card, form));
    checked.map_err(|error| {
        let error = error.one_line();
        section.wrong_about(&error, &with_keys(&error))
    })?;
    let filters = Query {
        agent: keys.agent,
        generator_model: keys.generator_model,
        ordering: None,
        search: keys.search,
        source: keys.source,
        version: keys.version,
        version_min: keys.version_min,
        version_max: keys.version_max,
    };
    let pattern = DatasetName(keys.dataset_name);
    let chooses = filters != Query::default() || pattern.0.is_some();
    let selection = match (keys.dataset, keys.select) {
        (Some(id), _) => Selection::Dataset(id),
        (None, Some(Select::All)) => Selection::All(pattern),
        (None, select) if select.is_some() || chooses => Selection::Latest(pattern),
        (None, _) => {
            let why = "it names no dataset and has no filter to choose one: give dataset, agent, \
                       dataset_name, source, … or select";
            return Err(section.wrong(why));
        }
    };
    let query = Query { ordering: keys.ordering, ..filters };
    query.validate().map_err(|error| section.wrong(error))?;
    let Some(root) = keys.root else {
        return Err(section.wrong("it has no root: give one here or in [defaults]"));
    };
    let is_url = root.contains("://");
    let relative_root = Some(root.clone()).filter(|root| !is_url && Path::new(root).is_relative());
    let root = match is_url {
        true => PathBuf::from(root),
        false => resolve(&root),
    };
    let storage = keys.storage.unwrap_or_default();
    let place =
        Location::of(&root, &storage).map_err(|error| section.wrong(format!("root: {error}")))?;
    let link = keys.link.as_deref().map(&resolve);
    if let Some(why) =
        link.as_ref().and_then(|link| link_problem(link, place.child(&name).as_local(), &selection))
    {
        return Err(section.wrong(format!("link: {why}")));
    }
    let folder = place.child(&name);
    if let Some(why) =
        before.iter().find_map(|other| link_conflict(link.as_deref(), folder.as_local(), other))
    {
        return Err(section.wrong(format!("link: {why}")));
    }
    let on_result = keys.on_result.map(|command| {
        // A name without a slash is searched in PATH, as in a shell.
        let word = |(index, word): (usize, String)| match index == 0 && word.contains('/') {
            true => resolve(&word).into_os_string(),
            false => word.into(),
        };
        command.into_iter().enumerate().map(word).collect()
    });
    let line = 1 + text.as_bytes().iter().take(name_item.start()).filter(|b| **b == b'\n').count();
    Ok(Job {
        name,
        line,
        selection,
        query,
        root,
        relative_root,
        link,
        storage,
        format: keys.format,
        compression: keys.compression,
        parquet_encoding: keys.parquet_encoding,
        json_columns: keys.json_columns,
        nesting,
        csv_bom: keys.csv_bom.unwrap_or_default(),
        csv_safe: keys.csv_safe.unwrap_or_default(),
        dataset_card: keys.dataset_card.unwrap_or_default(),
        transform: keys.transform.transform(&resolve),
        columns: keys.transform.columns,
        drop: keys.transform.drop.unwrap_or_default(),
        page_size: keys.page_size,
        rows_per_file: keys.rows_per_file,
        max_passes: keys.max_passes,
        temp_dir: keys.temp_dir.map(|path| resolve(&path)),
        unchanged: keys.unchanged.unwrap_or_default(),
        keep: keys.keep,
        schedule: keys.schedule,
        timezone: keys.timezone.unwrap_or(chrono_tz::UTC),
        catch_up: keys.catch_up.unwrap_or(true),
        jitter: keys.jitter.unwrap_or_default(),
        on_result,
    })
}

/// Checks the keys of the format with each other.
fn encoding(keys: &Keys) -> Result<Encoding> {
    let format = keys.format.unwrap_or(Format::Parquet);
    let mut encoding = match keys.compression {
        Some(compression) => Encoding::new(format, compression)?,
        None => format.into(),
    };
    if let Some(parquet) = keys.parquet_encoding {
        encoding = encoding.with_parquet_encoding(parquet)?;
    }
    if let Some(csv_bom) = keys.csv_bom {
        encoding = encoding.with_csv_bom(csv_bom)?;
    }
    if let Some(csv_safe) = keys.csv_safe {
        encoding = encoding.with_csv_safe(csv_safe)?;
    }
    Ok(encoding)
}

/// Returns why a job must not have this link to its newest snapshot. `folder` is the job's folder, if it is on a
/// file system.
fn link_problem(link: &Path, folder: Option<&Path>, selection: &Selection) -> Option<&'static str> {
    match (folder, selection) {
        (None, _) => Some("an object store has no links: read latest.json instead"),
        (_, Selection::All(_)) => Some(
            "with select = \"all\" each dataset has a newest snapshot, and a link can lead to only one",
        ),
        (Some(folder), _) if is_inside(link, folder) => Some(
            "readers of the job's folder would read the newest snapshot twice: give a path outside it",
        ),
        _ => None,
    }
}

/// Returns why a job with this link and this folder, and a job before it in the file, mislead readers.
fn link_conflict(link: Option<&Path>, folder: Option<&Path>, other: &Job) -> Option<String> {
    let line = other.line;
    let other_folder = other.folder(&StorageOptions::default()).ok();
    let other_folder = other_folder.as_ref().and_then(Location::as_local);
    if let (Some(link), Some(other)) = (link, &other.link)
        && lexical(link) == lexical(other)
    {
        return Some(format!("the job on line {line} has the same link: give another path"));
    }
    if let (Some(link), Some(other)) = (link, other_folder)
        && is_inside(link, other)
    {
        return Some(format!(
            "it is in the folder of the job on line {line}, whose readers would read these snapshots, too: give a \
             path outside it"
        ));
    }
    if let (Some(folder), Some(other)) = (folder, &other.link)
        && is_inside(other, folder)
    {
        return Some(format!(
            "the link of the job on line {line} is in this job's folder, whose readers would read those snapshots, \
             too: give that link a path outside it"
        ));
    }
    None
}

fn is_inside(path: &Path, folder: &Path) -> bool {
    lexical(path).starts_with(lexical(folder))
}

/// Returns an absolute path without `..`, by its text alone: the link and the folder may not exist yet.
fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// Checks a job's name. It must be a valid folder name on every system and in every store, and must not be
/// the name of one of our control files.
fn job_name(name: &str) -> section::ConfigResult<String, String> {
    let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.chars().all(usual) || name.len() > 100 {
        return Err(
            "a name is also a folder: use letters, digits, - _ . and at most 100 characters"
                .to_owned(),
        );
    }
    if name.starts_with(['.', '_', '-']) {
        return Err("a name begins with a letter or a digit".to_owned());
    }
    Ok(name.to_owned())
}
