//! What the columns of an export hold, in one pass and in bounded memory. Profiles of different rows join to the profile
//! of all rows. It knows no files and no HTML.

pub(super) mod figures;
pub(super) mod labels;
pub(super) mod numbers;
pub(super) mod rare;
pub(super) mod tree;

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::RecordBatch;
use twox_hash::XxHash3_128;

use self::{
    figures::{CommonValues, DistinctValues, Extremes, Lengths},
    labels::{LabelsOfRow, labels},
    numbers::{Numbers, joined, one_zero, wider},
    rare::RareKind,
    tree::JsonTree,
};
use super::{
    sample::{RowSample, ShownWhy},
    values::{BatchRows, CellValue, RowColumns, not_json, uuid_of},
};
use crate::{
    batch::{Column, ColumnType, OutputColumn},
    error::Result,
    location::Location,
    proof::Digest,
    record::{digest, manifest::add_replaced},
    transform::EditedRow,
};

/// What a column holds.
#[derive(Debug)]
pub(super) struct ColumnProfile {
    pub(super) column: OutputColumn,
    /// The field of the API that it has.
    pub(super) api: Option<Column>,
    pub(super) nulls: u64,
    pub(super) distinct: DistinctValues,
    /// Characters of texts, and of JSON as the export has it.
    pub(super) lengths: Lengths,
    pub(super) values: ValueProfile,
}

/// What the values of a column are.
#[derive(Debug)]
pub(super) enum ValueProfile {
    /// Ids are all different, so their values are not counted.
    Id,
    Text(CommonValues),
    Json(JsonTree),
    Tags(JsonTree, CommonValues),
    Number(Box<Numbers>),
    Bool {
        yes: u64,
    },
    /// Microseconds since 1970.
    Timestamp(Option<(i64, i64)>),
}

impl ValueProfile {
    /// The tree of the keys of JSON values.
    pub(super) fn tree(&self) -> Option<&JsonTree> {
        match self {
            Self::Json(tree) | Self::Tags(tree, _) => Some(tree),
            _ => None,
        }
    }
}

/// The conversations in the inputs.
#[derive(Debug)]
pub(super) struct Turns {
    pub(super) roles: CommonValues,
    /// Turns of each input that has one.
    pub(super) turns: Lengths,
}

/// How much the expected outputs hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OutputContent {
    /// Outputs without any text, number or boolean. Nulls are not counted.
    pub(super) empty: u64,
    /// Outputs with text, but without any letter, digit, number or boolean.
    pub(super) wordless: u64,
}

/// What some rows of an export hold.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) rows: u64,
    pub(super) columns: Vec<ColumnProfile>,
    pub(super) turns: Turns,
    pub(super) outputs: OutputContent,
    pub(super) sample: RowSample,
    /// For each path of the mask, the number of rows in which it has replaced a value.
    pub(super) replaced: Vec<u64>,
}

/// Facts of a batch that depend on its place among the others.
pub(super) struct BatchFacts {
    pub(super) rows: u64,
    pub(super) digest: Digest,
    /// The hash of each input that is not null, with the row in the batch.
    pub(super) inputs: Vec<(usize, u128)>,
    /// The ids, or the hashes of those that are not UUIDs. Empty if nobody asked for them.
    pub(super) ids: Vec<u128>,
    /// The rows in the batch whose ids are not UUIDs, with the hashes.
    pub(super) named_ids: Vec<(usize, u128)>,
    pub(super) orders: Vec<i64>,
}

impl Profile {
    pub(super) fn new(columns: &RowColumns, sample: RowSample) -> Result<Self> {
        let paths = columns.mask.as_ref().map_or(0, |mask| mask.recorded().replaced_paths());
        Ok(Self {
            rows: 0,
            columns: columns.shown_columns().map(ColumnProfile::new).collect::<Result<_>>()?,
            turns: Turns { roles: CommonValues::new()?, turns: Lengths::new()? },
            outputs: OutputContent::default(),
            sample,
            replaced: vec![0; paths],
        })
    }

    /// Adds the rows of a batch. `first_row` is the number of the first one, from 1.
    ///
    /// # Errors
    /// `Damaged` when a JSON column has text that is not JSON.
    pub(super) fn add(
        &mut self,
        batch: &RecordBatch,
        columns: &RowColumns,
        (location, first_row): (&Location, u64),
    ) -> Result<BatchFacts> {
        let rows = BatchRows::new(batch, columns)?;
        let count = batch.num_rows();
        let (mut inputs, mut orders) = (Vec::with_capacity(count), Vec::new());
        let (mut ids, mut named_ids) = (Vec::new(), Vec::new());
        for (index, number) in (0..count).zip(first_row..) {
            let row = rows.row(index).map_err(|_| not_json(location, number, "masked value"))?;
            if let Some(edited) = &row.edited {
                EditedRow::count_paths(edited, &mut self.replaced);
            }
            if let Some(id) = row.known_id().filter(|_| columns.counts_ids) {
                let hash = uuid_of(id).map(|id| id.as_u128()).unwrap_or_else(|| {
                    let hash = XxHash3_128::oneshot(id.as_bytes());
                    named_ids.push((index, hash));
                    hash
                });
                ids.push(hash);
            }
            let (mut bytes, mut has_new_kind) = (0, false);
            for (place, (column, value)) in self.columns.iter_mut().zip(row.shown()).enumerate() {
                match &value {
                    Some(CellValue::Int(order)) if column.api == Some(Column::Order) => {
                        orders.push(*order);
                    }
                    Some(CellValue::Text(text)) => {
                        bytes += text.len();
                        if column.api == Some(Column::Input) {
                            inputs.push((index, XxHash3_128::oneshot(text.as_bytes())));
                        }
                    }
                    _ => {}
                }
                let mut others = RowFigures { turns: &mut self.turns, outputs: &mut self.outputs };
                let added = column.add(value, (number, row.id()), &mut others);
                let seen = added.map_err(|column| not_json(location, number, &column))?;
                has_new_kind |= seen.has_new_kind;
                self.sample.offer_extreme(number, &row, (place, seen.extremes));
            }
            self.sample.offer(number, &row, bytes);
            if has_new_kind {
                self.sample.offer_odd(number, &row);
            }
        }
        self.rows += count as u64;
        Ok(BatchFacts {
            rows: count as u64,
            digest: digest(batch)?,
            inputs,
            ids,
            named_ids,
            orders,
        })
    }

    pub(super) fn join(&mut self, other: Self) -> Result<()> {
        self.rows += other.rows;
        for (own, other) in self.columns.iter_mut().zip(other.columns) {
            own.join(other)?;
        }
        self.turns.roles.join(&other.turns.roles);
        self.turns.turns.join(other.turns.turns)?;
        self.outputs.empty += other.outputs.empty;
        self.outputs.wordless += other.outputs.wordless;
        self.sample.join(other.sample);
        add_replaced(&mut self.replaced, &other.replaced);
        Ok(())
    }

    /// Returns the rows that figures name: those with the shortest and the longest values, and those with rare types.
    pub(super) fn wanted_rows(&self, rare: &[RareKind]) -> BTreeMap<u64, BTreeSet<ShownWhy>> {
        let mut wanted = BTreeMap::<u64, BTreeSet<ShownWhy>>::new();
        let lengths = self.columns.iter().map(|column| &column.lengths);
        for lengths in lengths {
            // Values of one length have no shortest one.
            let [shortest, longest] = [&lengths.shortest, &lengths.longest];
            let (Some(shortest), Some(longest)) = (shortest, longest) else { continue };
            if shortest.length < longest.length {
                wanted.entry(shortest.row).or_default().insert(ShownWhy::Shortest);
                wanted.entry(longest.row).or_default().insert(ShownWhy::Longest);
            }
        }
        for rare in rare {
            wanted.entry(rare.row).or_default().insert(ShownWhy::Odd);
        }
        wanted
    }

    /// Puts keys in the order in which they first occurred.
    pub(super) fn sort(&mut self) {
        for column in &mut self.columns {
            if let ValueProfile::Json(tree) | ValueProfile::Tags(tree, _) = &mut column.values {
                tree.root.sort();
            }
        }
    }
}

/// What is special about a value.
#[derive(Debug, Clone, Copy, Default)]
struct SeenValue {
    extremes: Extremes,
    has_new_kind: bool,
}

/// The figures of rows, to which some columns add.
struct RowFigures<'p> {
    turns: &'p mut Turns,
    outputs: &'p mut OutputContent,
}

impl ColumnProfile {
    fn new(column: &OutputColumn) -> Result<Self> {
        let values = match (column.column_type(), column.of_api()) {
            (_, Some(Column::Id)) => ValueProfile::Id,
            (_, Some(Column::Tags)) => {
                ValueProfile::Tags(JsonTree::default(), CommonValues::new()?)
            }
            (ColumnType::String, _) => ValueProfile::Text(CommonValues::new()?),
            (ColumnType::Json | ColumnType::List(_), _) => ValueProfile::Json(JsonTree::default()),
            (ColumnType::Int | ColumnType::Float, _) => ValueProfile::Number(Box::default()),
            (ColumnType::Bool, _) => ValueProfile::Bool { yes: 0 },
            (ColumnType::Timestamp, _) => ValueProfile::Timestamp(None),
        };
        let (distinct, lengths) = (DistinctValues::new()?, Lengths::new()?);
        let api = column.of_api();
        Ok(Self { column: column.clone(), api, nulls: 0, distinct, lengths, values })
    }

    /// Adds the value of a row. Returns the name of this column if its JSON text is not JSON.
    fn add(
        &mut self,
        value: Option<CellValue<'_>>,
        (row, id): (u64, &str),
        others: &mut RowFigures<'_>,
    ) -> Result<SeenValue, String> {
        let mut seen = SeenValue::default();
        let Some(value) = value else {
            self.nulls += 1;
            return Ok(seen);
        };
        match &value {
            CellValue::Text(text) => {
                // Ids and inputs are counted exactly elsewhere.
                if !matches!(self.api, Some(Column::Id | Column::Input)) {
                    self.distinct.add(text.as_bytes());
                }
                seen.extremes = self.lengths.add(text.chars().count() as u64, row, id);
            }
            CellValue::Int(int) | CellValue::Timestamp(int) => {
                self.distinct.add(&int.to_le_bytes());
            }
            CellValue::Float(float) => self.distinct.add(&one_zero(*float).to_le_bytes()),
            CellValue::Bool(value) => self.distinct.add(&[u8::from(*value)]),
        }
        let name = || self.column.name().to_owned();
        match (&mut self.values, &value) {
            (ValueProfile::Text(common), CellValue::Text(text)) => common.add(text),
            (ValueProfile::Json(tree), CellValue::Text(text)) => {
                let is_input = self.api == Some(Column::Input);
                let roles = &mut others.turns.roles;
                let mut on_role = |role: &str| {
                    if is_input {
                        roles.add(role);
                    }
                };
                let content = tree.add(text, row, &mut on_role).map_err(|_| name())?;
                seen.has_new_kind = content.has_new_kind;
                if is_input && content.turns > 0 {
                    others.turns.turns.add(content.turns, row, id);
                }
                if self.api == Some(Column::ExpectedOutput) {
                    let (bytes, is_text) = (content.bytes, !content.has_others);
                    others.outputs.empty += u64::from(is_text && bytes == 0);
                    others.outputs.wordless +=
                        u64::from(is_text && bytes > 0 && !content.has_words);
                }
            }
            (ValueProfile::Tags(tree, common), CellValue::Text(text)) => {
                let content = tree.add(text, row, &mut |_| ()).map_err(|_| name())?;
                seen.has_new_kind = content.has_new_kind;
                // A row has a label once, however often it occurs in the row.
                let mut of_row = LabelsOfRow::default();
                labels(text, &mut |label| {
                    if of_row.insert(label) {
                        common.add(label);
                    }
                })
                .map_err(|_| name())?;
            }
            (ValueProfile::Number(numbers), CellValue::Int(int)) => numbers.add_integer(*int, row),
            (ValueProfile::Number(numbers), CellValue::Float(float)) => {
                numbers.add_float(*float, row);
            }
            (ValueProfile::Bool { yes }, CellValue::Bool(value)) => *yes += u64::from(*value),
            (ValueProfile::Timestamp(range), CellValue::Timestamp(at)) => {
                *range = Some(wider(*range, *at));
            }
            _ => {}
        }
        Ok(seen)
    }

    fn join(&mut self, other: Self) -> Result<()> {
        self.nulls += other.nulls;
        self.distinct.join(&other.distinct)?;
        self.lengths.join(other.lengths)?;
        match (&mut self.values, other.values) {
            (ValueProfile::Text(own), ValueProfile::Text(other)) => own.join(&other),
            (ValueProfile::Json(own), ValueProfile::Json(other)) => own.join(other),
            (ValueProfile::Tags(own, common), ValueProfile::Tags(other, more)) => {
                own.join(other);
                common.join(&more);
            }
            (ValueProfile::Number(own), ValueProfile::Number(other)) => own.join(*other),
            (ValueProfile::Bool { yes }, ValueProfile::Bool { yes: more }) => *yes += more,
            (ValueProfile::Timestamp(own), ValueProfile::Timestamp(other)) => {
                *own = joined(*own, other);
            }
            _ => {}
        }
        Ok(())
    }
}
