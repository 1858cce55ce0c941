//! The JSON of a page, and the faults that change it. Rows without a fault keep their bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::value::RawValue;

use super::dataset::quoted;
use super::faults::Fault;

/// A page before it is rendered as JSON.
pub(crate) struct PageDraft {
    pub(crate) count: u64,
    pub(crate) next: Option<String>,
    pub(crate) previous: Option<String>,
    page_size: u64,
    total: u64,
    rows: Range<u64>,
    fields: Vec<(usize, String, Option<String>)>,
}

impl PageDraft {
    /// Creates a page of a dataset with `total` rows. Page numbers start at 1, as in the API.
    pub(crate) fn new(number: u64, page_size: u64, total: u64) -> PageDraft {
        PageDraft {
            count: total,
            next: None,
            previous: None,
            page_size,
            total,
            rows: rows_of(number, page_size, total),
            fields: Vec::new(),
        }
    }

    /// Applies a fault if it changes the content of a page.
    pub(crate) fn edit(&mut self, fault: &Fault) {
        let Range { start, end } = self.rows;
        match fault {
            Fault::Count(count) => self.count = *count,
            Fault::RepeatPage(other) => self.rows = rows_of(*other, self.page_size, self.total),
            Fault::ShortPage(missing) => {
                self.rows = start..end.saturating_sub(*missing as u64).max(start);
            }
            Fault::ShiftRows(by) => {
                let by = start.min(*by);
                self.rows = start - by..end - by;
            }
            Fault::DropNext => self.next = None,
            Fault::Next(url) => self.next = Some(url.clone()),
            Fault::Field { row, field, json } => {
                self.fields.push((*row, field.clone(), json.clone()));
            }
            _ => {}
        }
    }

    /// Returns the JSON of the page. `push_row` appends each row.
    pub(crate) fn render(&self, push_row: impl Fn(u64, &mut Vec<u8>)) -> Vec<u8> {
        let link = |url: &Option<String>| url.as_deref().map_or("null".to_owned(), quoted);
        let mut out = format!(
            r#"{{"count":{},"next":{},"previous":{},"results":["#,
            self.count,
            link(&self.next),
            link(&self.previous)
        )
        .into_bytes();
        for (place, row) in self.rows.clone().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            let start = out.len();
            push_row(row, &mut out);
            for (_, field, json) in self.fields.iter().filter(|(row, ..)| *row == place) {
                let edited = replace_field(&out[start..], field, json.as_deref());
                out.truncate(start);
                out.extend_from_slice(&edited);
            }
        }
        out.extend_from_slice(b"]}");
        out
    }
}

fn rows_of(number: u64, page_size: u64, total: u64) -> Range<u64> {
    let start = number.saturating_sub(1).saturating_mul(page_size).min(total);
    start..start.saturating_add(page_size).min(total)
}

/// Returns a row with one field replaced, added or left out, and its fields sorted by name. A row that is not
/// an object stays unchanged.
fn replace_field(row: &[u8], field: &str, json: Option<&str>) -> Vec<u8> {
    let Ok(mut fields) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(row) else {
        return row.to_vec();
    };
    fields.remove(field);
    let mut pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}:{value}", quoted(name))).collect();
    pairs.extend(json.map(|json| format!("{}:{json}", quoted(field))));
    format!("{{{}}}", pairs.join(",")).into_bytes()
}
