//! An export, decided: what to fetch, how to encode it, where to put it. Checked as a whole.
//!
//! Knows nothing of a command line or a config file, and touches nothing but to look whether an
//! output is a directory already.

use std::{path::PathBuf, thread};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    batch::Column,
    client::Query,
    destination::Wanted,
    error::{Error, Result},
    location::{StorageOptions, Target},
    output,
    paginator::{self, PageRange, StreamOptions},
    proof::Digest,
    record::{
        facts::Facts,
        manifest::{Completeness, SnapshotOf},
    },
    sink::{Compression, Encoding, Format},
};

/// Rows in a part of a directory, unless told otherwise.
pub(crate) const ROWS_PER_FILE: u64 = 250_000;
/// Bytes of values in a part: what bounds it when rows are large.
pub(crate) const BYTES_PER_FILE: u64 = 512 << 20;

/// What an export is asked for; [`ExportPlan::new`] decides the rest.
///
/// ```
/// use overmind_export::{ExportOptions, ExportPlan, Format};
/// let dataset = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e".parse().expect("a uuid");
/// let options = ExportOptions { limit: Some(1000), ..ExportOptions::new(dataset, "rows.jsonl.gz") };
/// assert_eq!(ExportPlan::new(options)?.encoding().format(), Format::JsonLines);
/// # Ok::<(), overmind_export::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// The dataset.
    pub dataset: Uuid,
    /// Its filters and the order of its rows.
    pub query: Query,
    /// Where to: a file, a directory, the URL of either in an object store, or `-` for standard
    /// output. See [`Target`].
    pub output: PathBuf,
    /// Settings of the object store, if the output is in one.
    pub storage: StorageOptions,
    /// The format; default what the output's extension says, and Parquet for a directory.
    pub format: Option<Format>,
    /// The codec; default what the extension says, or the format's own default.
    pub compression: Option<Compression>,
    /// The columns; default all.
    pub columns: Option<Vec<Column>>,
    /// Rows to ask for in a page; default 100, the API's cap.
    pub page_size: u32,
    /// The pages; default all.
    pub pages: PageRange,
    /// The first rows only; default all.
    pub limit: Option<u64>,
    /// Rows in a part; default 250,000. For directories only.
    pub rows_per_file: Option<u64>,
    /// Replace an output that exists; default no.
    pub overwrite: bool,
    /// Drop what an interrupted run left instead of continuing it; default no.
    pub restart: bool,
    /// Write a manifest beside a single file; default no. A directory always has one.
    pub manifest: bool,
    /// Times to read the whole dataset at most, as it may change during the export; default 3. To standard
    /// output it is always 1.
    pub max_passes: u32,
    /// Threads that encode side by side, from 1 to 256; default one for each core, but 16 at most. Any
    /// number gives the same bytes.
    pub encode_threads: Option<usize>,
    /// Bytes of pages held ahead of the encoder; default 8 MiB.
    pub prefetch_bytes: usize,
    /// Where ids beyond 4 MiB are sorted; default the system's temporary directory.
    pub temp_dir: Option<PathBuf>,
}

impl ExportOptions {
    /// The defaults for exporting this dataset to this output, a path or a URL.
    pub fn new(dataset: Uuid, output: impl Into<PathBuf>) -> Self {
        let stream = StreamOptions::default();
        Self {
            dataset,
            query: Query::default(),
            output: output.into(),
            storage: StorageOptions::default(),
            format: None,
            compression: None,
            columns: None,
            page_size: stream.page_size,
            pages: stream.pages,
            limit: None,
            rows_per_file: None,
            overwrite: false,
            restart: false,
            manifest: false,
            max_passes: 3,
            encode_threads: None,
            prefetch_bytes: stream.prefetch_bytes,
            temp_dir: None,
        }
    }
}

/// An export, decided and checked.
#[derive(Debug, Clone)]
pub struct ExportPlan {
    pub(crate) options: ExportOptions,
    pub(crate) target: Target,
    pub(crate) encoding: Encoding,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows_per_file: u64,
    pub(crate) encode_threads: usize,
    /// Which snapshot it will be; goes to the manifest.
    pub(crate) snapshot: Option<SnapshotOf>,
}

impl ExportPlan {
    /// Decides and checks; looks at the output's path, and sends nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Usage`], with the offending value, for whatever makes no
    /// sense by itself or together.
    pub fn new(options: ExportOptions) -> Result<Self> {
        options.query.validate()?;
        let target = output::target(&options.output, &options.storage)?;
        let encoding = output::encoding(&target, options.format, options.compression)?;
        let positive = |what, value: u64| match value {
            0 => Err(Error::invalid(what, "0", "it must be at least 1")),
            value => Ok(value),
        };
        paginator::check_sizes(options.page_size, options.limit)?;
        positive("number of passes", options.max_passes.into())?;
        let rows_per_file =
            positive("number of rows per file", options.rows_per_file.unwrap_or(ROWS_PER_FILE))?;
        let encode_threads = match options.encode_threads {
            Some(threads @ 1..=256) => threads,
            Some(threads) => {
                let why = "use 1 to 256";
                return Err(Error::invalid("number of encode threads", threads.to_string(), why));
            }
            None => thread::available_parallelism().map_or(2, |cores| cores.get()).clamp(1, 16),
        };
        if options.rows_per_file.is_some() && !matches!(target, Target::Directory(_)) {
            return Err(Error::Usage(format!(
                "--rows-per-file makes a directory of parts, but {target} is not one: end the path \
                 with a slash"
            )));
        }
        if options.manifest && target == Target::Stdout {
            return Err(Error::Usage("--manifest needs a file to lie beside".to_owned()));
        }
        let columns = columns(options.columns.as_deref())?;
        Ok(Self {
            options,
            target,
            encoding,
            columns,
            rows_per_file,
            encode_threads,
            snapshot: None,
        })
    }

    /// Where the export goes.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// How it is encoded.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Its columns, in the order that every format has them in.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// What can be claimed once every page has come.
    pub(crate) fn completeness(&self) -> Completeness {
        let whole = self.options.pages == PageRange::ALL && self.options.limit.is_none();
        if whole { Completeness::Proven } else { Completeness::Partial }
    }

    /// Whether what was written is recorded in a manifest.
    pub(crate) fn has_manifest(&self) -> bool {
        self.options.manifest || matches!(self.target, Target::Directory(_))
    }

    /// What a file says about itself, which holds these rows of the export.
    pub(crate) fn facts(&self, count: u64, first_row: u64, rows: u64, digest: Digest) -> Facts {
        Facts {
            tool: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
            dataset: self.options.dataset,
            query: self.options.query.clone(),
            completeness: self.completeness(),
            count,
            first_row,
            rows,
            digest: digest.to_string(),
        }
    }

    /// What a destination has to know.
    pub(crate) fn wanted(&self) -> Wanted {
        Wanted {
            target: self.target.clone(),
            overwrite: self.options.overwrite,
            sidecar: self.options.manifest,
            temp_dir: self.temp_dir(),
        }
    }

    pub(crate) fn temp_dir(&self) -> PathBuf {
        self.options.temp_dir.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// What must be the same for an interrupted run to be continued: all that decides the bytes. Of a
    /// snapshot that is also what the list of datasets says, by which its data counts as the same.
    pub(crate) fn fingerprint(&self, base_url: &str) -> Value {
        let listed = self.snapshot.as_ref().and_then(|snapshot| snapshot.listed.as_ref());
        json!({
            "tool": env!("CARGO_PKG_VERSION"),
            "base_url": base_url,
            "num_datapoints": listed.map(|listed| listed.num_datapoints),
            "metadata": listed.map(|listed| &listed.metadata),
            "dataset": self.options.dataset,
            "query": self.options.query,
            "page_size": self.options.page_size,
            "pages": self.options.pages.to_string(),
            "limit": self.options.limit,
            "columns": self.columns,
            "format": self.encoding.format(),
            "compression": self.encoding.compression().to_string(),
            "rows_per_file": self.rows_per_file,
        })
    }
}

fn columns(asked: Option<&[Column]>) -> Result<Vec<Column>> {
    let Some(asked) = asked else { return Ok(Column::ALL.to_vec()) };
    if asked.is_empty() {
        return Err(Error::invalid("list of columns", "", "it is empty"));
    }
    Ok(Column::ALL.into_iter().filter(|column| asked.contains(column)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(output: &str, change: impl FnOnce(&mut ExportOptions)) -> Result<ExportPlan> {
        let mut options = ExportOptions::new(Uuid::nil(), output);
        change(&mut options);
        ExportPlan::new(options)
    }

    #[test]
    fn the_path_decides_between_a_file_a_directory_and_a_pipe() {
        let target = |output| plan(output, |_| ()).unwrap().target;
        assert_eq!(target("a/b.parquet"), Target::File("a/b.parquet".into()));
        assert_eq!(target("a/b"), Target::Directory("a/b".into()));
        assert_eq!(target("a/b.v2/"), Target::Directory("a/b.v2/".into()));
        assert_eq!(target("-"), Target::Stdout);
        let existing = tempfile::Builder::new().suffix(".csv").tempdir().unwrap();
        assert!(matches!(target(existing.path().to_str().unwrap()), Target::Directory(_)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_offending_value() {
        let refused =
            |output, change: fn(&mut ExportOptions)| plan(output, change).unwrap_err().to_string();
        assert!(refused("a.csv", |_| ()).starts_with("\"a.csv\" is not a valid output: the known"));
        assert_eq!(refused("", |_| ()), "\"\" is not a valid output: it is empty");
        assert!(
            refused("..", |_| ()).starts_with("\"..\" is not a valid output: name the directory")
        );
        assert!(
            refused("a.jsonl", |it| it.page_size = 0).starts_with("\"0\" is not a valid page size")
        );
        assert!(
            refused("a.jsonl", |it| it.limit = Some(0)).starts_with("\"0\" is not a valid limit")
        );
        assert!(
            refused("a.jsonl", |it| it.rows_per_file = Some(5))
                .starts_with("--rows-per-file makes")
        );
        assert!(
            refused("a.jsonl", |it| it.format = Some(Format::Arrow))
                .starts_with("a.jsonl is named as jsonl but --format is arrow")
        );
        assert!(
            refused("a.jsonl.gz", |it| it.compression = Some(Compression::Zstd(3)))
                .starts_with("a.jsonl.gz is named as jsonl.gz but --compression is zstd:3")
        );
        let hint = |output, codec| {
            let refused = plan(output, |it| it.compression = Some(codec)).unwrap_err().to_string();
            refused.split_once(": name it ").map(|(_, hint)| hint.to_owned()).unwrap_or(refused)
        };
        for (output, codec, right) in [
            ("a/b.jsonl", Compression::Gzip, "a/b.jsonl.gz"),
            ("b.v2.ndjson", Compression::Zstd(3), "b.v2.jsonl.zst"),
            ("b.jsonl.gz", Compression::None, "b.jsonl"),
            ("b.jsonl.zst", Compression::Gzip, "b.jsonl.gz"),
        ] {
            assert_eq!(hint(output, codec), format!("{right}, or leave out --compression"));
        }
        assert!(refused("-", |it| it.format = Some(Format::Parquet)).starts_with("Parquet cannot"));
    }

    #[test]
    fn a_codec_that_the_name_does_not_tell_of_is_no_matter_where_the_file_tells_it() {
        for (output, codec) in [
            ("a.parquet", Compression::Snappy),
            ("a.feather", Compression::None),
            ("a.jsonl", Compression::None),
            ("a.ndjson", Compression::None),
            ("a.jsonl.zst", Compression::Zstd(9)),
        ] {
            let plan = plan(output, |it| it.compression = Some(codec)).unwrap();
            assert_eq!(plan.encoding.compression(), codec);
        }
    }

    #[test]
    fn what_another_api_sent_is_not_continued() {
        let plan = plan("a", |_| ()).unwrap();
        assert_eq!(plan.fingerprint("https://a.example/"), plan.fingerprint("https://a.example/"));
        assert_ne!(plan.fingerprint("https://a.example/"), plan.fingerprint("https://b.example/"));
    }

    #[test]
    fn columns_come_in_the_order_of_the_schema() {
        let columns = Some(vec![Column::Tags, Column::Id, Column::Tags]);
        let plan = plan("a", |it| it.columns = columns).unwrap();
        assert_eq!(plan.columns, [Column::Id, Column::Tags]);
    }
}
