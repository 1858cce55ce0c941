//! Describes what was read and written in a manifest.

use super::{Export, now};
use crate::{
    destination::examine,
    error::{Error, Result},
    nested::NestedField,
    record::{
        card,
        manifest::{Completeness, FORMAT_VERSION, Manifest, Part, PartRows, Tool},
        splits::written_splits,
        written::{WrittenCard, WrittenRange},
    },
};

/// The rows that were read for an export, and the parts that have them.
pub(crate) struct ReadExport {
    pub(crate) started_at: String,
    pub(crate) completeness: Completeness,
    /// Number of rows of the dataset.
    pub(crate) count: u64,
    pub(crate) rows_per_page: u64,
    pub(crate) pages: u64,
    pub(crate) rows: PartRows,
    pub(crate) parts: Vec<Part>,
    /// The types of nested JSON columns.
    pub(crate) nested: Option<Vec<NestedField>>,
    pub(crate) ranges: Vec<WrittenRange>,
    /// Id of the plan of many workers.
    pub(crate) plan: Option<String>,
}

impl Export {
    pub(crate) fn describe(&self, read: ReadExport) -> Result<Manifest> {
        let (options, encoding) = (&self.plan.options, self.plan.encoding);
        let mut manifest = Manifest {
            format_version: FORMAT_VERSION,
            tool: Tool::this(),
            base_url: Some(self.client.base_url().to_owned()),
            dataset: Some(options.dataset),
            query: Some(options.query.clone()),
            started_at: read.started_at,
            finished_at: now(),
            completeness: read.completeness,
            count: Some(read.count),
            pages: read.pages,
            rows_per_page: read.rows_per_page,
            rows_read: read.rows.read,
            rows: read.rows.written,
            transform: self.plan.transform_record().cloned(),
            earlier: Vec::new(),
            converted_from: None,
            columns: self.plan.columns().cloned().collect(),
            format: encoding.format(),
            compression: encoding.compression().to_string(),
            parquet_encoding: encoding.parquet_encoding(),
            json_columns: encoding.json_columns(),
            nested: read.nested,
            csv_bom: encoding.csv_bom(),
            csv_safe: encoding.csv_safe(),
            digest: read.rows.digest.to_string(),
            snapshot: self.plan.snapshot.clone(),
            ranges: read.ranges,
            plan: read.plan,
            card: None,
            splits: written_splits(&read.parts),
            parts: read.parts,
            is_of_folder: false,
        };
        if options.dataset_card {
            manifest.card = Some(described_card(&manifest)?);
        }
        Ok(manifest)
    }
}

/// Returns what the record says of its dataset card.
pub(crate) fn described_card(manifest: &Manifest) -> Result<WrittenCard> {
    let text = card::text(manifest);
    let examined = examine(&mut text.as_bytes());
    let examined = examined.map_err(|error| Error::Internal(format!("card: {error}")))?;
    Ok(WrittenCard { bytes: examined.bytes, sha256: examined.sha256 })
}
