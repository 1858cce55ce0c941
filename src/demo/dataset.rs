//! A dataset and its rows. Rows are either generated on request, or given and served byte for byte without
//! parsing.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use twox_hash::XxHash3_128;
use uuid::Uuid;

use super::generate;
use crate::readback::datapoint;

/// A version of a dataset: its entry in the list of datasets, and its rows.
#[derive(Debug)]
pub struct Dataset {
    /// The id in the path of its datapoints.
    pub id: Uuid,
    /// The name, which `search` compares with the search term.
    pub name: String,
    /// The agent of the dataset.
    pub agent: Option<Uuid>,
    /// The time of creation, as RFC 3339 text.
    pub created_at: String,
    /// The model that generated the rows.
    pub generator_model: Option<String>,
    /// The metadata, as JSON text that is sent without changes.
    pub metadata: String,
    /// The hash of the policy of the dataset.
    pub policy_hash: Option<String>,
    /// One of `seed`, `synthetic`, `augmented` and `production`.
    pub source: String,
    /// The version number.
    pub version: i64,
    rows: DemoRows,
}

#[derive(Debug)]
enum DemoRows {
    Generated { count: u64, seed: u64 },
    Given(Given),
}

/// Rows as text in one buffer. The two sorted orders are computed on first use.
#[derive(Debug)]
struct Given {
    text: Vec<u8>,
    spans: Vec<Range<usize>>,
    by_order: OnceLock<Vec<usize>>,
    by_id: OnceLock<Vec<usize>>,
}

/// The order of the served rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ordering {
    pub(crate) key: OrderingKey,
    pub(crate) descending: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrderingKey {
    /// The order in which rows are generated or given.
    Natural,
    Order,
    Id,
}

/// The part of a given line that is checked: it must be an object with a UUID for `id`.
#[derive(Deserialize)]
struct Identified {
    #[serde(rename = "id")]
    _id: Uuid,
}

impl Dataset {
    /// Creates a dataset of `rows` realistic datapoints. Each row depends only on the seed and its number, and
    /// is generated on request, so a million rows need no memory.
    pub fn generated(rows: u64, seed: u64) -> Dataset {
        let agent = generate::uuid(seed, u64::MAX);
        let mut dataset =
            Dataset::new(format!("support-chat-{rows}"), DemoRows::Generated { count: rows, seed });
        dataset.id = hashed_uuid(&format!("generated {rows} {seed}"));
        dataset.with_agent(agent).with_generator_model("demo-writer-1").with_source("synthetic")
    }

    /// Reads the rows of a JSON Lines file, with one datapoint per line. The server sends them token for token.
    /// Empty lines are skipped. A file named `.gz` or `.zst` is decompressed.
    ///
    /// A line of an export is served as the datapoint that was exported: the members of `additional_properties` are
    /// fields of the row, and strings of JSON text are values again. So an export of the served rows has the same
    /// content.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or a line is not an object with a UUID for `id`. The error then names the line.
    pub fn from_jsonl(path: &Path) -> io::Result<Dataset> {
        let file = BufReader::new(File::open(path)?);
        let named = path.with_extension("");
        let (mut lines, named): (Box<dyn BufRead>, _) =
            match path.extension().and_then(OsStr::to_str) {
                Some("gz") => {
                    let lines = MultiGzDecoder::new(file);
                    (Box::new(BufReader::new(lines)), named.with_extension(""))
                }
                Some("zst") => {
                    let lines = zstd::Decoder::with_buffer(file)?;
                    (Box::new(BufReader::new(lines)), named.with_extension(""))
                }
                _ => (Box::new(file), named),
            };
        let (mut text, mut spans) = (Vec::new(), Vec::new());
        let (mut line, mut number) = (Vec::new(), 0_u64);
        loop {
            line.clear();
            if lines.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            number += 1;
            let row = line.trim_ascii();
            if row.is_empty() {
                continue;
            }
            serde_json::from_slice::<Identified>(row).map_err(|error| {
                let why = error.to_string();
                // Remove serde's position, because it counts within the line.
                let why = why.split(" at line ").next().unwrap_or_default();
                let what = format!("line {number}: {why}");
                io::Error::new(io::ErrorKind::InvalidData, what)
            })?;
            let start = text.len();
            match datapoint(row) {
                Some(row) => text.extend_from_slice(row.as_bytes()),
                None => text.extend_from_slice(row),
            }
            spans.push(start..text.len());
        }
        let name = named.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Dataset::new(name, DemoRows::Given(Given::new(text, spans))).with_source("production"))
    }

    /// Creates a dataset from JSON texts. They are not checked and are served without changes, so they may be
    /// invalid.
    pub fn from_rows(name: &str, rows: Vec<String>) -> Dataset {
        let mut text = Vec::with_capacity(rows.iter().map(String::len).sum());
        let mut spans = Vec::with_capacity(rows.len());
        for row in rows {
            spans.push(text.len()..text.len() + row.len());
            text.extend_from_slice(row.as_bytes());
        }
        Dataset::new(name.to_owned(), DemoRows::Given(Given::new(text, spans)))
    }

    fn new(name: String, rows: DemoRows) -> Dataset {
        Dataset {
            id: hashed_uuid(&name),
            name,
            agent: None,
            created_at: "2026-01-15T09:30:00.000000Z".to_owned(),
            generator_model: None,
            metadata: "{}".to_owned(),
            policy_hash: None,
            source: "seed".to_owned(),
            version: 1,
            rows,
        }
    }

    /// Replaces the id.
    pub fn with_id(mut self, id: Uuid) -> Self {
        self.id = id;
        self
    }

    /// Replaces the name. The id stays.
    pub fn with_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Replaces the agent.
    pub fn with_agent(mut self, agent: Uuid) -> Self {
        self.agent = Some(agent);
        self
    }

    /// Replaces the time of creation, which is RFC 3339 text.
    pub fn with_created_at(mut self, created_at: &str) -> Self {
        created_at.clone_into(&mut self.created_at);
        self
    }

    /// Replaces the generator model.
    pub fn with_generator_model(mut self, model: &str) -> Self {
        self.generator_model = Some(model.to_owned());
        self
    }

    /// Replaces the metadata, which is JSON text.
    pub fn with_metadata(mut self, json: &str) -> Self {
        json.clone_into(&mut self.metadata);
        self
    }

    /// Replaces the policy hash.
    pub fn with_policy_hash(mut self, hash: &str) -> Self {
        self.policy_hash = Some(hash.to_owned());
        self
    }

    /// Replaces the source.
    pub fn with_source(mut self, source: &str) -> Self {
        source.clone_into(&mut self.source);
        self
    }

    /// Replaces the version.
    pub fn with_version(mut self, version: i64) -> Self {
        self.version = version;
        self
    }

    /// Returns the number of rows.
    pub fn len(&self) -> u64 {
        match &self.rows {
            DemoRows::Generated { count, .. } => *count,
            DemoRows::Given(given) => given.spans.len() as u64,
        }
    }

    /// Returns whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the JSON text of a row, by its index in natural order. An index past the end gives empty text.
    pub fn row(&self, index: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let natural = Ordering { key: OrderingKey::Natural, descending: false };
        self.push_row(index, natural, &mut out);
        out
    }

    /// Appends the row at `position` in this order. Appends nothing past the end.
    pub(crate) fn push_row(&self, position: u64, ordering: Ordering, out: &mut Vec<u8>) {
        if position >= self.len() {
            return;
        }
        let place = if ordering.descending { self.len() - 1 - position } else { position };
        match &self.rows {
            // Generated rows always have their natural order, even for `id`: sorting by id would need all rows.
            DemoRows::Generated { seed, .. } => generate::push_row(*seed, place, out),
            DemoRows::Given(given) => {
                let place = usize::try_from(place).unwrap_or(usize::MAX);
                if let Some(row) = given.row_at(place, ordering.key) {
                    out.extend_from_slice(row);
                }
            }
        }
    }

    /// Appends the entry of this dataset in `GET /api/datasets/`.
    pub(crate) fn push_listing(&self, out: &mut Vec<u8>) {
        let optional = |text: &Option<String>| text.as_deref().map_or("null".to_owned(), quoted);
        let listing = format!(
            concat!(
                r#"{{"id":"{}","agent":{},"created_at":{},"generator_model":{},"metadata":{},"#,
                r#""name":{},"num_datapoints":{},"policy_hash":{},"source":{},"version":{}}}"#
            ),
            self.id,
            optional(&self.agent.map(|agent| agent.to_string())),
            quoted(&self.created_at),
            optional(&self.generator_model),
            self.metadata,
            quoted(&self.name),
            self.len(),
            optional(&self.policy_hash),
            quoted(&self.source),
            self.version,
        );
        out.extend_from_slice(listing.as_bytes());
    }
}

impl Given {
    fn new(text: Vec<u8>, spans: Vec<Range<usize>>) -> Given {
        Given { text, spans, by_order: OnceLock::new(), by_id: OnceLock::new() }
    }

    fn row_at(&self, place: usize, key: OrderingKey) -> Option<&[u8]> {
        let index = match key {
            OrderingKey::Natural => place,
            OrderingKey::Order => {
                *self.by_order.get_or_init(|| self.sorted_by_order()).get(place)?
            }
            OrderingKey::Id => *self.by_id.get_or_init(|| self.sorted_by_id()).get(place)?,
        };
        self.row(index)
    }

    fn row(&self, index: usize) -> Option<&[u8]> {
        self.text.get(self.spans.get(index)?.clone())
    }

    /// Sorts by `order`. Rows without an order come last, as in the database of the API.
    fn sorted_by_order(&self) -> Vec<usize> {
        #[derive(Deserialize)]
        struct RowOrder {
            order: Option<i64>,
        }
        self.sorted_by(|row| {
            serde_json::from_slice::<RowOrder>(row)
                .ok()
                .and_then(|row| row.order)
                .unwrap_or(i64::MAX)
        })
    }

    fn sorted_by_id(&self) -> Vec<usize> {
        #[derive(Deserialize)]
        struct RowId {
            id: Option<String>,
        }
        self.sorted_by(|row| serde_json::from_slice::<RowId>(row).ok().and_then(|row| row.id))
    }

    fn sorted_by<K: Ord>(&self, key: impl Fn(&[u8]) -> K) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.spans.len()).collect();
        places.sort_by_cached_key(|&place| self.row(place).map(&key));
        places
    }
}

/// Returns a text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn hashed_uuid(name: &str) -> Uuid {
    uuid::Builder::from_random_bytes(XxHash3_128::oneshot(name.as_bytes()).to_be_bytes())
        .into_uuid()
}
