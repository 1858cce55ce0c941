//! What the columns of an export hold, in one pass and in bounded memory. Profiles of different rows join to the profile
//! of all rows. It knows no files and no HTML.

pub(super) mod examples;
pub(super) mod figures;
pub(super) mod labels;
pub(super) mod nulls;
pub(super) mod numbers;
pub(super) mod odd_places;
pub(super) mod tree;
pub(super) mod turns;

use arrow_array::RecordBatch;
use twox_hash::{XxHash3_64, XxHash3_128};

use self::{
    examples::ValueExamples,
    figures::{CommonValues, DistinctValues, Extremes, Lengths},
    labels::{LabelsOfRow, labels},
    nulls::NullRuns,
    numbers::{Numbers, joined, one_zero, wider},
    tree::{
        JsonTree, SeenTurn,
        texts::{Tally, earlier},
    },
    turns::Turns,
};
use super::{
    sample::RowSample,
    values::{BatchRows, CellValue, RowColumns, not_json, uuid_of},
};
use crate::{
    batch::{Column, ColumnType, OutputColumn},
    error::Result,
    location::Location,
    proof::{Digest, HashPair},
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
    /// The first row without a value, from 1; 0 if there is none.
    pub(super) first_null: u64,
    /// The first rows of personas and labels.
    pub(super) firsts: Option<ValueExamples>,
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

/// How much the expected outputs hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct OutputContent {
    /// Outputs without any text, number or boolean. Nulls are not counted.
    pub(super) empty: Tally,
    /// Outputs with text, but without any letter, digit, number or boolean.
    pub(super) wordless: Tally,
    /// Outputs whose last long text is that of the input.
    pub(super) echoes: Tally,
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
    /// The hashes of each input that is not null and of its expected output, with the row in the batch.
    pub(super) inputs: Vec<(usize, HashPair)>,
    /// The ids, or the hashes of those that are not UUIDs. Empty if nobody asked for them.
    pub(super) ids: Vec<u128>,
    /// The rows in the batch whose ids are not UUIDs, with the hashes.
    pub(super) named_ids: Vec<(usize, u128)>,
    /// With the row in the batch.
    pub(super) orders: Vec<(usize, i64)>,
    /// The rows without a value, for each column that the report shows.
    pub(super) nulls: Vec<NullRuns>,
}

impl Profile {
    pub(super) fn new(columns: &RowColumns, sample: RowSample) -> Result<Self> {
        let paths = columns.mask.as_ref().map_or(0, |mask| mask.recorded().replaced_paths());
        Ok(Self {
            rows: 0,
            columns: columns.shown_columns().map(ColumnProfile::new).collect::<Result<_>>()?,
            turns: Turns::new()?,
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
        let mut nulls = vec![NullRuns::default(); self.columns.len()];
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
            let (mut bytes, mut is_new) = (0, false);
            let (mut input, mut output, mut last_texts) = (None, 0, [0; 2]);
            for (place, (column, value)) in self.columns.iter_mut().zip(row.shown()).enumerate() {
                nulls[place].add(value.is_none(), number);
                match &value {
                    Some(CellValue::Int(order)) if column.api == Some(Column::Order) => {
                        orders.push((index, *order));
                    }
                    Some(CellValue::Text(text)) => {
                        bytes += text.len();
                        match column.api {
                            Some(Column::Input) => {
                                input = Some(XxHash3_128::oneshot(text.as_bytes()));
                            }
                            Some(Column::ExpectedOutput) => {
                                output = XxHash3_64::oneshot(text.as_bytes());
                            }
                            _ => {}
                        }
                    }
                    _ => {}
                }
                let mut others = RowFigures { turns: &mut self.turns, outputs: &mut self.outputs };
                let added = column.add(value, (number, row.id()), &mut others);
                let seen = added.map_err(|column| not_json(location, number, &column))?;
                is_new |= seen.is_new;
                match column.api {
                    Some(Column::Input) => last_texts[0] = seen.last_text,
                    Some(Column::ExpectedOutput) => last_texts[1] = seen.last_text,
                    _ => {}
                }
                self.sample.offer_extreme(number, &row, (place, seen.extremes));
            }
            if last_texts[0] > 0 && last_texts[0] == last_texts[1] {
                is_new |= self.outputs.echoes.add(number);
            }
            inputs.extend(input.map(|input| (index, HashPair::new(input, output))));
            self.sample.offer(number, &row, bytes);
            if is_new {
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
            nulls,
        })
    }

    pub(super) fn join(&mut self, other: Self) -> Result<()> {
        self.rows += other.rows;
        for (own, other) in self.columns.iter_mut().zip(other.columns) {
            own.join(other)?;
        }
        self.turns.join(other.turns)?;
        self.outputs.empty.join(other.outputs.empty);
        self.outputs.wordless.join(other.outputs.wordless);
        self.outputs.echoes.join(other.outputs.echoes);
        self.sample.join(other.sample);
        add_replaced(&mut self.replaced, &other.replaced);
        Ok(())
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
    is_new: bool,
    /// A hash of its last long text; 0 if there is none.
    last_text: u64,
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
            (ColumnType::Json, Some(Column::ExpectedOutput)) => {
                ValueProfile::Json(JsonTree::with_repeated_texts())
            }
            (ColumnType::Json | ColumnType::List(_), _) => ValueProfile::Json(JsonTree::default()),
            (ColumnType::Int | ColumnType::Float, _) => ValueProfile::Number(Box::default()),
            (ColumnType::Bool, _) => ValueProfile::Bool { yes: 0 },
            (ColumnType::Timestamp, _) => ValueProfile::Timestamp(None),
        };
        let (distinct, lengths) = (DistinctValues::new()?, Lengths::new()?);
        let (column, api) = (column.clone(), column.of_api());
        let has_firsts = matches!(api, Some(Column::Persona | Column::Tags));
        let firsts = has_firsts.then(ValueExamples::default);
        Ok(Self { column, api, nulls: 0, first_null: 0, firsts, distinct, lengths, values })
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
            if self.nulls == 0 {
                (self.first_null, seen.is_new) = (row, true);
            }
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
            (ValueProfile::Text(common), CellValue::Text(text)) => {
                common.add(text);
                if let Some(firsts) = &mut self.firsts {
                    seen.is_new |= firsts.add(XxHash3_64::oneshot(text.as_bytes()), row);
                }
            }
            (ValueProfile::Json(tree), CellValue::Text(text)) => {
                let is_input = self.api == Some(Column::Input);
                let (turns, mut is_new) = (&mut *others.turns, false);
                let mut on_turn = |turn: SeenTurn<'_>| {
                    is_new |= is_input && turns.add(turn, row);
                };
                let content = tree.add(text, row, &mut on_turn).map_err(|_| name())?;
                if is_input {
                    is_new |= others.turns.end(content.turns, row, id);
                }
                if self.api == Some(Column::ExpectedOutput) && content.others == 0 {
                    let outputs = &mut *others.outputs;
                    is_new |= match content.bytes {
                        0 => outputs.empty.add(row),
                        _ => !content.has_words && outputs.wordless.add(row),
                    };
                }
                (seen.is_new, seen.last_text) = (content.is_new || is_new, content.last_text);
            }
            (ValueProfile::Tags(tree, common), CellValue::Text(text)) => {
                let content = tree.add(text, row, &mut |_| ()).map_err(|_| name())?;
                seen.is_new = content.is_new;
                // A row has a label once, however often it occurs in the row.
                let (mut of_row, firsts) = (LabelsOfRow::default(), &mut self.firsts);
                labels(text, &mut |label| {
                    if of_row.insert(label) {
                        common.add(label);
                        let hash = || XxHash3_64::oneshot(label.as_bytes());
                        seen.is_new |= firsts.as_mut().is_some_and(|it| it.add(hash(), row));
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
        self.first_null = earlier(self.first_null, other.first_null);
        if let (Some(own), Some(other)) = (&mut self.firsts, other.firsts) {
            own.join(other);
        }
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
