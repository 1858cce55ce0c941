//! Reads the options that the Python side passes as dictionaries. The names are those of the library's fields.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use overmind_export::{
    ApiKey, Client, Config, Connection, ConvertOptions, DiffOptions, Error, ExportOptions, Job,
    Location, Progress, Query, ReadOptions, ReportOptions, RunOptions, Stamp, StorageOptions,
    StreamOptions,
    chrono::{DateTime, NaiveDate, NaiveDateTime, Utc},
    cluster::PagePlan,
    secrecy::SecretString,
    uuid::Uuid,
};
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyString},
};

use crate::{
    attach::detached,
    errors::raised,
    logs,
    secret::{Secret, type_name},
    watch::{Cancellation, Watch},
};

/// Options by name. A missing option and `None` are the same.
#[derive(Debug)]
pub(crate) struct Options<'py>(Bound<'py, PyDict>);

impl<'py> Options<'py> {
    /// Takes the options of a call that begins now.
    pub(crate) fn of_call(options: Bound<'py, PyDict>) -> Self {
        logs::begin(options.py());
        Self(options)
    }

    /// Takes the options of a check that begins no call.
    pub(crate) fn of_dict(options: Bound<'py, PyDict>) -> Self {
        Self(options)
    }

    /// Begins to watch a call without requests.
    pub(crate) fn watch(&self) -> PyResult<Watch> {
        self.watch_with(None, Arc::default())
    }

    /// Begins to watch a call that sends requests with this client, and counts these rows.
    pub(crate) fn watch_with(
        &self,
        client: Option<Client>,
        rows: Arc<Progress>,
    ) -> PyResult<Watch> {
        let counts_pages = self.flag("counts_pages")?.unwrap_or(false);
        let cancellation = self.get("cancellation")?;
        let cancellation =
            cancellation.map(|it| Ok::<_, PyErr>(it.cast::<Cancellation>()?.get().clone()));
        Watch::new(self.get("progress")?, cancellation.transpose()?, client, rows, counts_pages)
    }

    pub(crate) fn py(&self) -> Python<'py> {
        self.0.py()
    }

    pub(crate) fn get(&self, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.0.get_item(name)?.filter(|value| !value.is_none()))
    }

    fn invalid(&self, what: &'static str, value: impl Into<String>, why: &str) -> PyErr {
        let error = Error::Invalid { what, value: value.into(), why: why.to_owned() };
        raised(self.py(), &error)
    }

    fn text(&self, name: &str) -> PyResult<Option<String>> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        text(name, "a string", &value).map(Some)
    }

    /// Returns a path, or the text of a URL.
    pub(crate) fn path(&self, name: &str) -> PyResult<Option<PathBuf>> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        value.extract().map(Some).map_err(|_| wrong_type(name, "a path", &value))
    }

    pub(crate) fn flag(&self, name: &str) -> PyResult<Option<bool>> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        let flag = value.cast::<PyBool>().map_err(|_| wrong_type(name, "True or False", &value))?;
        Ok(Some(flag.is_true()))
    }

    /// Returns a whole number. `True` and `False` are no numbers here.
    fn whole(&self, name: &str) -> PyResult<Option<i64>> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        // Integers of numpy have it, too.
        let index = value.call_method0("__index__");
        let (Ok(value), false) = (index, value.is_instance_of::<PyBool>()) else {
            return Err(wrong_type(name, "a whole number", &value));
        };
        // Numbers beyond these have no meaning in any option.
        let end = if value.lt(0)? { i64::MIN } else { i64::MAX };
        Ok(Some(value.extract().unwrap_or(end)))
    }

    pub(crate) fn at_least<T: TryFrom<i64>>(
        &self,
        name: &'static str,
        least: i64,
    ) -> PyResult<Option<T>> {
        let Some(number) = self.whole(name)? else { return Ok(None) };
        let why = if least == 0 { "it must not be negative" } else { "it must be at least 1" };
        if number < least {
            return Err(self.invalid(name, number.to_string(), why));
        }
        let small = T::try_from(number);
        small.map(Some).map_err(|_| self.invalid(name, number.to_string(), "it is too large"))
    }

    pub(crate) fn seconds(&self, name: &'static str) -> PyResult<Option<Duration>> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        let is_number = value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>();
        if !is_number || value.is_instance_of::<PyBool>() {
            return Err(wrong_type(name, "a number of seconds", &value));
        }
        let seconds: f64 = value.extract()?;
        let duration = Duration::try_from_secs_f64(seconds).ok().filter(|it| !it.is_zero());
        let why = "give a number of seconds above zero";
        duration.map(Some).ok_or_else(|| self.invalid(name, seconds.to_string(), why))
    }

    pub(crate) fn parsed<T: FromStr<Err = Error>>(&self, name: &str) -> PyResult<Option<T>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|error| raised(self.py(), &error))
    }

    fn id(&self, name: &'static str) -> PyResult<Option<Uuid>> {
        self.text(name)?.map(|text| dataset_id(self.py(), name, &text)).transpose()
    }

    /// Returns a list of names that is not empty.
    pub(crate) fn names(&self, name: &str, what: &'static str) -> PyResult<Option<Vec<String>>> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        let wrong = || wrong_type(name, "a list of names", &value);
        // A string is a sequence of strings, too.
        if value.is_instance_of::<PyString>() {
            return Err(wrong());
        }
        let names: Vec<String> = value.extract().map_err(|_| match value.len() {
            Ok(_) => {
                PyTypeError::new_err(format!("`{name}` must be a list of names, and each a str"))
            }
            Err(_) => wrong(),
        })?;
        match names.is_empty() {
            true => Err(self.invalid(what, "", "it is empty")),
            false => Ok(Some(names)),
        }
    }

    /// Returns the given settings of the connection.
    pub(crate) fn connection(&self) -> PyResult<Connection> {
        let mut given = Connection::default();
        given.base_url = self.text("base_url")?;
        given.api_key = match (self.text("api_key")?, self.path("api_key_file")?) {
            (Some(key), _) => Some(ApiKey::Text(SecretString::from(key))),
            (None, file) => file.map(ApiKey::File),
        };
        given.ca_cert = self.path("ca_cert")?;
        given.allow_http = self.flag("allow_http")?;
        given.concurrency = match self.get("concurrency")? {
            None => None,
            Some(value) => {
                let text = value.str()?.to_string();
                let why = "give auto or a number from 1 to 64";
                Some(text.parse().map_err(|_| self.invalid("concurrency", &text, why))?)
            }
        };
        given.rate_limit = match self.text("rate_limit")? {
            None => None,
            Some(text) => {
                let why = "give requests per second, minute or hour, such as 20/s or 600/min";
                Some(text.parse().map_err(|_| self.invalid("rate limit", &text, why))?)
            }
        };
        given.timeout = self.seconds("timeout")?;
        given.connect_timeout = self.seconds("connect_timeout")?;
        given.idle_timeout = self.seconds("idle_timeout")?;
        given.max_retries = self.at_least("max_retries", 0)?;
        given.retry_for = self.seconds("retry_for")?;
        given.max_page_bytes = self.at_least("max_page_bytes", 1)?;
        Ok(given)
    }

    /// Returns what a run of jobs needs. Sends nothing.
    pub(crate) fn jobs(&self) -> PyResult<(Client, Vec<Job>, RunOptions)> {
        let (path, given) = (self.path("config")?, self.connection()?);
        let names = self.names("jobs", "list of jobs")?.unwrap_or_default();
        let mut running = RunOptions::default();
        running.storage = self.given_storage(StorageOptions::default())?;
        if let Some(parallel) = self.at_least("parallel", 1)? {
            running.jobs = parallel;
        }
        // Reading files can take a while.
        let prepared = detached(self.py(), || {
            let config = Config::find(path.as_deref())?.ok_or_else(no_configuration)?;
            let jobs = config.jobs_named(&names)?;
            if jobs.is_empty() {
                let path = config.path.display();
                return Err(Error::Configuration(format!("{path} has no jobs: add a [[job]]")));
            }
            let connection = given.or(Connection::from_env()).or(config.api);
            if let Some(path) = &connection.ca_cert {
                running.storage = running.storage.with_ca_cert(path);
            }
            Ok((connection.client()?, jobs, running))
        });
        prepared.map_err(|error| raised(self.py(), &error))
    }

    pub(crate) fn query(&self) -> PyResult<Query> {
        Ok(Query {
            agent: self.id("agent")?,
            generator_model: self.text("generator_model")?,
            ordering: self.text("ordering")?,
            search: self.text("search")?,
            source: self.parsed("source")?,
            version: self.whole("version")?,
            version_min: self.whole("version_min")?,
            version_max: self.whole("version_max")?,
        })
    }

    pub(crate) fn stream(&self) -> PyResult<StreamOptions> {
        let default = StreamOptions::default();
        Ok(StreamOptions {
            limit: self.at_least("limit", 1)?,
            page_size: self.at_least("page_size", 1)?.unwrap_or(default.page_size),
            pages: self.parsed("pages")?.unwrap_or(default.pages),
            prefetch_bytes: self.at_least("prefetch_bytes", 1)?.unwrap_or(default.prefetch_bytes),
            ..default
        })
    }

    pub(crate) fn export(&self, dataset: Uuid, output: PathBuf) -> PyResult<ExportOptions> {
        let stream = self.stream()?;
        let mut options = ExportOptions::new(dataset, output);
        options.query = self.query()?;
        options.storage = self.storage()?;
        options.format = self.parsed("format")?;
        options.compression = self.parsed("compression")?;
        options.parquet_encoding = self.parsed("parquet_encoding")?;
        (options.json_columns, options.nesting) = self.nesting()?;
        options.csv_bom = self.flag("csv_bom")?.unwrap_or(false);
        options.csv_safe = self.flag("csv_safe")?.unwrap_or(false);
        options.columns = self.chosen_columns()?;
        options.drop = self.dropped()?;
        options.transform = self.transform()?;
        options.page_size = stream.page_size;
        options.pages = stream.pages;
        options.limit = stream.limit;
        options.prefetch_bytes = stream.prefetch_bytes;
        options.rows_per_file = self.at_least("rows_per_file", 1)?;
        options.overwrite = self.flag("overwrite")?.unwrap_or(false);
        options.restart = self.flag("restart")?.unwrap_or(false);
        options.manifest = self.flag("manifest")?.unwrap_or(false);
        options.record = self.path("record")?;
        options.success_file = self.flag("success_file")?.unwrap_or(false);
        options.dataset_card = self.flag("dataset_card")?.unwrap_or(false);
        if let Some(passes) = self.at_least("max_passes", 1)? {
            options.max_passes = passes;
        }
        options.encode_threads = self.at_least("encode_threads", 1)?;
        options.temp_dir = self.path("temp_dir")?;
        Ok(options)
    }

    pub(crate) fn convert(&self, source: PathBuf, output: PathBuf) -> PyResult<ConvertOptions> {
        let mut options = ConvertOptions::new(source, output);
        options.source_record = self.path("source_record")?;
        options.storage = self.storage()?;
        options.format = self.parsed("format")?;
        options.compression = self.parsed("compression")?;
        options.parquet_encoding = self.parsed("parquet_encoding")?;
        (options.json_columns, options.nesting) = self.nesting()?;
        options.csv_bom = self.flag("csv_bom")?.unwrap_or(false);
        options.csv_safe = self.flag("csv_safe")?.unwrap_or(false);
        options.columns = self.chosen_columns()?;
        options.drop = self.dropped()?;
        options.transform = self.transform()?;
        options.rows_per_file = self.at_least("rows_per_file", 1)?;
        options.overwrite = self.flag("overwrite")?.unwrap_or(false);
        options.restart = self.flag("restart")?.unwrap_or(false);
        options.manifest = self.flag("manifest")?.unwrap_or(false);
        options.record = self.path("record")?;
        options.success_file = self.flag("success_file")?.unwrap_or(false);
        options.dataset_card = self.flag("dataset_card")?.unwrap_or(false);
        options.encode_threads = self.at_least("encode_threads", 1)?;
        options.max_value_bytes = self.reading()?.max_value_bytes;
        options.temp_dir = self.path("temp_dir")?;
        Ok(options)
    }

    /// Returns the settings of an object store. For a snapshot of a job, they begin with those of its configuration.
    pub(crate) fn storage(&self) -> PyResult<StorageOptions> {
        let settings = match (self.path("_config")?, self.text("_job")?) {
            (Some(path), Some(job)) => {
                let (_, settings) = detached(self.py(), || root_of(&path, &job))
                    .map_err(|error| raised(self.py(), &error))?;
                settings
            }
            _ => StorageOptions::default(),
        };
        self.given_storage(settings)
    }

    /// Adds the given settings of an object store.
    pub(crate) fn given_storage(&self, mut settings: StorageOptions) -> PyResult<StorageOptions> {
        let (name, what) = ("storage_options", "a dictionary of strings");
        let Some(value) = self.get(name)? else { return Ok(settings) };
        let pairs = value.cast::<PyDict>().map_err(|_| wrong_type(name, what, &value))?;
        for (key, value) in pairs {
            settings = settings.with(text(name, what, &key)?, text(name, what, &value)?);
        }
        Ok(settings)
    }

    /// Returns the wanted snapshots: the last stamp, and the dataset.
    pub(crate) fn wanted_snapshots(&self) -> PyResult<(Option<Stamp>, Option<Uuid>)> {
        let until = match self.get("at")? {
            None => None,
            Some(value) => {
                let text = text("at", "a date, a datetime or a string", &value)?;
                let why =
                    "give a date, such as 2026-11-23, or a time, such as 2026-11-23T02:00:00Z";
                Some(last_stamp(&text).ok_or_else(|| self.invalid("time", &text, why))?)
            }
        };
        Ok((until, self.id("dataset")?))
    }

    /// Returns the options for reading an export, and its place.
    pub(crate) fn reading(&self) -> PyResult<ReadOptions> {
        let mut options = ReadOptions::default();
        options.columns = self.names("columns", "list of columns")?.unwrap_or_default();
        if let Some(bytes) = self.at_least("max_value_bytes", 1)? {
            options.max_value_bytes = bytes;
        }
        options.record = self.location("record")?;
        Ok(options)
    }

    /// Returns how to make a report.
    pub(crate) fn reporting(&self) -> PyResult<ReportOptions> {
        let mut options = ReportOptions::default();
        if let Some(rows) = self.at_least("rows", 0)? {
            options.rows = rows;
        }
        if let Some(seed) = self.at_least("seed", 0)? {
            options.seed = seed;
        }
        options.mask = self.texts("mask", "a path or a list of paths")?;
        options.drop = self.texts("drop", "a name or a list of names")?;
        options.by = self.parsed("by")?.unwrap_or_default();
        options.ignore_spelling = self.flag("ignore_spelling")?.unwrap_or_default();
        options.temp_dir = self.path("temp_dir")?;
        options.read = self.reading()?;
        Ok(options)
    }

    fn location(&self, name: &str) -> PyResult<Option<Location>> {
        let Some(path) = self.path(name)? else { return Ok(None) };
        let place = Location::of(path, &self.storage()?);
        place.map(Some).map_err(|error| raised(self.py(), &error))
    }

    /// Returns the options for a comparison, and how many differences of each kind to return; `None` for all.
    pub(crate) fn comparing(&self) -> PyResult<(DiffOptions, Option<u64>)> {
        let default = DiffOptions::default();
        let options = DiffOptions {
            by: self.parsed("by")?.unwrap_or(default.by),
            ignore_spelling: self.flag("ignore_spelling")?.unwrap_or(default.ignore_spelling),
            temp_dir: self.path("temp_dir")?,
            max_value_bytes: self
                .at_least("max_value_bytes", 1)?
                .unwrap_or(default.max_value_bytes),
            record_a: self.location("record_a")?,
            record_b: self.location("record_b")?,
            ..default
        };
        Ok((options, self.at_least("show", 0)?))
    }

    /// Creates a client. Sends nothing. With `share`, it takes only this share of the rate limit.
    pub(crate) fn client(&self) -> PyResult<Client> {
        let (py, mut connection) = (self.py(), self.connection()?.or(Connection::from_env()));
        if let Some(workers) = self.at_least("share", 1)? {
            let Some(rate) = connection.rate_limit else {
                let why =
                    "`share` divides a rate among workers: give `rate_limit`, such as \"20/s\"";
                return Err(raised(py, &Error::Usage(why.to_owned())));
            };
            connection.rate_limit = Some(rate.divided(workers));
        }
        // Reading a key file or certificates can take a while.
        detached(py, || connection.client()).map_err(|error| raised(py, &error))
    }

    /// Returns the plan of the pages to read, if an engine reads them in ranges.
    pub(crate) fn page_plan(&self) -> PyResult<Option<PagePlan>> {
        let count = self.at_least("planned_count", 0)?;
        let rows = self.at_least("planned_rows_per_page", 0)?;
        let (Some(count), Some(rows)) = (count, rows) else { return Ok(None) };
        PagePlan::new(count, rows).map(Some).map_err(|error| raised(self.py(), &error))
    }
}

/// Parses the id of a dataset. A person may have given its name.
pub(crate) fn dataset_id(py: Python<'_>, what: &'static str, text: &str) -> PyResult<Uuid> {
    text.trim().parse().map_err(|_| {
        let why = match what {
            "dataset" => {
                "an id is a UUID, such as 182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e; `datasets()` lists names \
                 with their ids"
            }
            _ => "an id is a UUID, such as 182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e",
        };
        let (value, why) = (text.to_owned(), why.to_owned());
        raised(py, &Error::Invalid { what, value, why })
    })
}

/// Returns the root of a job of a configuration file, and the settings of its object store.
pub(crate) fn root_of(config: &Path, job: &str) -> Result<(PathBuf, StorageOptions), Error> {
    let config = Config::read(config)?;
    let jobs = config.jobs_named(&[job.to_owned()])?;
    let job = jobs.into_iter().next();
    let (root, mut settings) = job.map(|job| (job.root, job.storage)).unwrap_or_default();
    if let Some(path) = config.api.ca_cert {
        settings = settings.with_ca_cert(path);
    }
    Ok((root, settings))
}

/// Returns the last stamp of a day or a time, in UTC.
fn last_stamp(text: &str) -> Option<Stamp> {
    if let Ok(stamp) = text.parse() {
        return Some(stamp);
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Some(Stamp::at(date.and_hms_opt(23, 59, 59)?.and_utc()));
    }
    let text = text.replacen(' ', "T", 1);
    if let Ok(time) = text.parse::<DateTime<Utc>>() {
        return Some(Stamp::at(time));
    }
    let minute = || NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M");
    let time = text.parse().or_else(|_| minute()).ok()?;
    Some(Stamp::at(time.and_utc()))
}

fn no_configuration() -> Error {
    let why = Config::default_path().map_or_else(
        || "there is no home directory to look in".to_owned(),
        |path| format!("there is no {}", path.display()),
    );
    Error::NoConfiguration { why }
}

/// Returns a text, also a secret one.
pub(crate) fn text(name: &str, what: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    match (value.cast::<PyString>(), value.cast::<Secret>()) {
        (Ok(text), _) => Ok(text.to_str()?.to_owned()),
        (_, Ok(secret)) => match secret.get().text() {
            Ok(text) => Ok(text.to_owned()),
            Err(kind) => Err(wrong_kind(name, what, kind)),
        },
        _ => Err(wrong_type(name, what, value)),
    }
}

pub(crate) fn wrong_type(name: &str, what: &str, value: &Bound<'_, PyAny>) -> PyErr {
    match value.cast::<Secret>() {
        Ok(secret) => wrong_kind(name, what, secret.get().text().err().unwrap_or("str")),
        Err(_) => wrong_kind(name, what, &type_name(value)),
    }
}

fn wrong_kind(name: &str, what: &str, kind: &str) -> PyErr {
    PyTypeError::new_err(format!("`{name}` must be {what}, not {kind}"))
}
