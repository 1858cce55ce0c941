//! The plan of an export: what to fetch, how to encode it, where to write it. It is checked as a whole.
//!
//! This module does not know a command line or a config file. It accesses only the output path, to see whether it is
//! an existing directory, and the key of pseudonyms.

use std::{path::PathBuf, sync::Arc};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    batch::{BatchColumn, OutputColumn},
    client::Query,
    destination::{OutputRequest, PlanUse},
    error::{Error, Result},
    export::{
        columns::output_columns,
        duplicates::{HASH_ENTRY, ID_ENTRY},
        nesting_options::{NestingOptions, TypeChoice},
        output_form::OutputForm,
        output_plan::{OutputChoice, OutputPlan},
        part_grid::PartGrid,
        splits::{layout_of, require_directory, splits_of},
    },
    location::{Location, StorageOptions, Target},
    paginator::{self, PageRange, StreamOptions},
    record::{
        facts::Facts,
        manifest::{Completeness, FORMAT_VERSION, PartRows, SnapshotOf},
    },
    sink::{Compression, Encoding, Format, JsonColumns, ParquetEncoding},
    transform::{Shaper, Transform, TransformRecord},
};

/// The options of an export. [`ExportPlan::new`] decides everything else.
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
    /// The output: a file, a directory, the URL of either in an object store, or `-` for standard
    /// output. See [`Target`].
    pub output: PathBuf,
    /// Settings of the object store, if the output is in one.
    pub storage: StorageOptions,
    /// The format; default from the output's extension, and Parquet for a directory.
    pub format: Option<Format>,
    /// The codec; default from the extension, or else the format's own default.
    pub compression: Option<Compression>,
    /// How Parquet encodes values; default [`ParquetEncoding::DeltaLength`]. Only for Parquet.
    pub parquet_encoding: Option<ParquetEncoding>,
    /// How JSON columns are held; default [`JsonColumns::Value`] for JSON Lines, [`JsonColumns::Text`] for others.
    pub json_columns: Option<JsonColumns>,
    /// Which JSON columns and which parts of them become nested, if any do.
    pub nesting: NestingOptions,
    /// Whether CSV begins with a byte order mark, for spreadsheets; default no. Only for CSV.
    pub csv_bom: bool,
    /// Whether cells of CSV that a spreadsheet would run as a formula get a `'` before them; default no. Only for CSV.
    /// See [`Encoding::with_csv_safe`].
    pub csv_safe: bool,
    /// The names of the columns, of the API or computed ones, in this order; default all: those of the API, in the
    /// order of [`Column::ALL`](crate::Column::ALL), and then the computed ones.
    pub columns: Option<Vec<String>>,
    /// The names of columns to leave out; default none.
    pub drop: Vec<String>,
    /// Number of rows to request in a page; default 100, the API's maximum.
    pub page_size: u32,
    /// The pages; default all.
    pub pages: PageRange,
    /// Maximum number of rows to read, counted from the first; default all.
    pub limit: Option<u64>,
    /// How to choose the rows to write, and columns to compute; default all rows that were read, and no columns.
    pub transform: Transform,
    /// Number of rows in a part; default 250,000. Only for directories.
    pub rows_per_file: Option<u64>,
    /// Whether to replace an existing output; default no.
    pub overwrite: bool,
    /// Whether to drop the parts of an interrupted run instead of resuming it; default no.
    pub restart: bool,
    /// Whether to write a manifest next to a single file; default no. A directory always has one.
    pub manifest: bool,
    /// Path or URL for the record of a directory; default: next to the directory. For a
    /// store whose permissions cover only the output: the run then keeps its own state there, too.
    pub record: Option<PathBuf>,
    /// Whether to write an empty file `_SUCCESS` into a directory; default no. Some programs read it as data.
    pub success_file: bool,
    /// Whether to write a dataset card, `README.md`, into a directory, for people and for Hugging Face; default no. The
    /// parts are in its folder `data` then.
    pub dataset_card: bool,
    /// Maximum number of passes, because the dataset may change during the export; default 3. To standard
    /// output it is always 1.
    pub max_passes: u32,
    /// Number of encoder threads, from 1 to 256; default one for each core, but at most 16. Any number gives
    /// the same bytes.
    pub encode_threads: Option<usize>,
    /// Maximum bytes of prefetched pages; default 8 MiB. A transformation holds as many more.
    pub prefetch_bytes: usize,
    /// Folder where ids beyond 4 MiB are sorted; default the system's temporary directory.
    pub temp_dir: Option<PathBuf>,
}

impl ExportOptions {
    /// Returns the default options for this dataset and this output, which is a path or a URL.
    pub fn new(dataset: Uuid, output: impl Into<PathBuf>) -> Self {
        let stream = StreamOptions::default();
        Self {
            dataset,
            query: Query::default(),
            output: output.into(),
            storage: StorageOptions::default(),
            format: None,
            compression: None,
            parquet_encoding: None,
            json_columns: None,
            nesting: NestingOptions::default(),
            csv_bom: false,
            csv_safe: false,
            columns: None,
            drop: Vec::new(),
            page_size: stream.page_size,
            pages: stream.pages,
            limit: None,
            transform: Transform::new(),
            rows_per_file: None,
            overwrite: false,
            restart: false,
            manifest: false,
            record: None,
            success_file: false,
            dataset_card: false,
            max_passes: 3,
            encode_threads: None,
            prefetch_bytes: stream.prefetch_bytes,
            temp_dir: None,
        }
    }
}

impl ExportOptions {
    fn choice(&self) -> OutputChoice<'_> {
        OutputChoice {
            output: &self.output,
            storage: &self.storage,
            format: self.format,
            compression: self.compression,
            parquet_encoding: self.parquet_encoding,
            // Decided with the options for nested columns.
            json_columns: None,
            csv_bom: self.csv_bom,
            csv_safe: self.csv_safe,
            rows_per_file: self.rows_per_file,
            encode_threads: self.encode_threads,
            overwrite: self.overwrite,
            manifest: self.manifest,
            record: self.record.as_deref(),
            success_file: self.success_file,
            temp_dir: self.temp_dir.as_deref(),
        }
    }
}

/// The checked plan of an export.
#[derive(Debug, Clone)]
pub struct ExportPlan {
    pub(crate) options: ExportOptions,
    pub(crate) target: Target,
    /// The place that the user chose for the record.
    pub(crate) record: Option<Location>,
    /// The folder for the staging of a directory or prefix; default next to it.
    pub(crate) staging: Option<Location>,
    pub(crate) encoding: Encoding,
    pub(crate) columns: Vec<BatchColumn>,
    /// How the types of JSON columns are chosen; `None` if they are not nested.
    pub(crate) nesting: Option<TypeChoice>,
    pub(crate) rows_per_file: u64,
    pub(crate) encode_threads: usize,
    /// The compiled transformation; `None` if it changes nothing.
    pub(crate) shaper: Option<Arc<Shaper>>,
    /// The snapshot that the export creates, for the manifest.
    pub(crate) snapshot: Option<SnapshotOf>,
}

impl ExportPlan {
    /// Makes a plan and checks it. Looks at the output's path, reads the key of pseudonyms, and sends nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Usage`], with the wrong value, if an option is not valid by itself or
    /// together with others. [`Error::ConfigurationFile`] for a key of pseudonyms that cannot be used.
    pub fn new(options: ExportOptions) -> Result<Self> {
        options.query.validate()?;
        paginator::check_sizes(options.page_size, options.limit)?;
        if options.max_passes == 0 {
            return Err(Error::invalid("number of passes", "0", "it must be at least 1"));
        }
        let OutputPlan { target, record, encoding, rows_per_file, encode_threads, .. } =
            options.choice().plan()?;
        let shaper = Shaper::compile(&options.transform)?.map(Arc::new);
        let columns = output_columns(options.columns.as_deref(), &options.drop, shaper.as_deref())?;
        let form = OutputForm {
            shaper: shaper.as_deref(),
            columns: &columns,
            has_lines: false,
            has_card: options.dataset_card,
            json_columns: options.json_columns,
            nesting: &options.nesting,
            is_named: true,
        };
        let (encoding, nesting) = form.check(encoding)?;
        require_directory((shaper.as_deref(), options.dataset_card), &target)?;
        Ok(Self {
            options,
            target,
            record,
            staging: None,
            encoding,
            columns,
            nesting,
            rows_per_file,
            encode_threads,
            shaper,
            snapshot: None,
        })
    }

    /// Returns the output of the export.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Returns the format and the compression.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Returns the encoding in which the rows are written first: that of drafts, if the JSON columns are nested.
    pub(crate) fn first_encoding(&self) -> Encoding {
        if self.has_drafts() { Encoding::drafts() } else { self.encoding }
    }

    /// Returns the columns, in the order of the output.
    pub fn columns(&self) -> impl Iterator<Item = &OutputColumn> {
        self.columns.iter().map(|it| &it.column)
    }

    /// Returns the plan with the pages and the limit of this stream, which can cover the whole dataset although
    /// the options name a range.
    pub(crate) fn reading(&self, stream: &StreamOptions) -> Self {
        let mut plan = self.clone();
        (plan.options.pages, plan.options.limit) = (stream.pages, stream.limit);
        plan
    }

    /// Returns where parts end in any case, if pages have this many rows: at the rows of a full part, or with a
    /// transformation that leaves out rows, at four times as many. Otherwise, a run whose transformation keeps few rows
    /// would finish no part for a later run to keep.
    pub(crate) fn part_grid(&self, rows_per_page: u64) -> PartGrid {
        const READ_FOR_A_PART: u64 = 4;
        let leaves_out = self.transform_record().is_some_and(TransformRecord::leaves_out_rows);
        let times = if leaves_out { READ_FOR_A_PART } else { 1 };
        let rows = self.rows_per_file.saturating_mul(times);
        let pages = rows.div_ceil(rows_per_page.max(1)).max(1);
        PartGrid { first_page: self.options.pages.first(), pages }
    }

    /// Returns the completeness that the export can claim after every page has come.
    pub(crate) fn completeness(&self) -> Completeness {
        let whole = self.options.pages == PageRange::ALL && self.options.limit.is_none();
        if whole { Completeness::Proven } else { Completeness::Partial }
    }

    /// Returns how the rows to write are chosen, for records; `None` if all are written.
    pub(crate) fn transform_record(&self) -> Option<&TransformRecord> {
        self.shaper.as_ref().map(|shaper| shaper.recorded())
    }

    /// Returns the names and the fractions of the splits, in their order; none without a split.
    pub(crate) fn splits(&self) -> Vec<(String, f64)> {
        splits_of(self.shaper.as_deref())
    }

    /// Whether rows are compared, so that only the first of equal ones is kept.
    pub(crate) fn compares(&self) -> bool {
        self.shaper.as_ref().is_some_and(|shaper| shaper.compares())
    }

    /// Returns the bytes of a row in the file of its part's ids.
    pub(super) fn entry_bytes(&self) -> u64 {
        if self.compares() { HASH_ENTRY } else { ID_ENTRY }
    }

    /// Returns the number of paths whose values are replaced.
    pub(crate) fn replaced_paths(&self) -> usize {
        self.transform_record().map_or(0, TransformRecord::replaced_paths)
    }

    /// Whether the export writes a manifest.
    pub(crate) fn has_manifest(&self) -> bool {
        self.options.manifest || matches!(self.target, Target::Directory(_))
    }

    /// Returns the facts for the metadata of a file with these rows of the export, or of one of its splits.
    pub(crate) fn facts(
        &self,
        count: u64,
        first_row: u64,
        part: &PartRows,
        split: Option<&str>,
    ) -> Facts {
        Facts {
            format_version: FORMAT_VERSION,
            tool: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")).to_owned(),
            dataset: Some(self.options.dataset),
            query: Some(self.options.query.clone()),
            completeness: self.completeness(),
            count: Some(count),
            first_row,
            rows_read: part.read,
            rows: part.written,
            split: split.map(str::to_owned),
            transform: self.transform_record().cloned(),
            earlier: Vec::new(),
            digest: part.digest.to_string(),
            nested_digest: part.nested_digest.map(|digest| digest.to_string()),
            nested: self.given_types().map(|types| self.recorded_types(types)),
        }
    }

    /// Returns the options for the destination.
    pub(crate) fn wanted(&self) -> OutputRequest {
        OutputRequest {
            target: self.target.clone(),
            overwrite: self.options.overwrite,
            sidecar: self.options.manifest,
            record: self.record.clone(),
            staging: self.staging.clone(),
            success_file: self.options.success_file,
            layout: layout_of(self.shaper.as_deref(), self.options.dataset_card),
            in_drafts: self.has_drafts(),
            plan_use: PlanUse::Refuse,
            temp_dir: self.temp_dir(),
        }
    }

    pub(crate) fn temp_dir(&self) -> PathBuf {
        self.options.temp_dir.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// Returns the fingerprint: everything that decides the bytes. A run can resume an interrupted run only if
    /// it has the same fingerprint. For a snapshot it includes the facts in the list of datasets, which decide
    /// whether its data counts as unchanged.
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
            "transform": self.transform_record(),
            "columns": self.columns().collect::<Vec<_>>(),
            "format": self.encoding.format(),
            "compression": self.encoding.compression().to_string(),
            "parquet_encoding": self.encoding.parquet_encoding(),
            "json_columns": self.encoding.json_columns(),
            "nesting": self.nesting.as_ref().map(TypeChoice::to_json),
            "rescue": self.rescues(),
            "csv_bom": self.encoding.csv_bom(),
            "csv_safe": self.encoding.csv_safe(),
            "rows_per_file": self.rows_per_file,
            "dataset_card": self.options.dataset_card,
        })
    }
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
    fn path_decides_file_directory_or_stdout() {
        let target = |output| plan(output, |_| ()).unwrap().target;
        assert_eq!(target("a/b.parquet"), Target::File("a/b.parquet".into()));
        assert_eq!(target("a/b"), Target::Directory("a/b".into()));
        assert_eq!(target("a/b.v2/"), Target::Directory("a/b.v2/".into()));
        assert_eq!(target("-"), Target::Stdout);
        let existing = tempfile::Builder::new().suffix(".csv").tempdir().unwrap();
        assert!(matches!(target(existing.path().to_str().unwrap()), Target::Directory(_)));
    }

    #[test]
    fn invalid_options_are_refused_with_their_value() {
        let refused =
            |output, change: fn(&mut ExportOptions)| plan(output, change).unwrap_err().to_string();
        assert!(refused("a.tsv", |_| ()).starts_with("\"a.tsv\" is not a valid output: use "));
        assert_eq!(refused("", |_| ()), "\"\" is not a valid output: it is empty");
        assert!(refused("..", |_| ()).starts_with("\"..\" is not a valid output: give the name"));
        assert!(
            refused("a.jsonl", |it| it.page_size = 0).starts_with("\"0\" is not a valid page size")
        );
        assert!(
            refused("a.jsonl", |it| it.limit = Some(0)).starts_with("\"0\" is not a valid limit")
        );
        assert!(
            refused("a.jsonl", |it| it.rows_per_file = Some(5))
                .starts_with("`rows_per_file` needs")
        );
        assert!(
            refused("a.jsonl", |it| it.format = Some(Format::Arrow))
                .starts_with("a.jsonl is named as jsonl but `format` is arrow")
        );
        assert!(
            refused("a.jsonl.gz", |it| it.compression = Some(Compression::Zstd(3)))
                .starts_with("a.jsonl.gz is named as jsonl.gz but `compression` is zstd:3")
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
            assert_eq!(hint(output, codec), format!("{right}, or leave out `compression`"));
        }
        assert!(refused("-", |it| it.format = Some(Format::Parquet)).starts_with("Parquet cannot"));
    }

    #[test]
    fn codec_may_be_missing_from_a_file_name() {
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
    fn fingerprint_depends_on_the_api() {
        let plan = plan("a", |_| ()).unwrap();
        assert_eq!(plan.fingerprint("https://a.example/"), plan.fingerprint("https://a.example/"));
        assert_ne!(plan.fingerprint("https://a.example/"), plan.fingerprint("https://b.example/"));
    }
}
