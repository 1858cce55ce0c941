//! Reads the keys of a transformation, and checks them together. It never evaluates an expression.

use std::{path::PathBuf, time::Duration};

use super::section::{ConfigItem, ConfigResult, Section};
use crate::{
    config::values,
    error::{Error, Result},
    export::{NestingOptions, columns::output_columns, output_form::OutputForm},
    sink::{Encoding, JsonColumns},
    transform::{ColumnText, OnError, Shaper, SplitsText, Transform},
};

/// The keys that choose rows and columns. Missing keys are `None`.
#[derive(Debug, Default, Clone)]
pub(super) struct TransformKeys {
    conditions: Option<Vec<String>>,
    computed: Option<Vec<ColumnText>>,
    map: Option<String>,
    sample: Option<f64>,
    split: Option<SplitsText>,
    split_by: Option<String>,
    seed: Option<u64>,
    dedupe: Option<String>,
    mask: Option<Vec<String>>,
    pseudonymise: Option<Vec<String>>,
    pseudonym_key_file: Option<String>,
    on_error: Option<OnError>,
    expression_timeout: Option<Duration>,
    pub(super) columns: Option<Vec<String>>,
    pub(super) drop: Option<Vec<String>>,
}

impl TransformKeys {
    pub(super) fn read(section: &mut Section<'_>) -> ConfigResult<Self> {
        Ok(Self {
            conditions: section.read_list("where", |item| {
                item.each(|text| {
                    checked(Transform::new().keep_where(text)).map(|()| text.to_owned())
                })
            })?,
            computed: section.read_list("column", |item| {
                item.each(|text| {
                    let column: ColumnText = text.parse().map_err(why)?;
                    // The position in the text of the key, not in the expression after the name.
                    let before =
                        text.split_once('=').map_or(0, |(name, _)| name.chars().count() + 1);
                    let compiled = Shaper::compile(&Transform::new().computed(column.clone()));
                    compiled.map_err(|error| why_after(error, before)).map(|_| column)
                })
            })?,
            map: section.read_text("map", |item| {
                item.parse(|text| checked(Transform::new().map(text)).map(|()| text.to_owned()))
            })?,
            sample: section.read("sample", |item| {
                let fraction = item.decimal()?;
                let sample = checked(Transform::new().sample(fraction));
                sample.map(|()| fraction).map_err(|why| item.wrong(why))
            })?,
            split: section
                .read_text("split", |item| item.parse(|text| text.parse().map_err(why)))?,
            split_by: section.read_text("split_by", |item| {
                let text = item.text()?;
                let checked = checked(Transform::new().sample(0.5).split_by(text));
                checked.map(|()| text.to_owned()).map_err(|why| item.wrong(why))
            })?,
            seed: section.read("seed", ConfigItem::integer)?,
            dedupe: section.read_text("dedupe", |item| {
                item.parse(|text| checked(Transform::new().dedupe(text)).map(|()| text.to_owned()))
            })?,
            mask: section.read_list("mask", |item| {
                item.each(|text| checked(Transform::new().mask(text)).map(|()| text.to_owned()))
            })?,
            pseudonymise: section.read_list("pseudonymise", |item| {
                // The key is in a key of its own, and the paths are those of a mask.
                item.each(|text| checked(Transform::new().mask(text)).map(|()| text.to_owned()))
            })?,
            pseudonym_key_file: section.read("pseudonym_key_file", ConfigItem::path)?,
            on_error: section.read("on_error", |item| item.parse(values::value))?,
            expression_timeout: section
                .read("expression_timeout", |item| item.parse(values::duration))?,
            columns: section.read_list("columns", ConfigItem::texts)?,
            drop: section.read_list("drop", ConfigItem::texts)?,
        })
    }

    /// Returns these keys, with missing ones taken from the defaults. Paths to replace are added to those of the
    /// defaults, unless the job switches those off. A default without effect on the job does not apply.
    pub(super) fn or(self, defaults: &Self) -> Self {
        let d = defaults.clone();
        let conditions = self.conditions.or(d.conditions);
        let has_no_columns =
            self.columns.is_none() && self.drop.is_none() && self.computed.is_none();
        let computed = self.computed.or(d.computed.filter(|_| self.map.is_none()));
        let sample = self.sample.or(d.sample);
        let split = self.split.or(d.split);
        let chooses = sample.is_some() || split.is_some();
        let split_by = self.split_by.or(d.split_by.filter(|_| chooses));
        let pseudonymise = joined(d.pseudonymise, self.pseudonymise);
        let default_key = d.pseudonym_key_file.filter(|_| pseudonymise.is_some());
        let map = self.map.or(d.map.filter(|_| has_no_columns));
        let dedupe = self.dedupe.or(d.dedupe);
        let has_rows = conditions.is_some() || dedupe.is_some() || split_by.is_some();
        let has_expressions = has_rows || computed.is_some() || map.is_some();
        let drop = d.drop.filter(|_| self.columns.is_none() && map.is_none());
        let columns = d.columns.filter(|_| self.drop.is_none() && map.is_none());
        Self {
            mask: joined(d.mask, self.mask),
            dedupe,
            pseudonymise,
            pseudonym_key_file: self.pseudonym_key_file.or(default_key),
            seed: self.seed.or(d.seed.filter(|_| chooses)),
            on_error: self.on_error.or(d.on_error.filter(|_| has_expressions)),
            expression_timeout: self
                .expression_timeout
                .or(d.expression_timeout.filter(|_| has_expressions)),
            columns: self.columns.or(columns),
            drop: self.drop.or(drop),
            conditions,
            computed,
            map,
            sample,
            split,
            split_by,
        }
    }

    /// Returns the transformation of the rows. `resolve` returns the path of a file.
    pub(super) fn transform(&self, resolve: impl Fn(&str) -> PathBuf) -> Transform {
        let conditions = self.conditions.iter().flatten().cloned();
        let transform = conditions.fold(Transform::new(), Transform::keep_where);
        let computed = self.computed.iter().flatten().cloned();
        let transform = computed.fold(transform, Transform::computed);
        let transform = self.map.iter().cloned().fold(transform, Transform::map);
        let transform = self.sample.into_iter().fold(transform, Transform::sample);
        let split = self.split.iter().cloned();
        let transform = split.fold(transform, Transform::split_text);
        let split_by = self.split_by.iter().cloned();
        let transform = split_by.fold(transform, Transform::split_by);
        let transform = self.seed.into_iter().fold(transform, Transform::seed);
        let transform = self.dedupe.iter().cloned().fold(transform, Transform::dedupe);
        let mask = self.mask.iter().flatten().cloned();
        let transform = mask.fold(transform, Transform::mask);
        let pseudonymise = self.pseudonymise.iter().flatten().cloned();
        let transform = pseudonymise.fold(transform, Transform::pseudonymise);
        let key = self.pseudonym_key_file.iter().map(|file| resolve(file));
        let transform = key.fold(transform, Transform::pseudonym_key_file);
        let transform = self.on_error.into_iter().fold(transform, Transform::on_error);
        self.expression_timeout.into_iter().fold(transform, Transform::expression_timeout)
    }

    /// Checks the keys with each other, and compiles the expressions. Does not read the key of pseudonyms.
    pub(super) fn check(
        &self,
        encoding: Encoding,
        has_card: bool,
        (json_columns, nesting): (Option<JsonColumns>, &NestingOptions),
    ) -> Result<()> {
        let shaper = Shaper::check(&self.transform(|file| PathBuf::from(file)))?;
        let drop = self.drop.as_deref().unwrap_or_default();
        let columns = output_columns(self.columns.as_deref(), drop, shaper.as_ref())?;
        let shaper = shaper.as_ref();
        let columns = columns.as_slice();
        let form = OutputForm {
            shaper,
            columns,
            has_lines: false,
            has_card,
            json_columns,
            nesting,
            is_named: false,
        };
        form.check(encoding).map(|_| ())
    }
}

/// Returns the paths of the defaults and of a job: a job never shows what the defaults hide.
fn joined(defaults: Option<Vec<String>>, own: Option<Vec<String>>) -> Option<Vec<String>> {
    let mut all = defaults.unwrap_or_default();
    let more = own.into_iter().flatten().filter(|paths| !all.contains(paths)).collect::<Vec<_>>();
    all.extend(more);
    (!all.is_empty()).then_some(all)
}

/// Compiles a transformation of one key. The mistake does not repeat the value, which the caller shows.
fn checked(transform: Transform) -> Result<(), String> {
    Shaper::compile(&transform).map(drop).map_err(why)
}

fn why(error: Error) -> String {
    why_after(error, 0)
}

/// `skipped` is the number of characters of the text before the expression.
fn why_after(error: Error, skipped: usize) -> String {
    match error {
        Error::Expression { expression, position, why, .. } => {
            let before = expression.get(..position).unwrap_or_default();
            format!("{why}, at character {}", skipped + before.chars().count() + 1)
        }
        Error::Invalid { why, .. } => why,
        error => error.to_string(),
    }
}
