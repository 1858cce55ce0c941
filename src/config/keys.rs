//! Reads the keys of a job and checks each one on its own. A job's own keys take precedence over the
//! defaults.

use std::time::Duration;

use chrono_tz::Tz;
use uuid::Uuid;

use super::{
    Keep, Schedule, Unchanged,
    nesting::NestingKeys,
    section::{ConfigItem, ConfigResult, Section},
    transform::TransformKeys,
};
use crate::{
    client::Source,
    config::values,
    location::{StorageOptions, mistake},
    sink::{Compression, Format, JsonColumns, ParquetEncoding},
    text::most_similar,
};

/// The keys of a `[[job]]` or of `[defaults]`. Missing keys are `None`.
#[derive(Debug, Default, Clone)]
pub(super) struct Keys {
    pub(super) dataset: Option<Uuid>,
    pub(super) select: Option<Select>,
    pub(super) dataset_name: Option<glob::Pattern>,
    pub(super) agent: Option<Uuid>,
    pub(super) generator_model: Option<String>,
    pub(super) search: Option<String>,
    pub(super) source: Option<Source>,
    pub(super) version: Option<i64>,
    pub(super) version_min: Option<i64>,
    pub(super) version_max: Option<i64>,
    pub(super) ordering: Option<String>,
    pub(super) root: Option<String>,
    pub(super) link: Option<String>,
    pub(super) storage: Option<StorageOptions>,
    pub(super) format: Option<Format>,
    pub(super) compression: Option<Compression>,
    pub(super) parquet_encoding: Option<ParquetEncoding>,
    pub(super) json_columns: Option<JsonColumns>,
    pub(super) nesting: NestingKeys,
    pub(super) csv_bom: Option<bool>,
    pub(super) csv_safe: Option<bool>,
    pub(super) dataset_card: Option<bool>,
    pub(super) transform: TransformKeys,
    pub(super) page_size: Option<u32>,
    pub(super) rows_per_file: Option<u64>,
    pub(super) max_passes: Option<u32>,
    pub(super) temp_dir: Option<String>,
    pub(super) unchanged: Option<Unchanged>,
    pub(super) keep: Option<Keep>,
    pub(super) schedule: Option<Schedule>,
    pub(super) timezone: Option<Tz>,
    pub(super) catch_up: Option<bool>,
    pub(super) jitter: Option<Duration>,
    pub(super) on_result: Option<Vec<String>>,
}

/// The value of `select`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Select {
    Latest,
    All,
}

impl Keys {
    /// Reads every key of a job except its name.
    pub(super) fn read(section: &mut Section<'_>) -> ConfigResult<Self> {
        let id = |item: &ConfigItem<'_>| item.parse(values::id);
        let text = |item: &ConfigItem<'_>| item.text().map(str::to_owned);
        let keys = Self {
            dataset: section.read("dataset", |item| item.parse(dataset))?,
            select: section.read("select", |item| item.parse(select))?,
            dataset_name: section.read("dataset_name", |item| item.parse(pattern))?,
            agent: section.read("agent", id)?,
            generator_model: section.read("generator_model", text)?,
            search: section.read("search", text)?,
            source: section.read("source", |item| item.parse(values::value))?,
            version: section.read("version", ConfigItem::integer)?,
            version_min: section.read("version_min", ConfigItem::integer)?,
            version_max: section.read("version_max", ConfigItem::integer)?,
            ordering: section.read("ordering", text)?,
            root: section.read("root", ConfigItem::path)?,
            link: section.read("link", ConfigItem::path)?,
            storage: section.read("storage", storage)?,
            format: section.read("format", |item| item.parse(values::value))?,
            compression: section.read("compression", |item| item.parse(values::value))?,
            parquet_encoding: section.read("parquet_encoding", |item| item.parse(values::value))?,
            json_columns: section.read("json_columns", |item| item.parse(values::value))?,
            nesting: NestingKeys::read(section)?,
            csv_bom: section.read("csv_bom", ConfigItem::flag)?,
            csv_safe: section.read("csv_safe", ConfigItem::flag)?,
            dataset_card: section.read("dataset_card", ConfigItem::flag)?,
            transform: TransformKeys::read(section)?,
            page_size: section.read("page_size", ConfigItem::positive)?,
            rows_per_file: section.read("rows_per_file", ConfigItem::positive)?,
            max_passes: section.read("max_passes", ConfigItem::integer)?,
            temp_dir: section.read("temp_dir", ConfigItem::path)?,
            unchanged: section.read("unchanged", |item| item.parse(unchanged))?,
            keep: section.read_table("keep", keep)?,
            schedule: section.read_text("schedule", |item| item.parse(values::value))?,
            timezone: section.read("timezone", |item| item.parse(timezone))?,
            catch_up: section.read("catch_up", ConfigItem::flag)?,
            jitter: section.read("jitter", |item| item.parse(jitter))?,
            on_result: section.read_list("on_result", command)?,
        };
        if keys.dataset.is_some() && (keys.select.is_some() || keys.dataset_name.is_some()) {
            return Err(section.wrong(
                "dataset cannot be combined with select or dataset_name: use one or the other",
            ));
        }
        Ok(keys)
    }

    /// Returns these keys, with missing ones taken from the defaults.
    pub(super) fn or(self, defaults: &Self) -> Self {
        // `dataset` excludes `select` and `dataset_name`. If the job has one of them, ignore the default of
        // the other.
        let (chooses, names) = (self.select.is_some() || self.dataset_name.is_some(), self.dataset);
        let unless = |no: bool, yes: &Self| if no { Self::default() } else { yes.clone() };
        let dataset = names.or(unless(chooses, defaults).dataset);
        let choice = unless(names.is_some(), defaults);
        let d = defaults.clone();
        // A default that is for another format than the job's does not apply.
        let format = self.format.or(d.format).unwrap_or(Format::Parquet);
        let parquet_encoding = d.parquet_encoding.filter(|_| format == Format::Parquet);
        let json_columns = d.json_columns.filter(|form| form.suits(format));
        let can_be = JsonColumns::Nested.suits(format)
            && self.json_columns.is_none_or(|form| form == JsonColumns::Nested);
        let json_columns = self.json_columns.or(json_columns);
        let is_nested = json_columns == Some(JsonColumns::Nested);
        let csv = |flag: Option<bool>| flag.filter(|_| format == Format::Csv);
        Self {
            dataset,
            select: self.select.or(choice.select),
            dataset_name: self.dataset_name.or(choice.dataset_name),
            agent: self.agent.or(d.agent),
            generator_model: self.generator_model.or(d.generator_model),
            search: self.search.or(d.search),
            source: self.source.or(d.source),
            version: self.version.or(d.version),
            version_min: self.version_min.or(d.version_min),
            version_max: self.version_max.or(d.version_max),
            ordering: self.ordering.or(d.ordering),
            root: self.root.or(d.root),
            link: self.link,
            storage: self.storage.or(d.storage),
            format: self.format.or(d.format),
            compression: self.compression.or(d.compression),
            parquet_encoding: self.parquet_encoding.or(parquet_encoding),
            json_columns,
            nesting: self.nesting.or(&d.nesting, (is_nested, can_be)),
            csv_bom: self.csv_bom.or(csv(d.csv_bom)),
            csv_safe: self.csv_safe.or(csv(d.csv_safe)),
            dataset_card: self.dataset_card.or(d.dataset_card),
            transform: self.transform.or(&d.transform),
            page_size: self.page_size.or(d.page_size),
            rows_per_file: self.rows_per_file.or(d.rows_per_file),
            max_passes: self.max_passes.or(d.max_passes),
            temp_dir: self.temp_dir.or(d.temp_dir),
            unchanged: self.unchanged.or(d.unchanged),
            keep: self.keep.or(d.keep),
            schedule: self.schedule.or(d.schedule),
            timezone: self.timezone.or(d.timezone),
            catch_up: self.catch_up.or(d.catch_up),
            jitter: self.jitter.or(d.jitter),
            on_result: self.on_result.or(d.on_result),
        }
    }
}

fn dataset(text: &str) -> ConfigResult<Uuid, String> {
    let name = "dataset_name selects a dataset by its name";
    values::dataset_id(text).map_err(|why| format!("{why}; {name}"))
}

fn select(text: &str) -> ConfigResult<Select, String> {
    match text {
        "latest" => Ok(Select::Latest),
        "all" => Ok(Select::All),
        _ => Err("use latest or all".to_owned()),
    }
}

fn unchanged(text: &str) -> ConfigResult<Unchanged, String> {
    match text {
        "metadata" => Ok(Unchanged::Metadata),
        "content" => Ok(Unchanged::Content),
        "never" => Ok(Unchanged::Never),
        _ => Err("use metadata, content or never".to_owned()),
    }
}

fn pattern(text: &str) -> ConfigResult<glob::Pattern, String> {
    glob::Pattern::new(text).map_err(|error| error.msg.to_owned())
}

fn timezone(text: &str) -> ConfigResult<Tz, String> {
    text.parse().map_err(|_| {
        let known = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
        // A text without a slash is probably the name of a city.
        let city = |name: &'static str| name.rsplit('/').next().unwrap_or(name);
        let whole = text.contains('/');
        let meant = most_similar(text, known, |name| if whole { name } else { city(name) });
        let meant = meant.map_or("UTC", |(_, name)| name);
        format!("there is no such time zone: did you mean {meant:?}?")
    })
}

/// Parses a jitter. The largest value is one day: a larger value is probably `M` (months) written for `m`
/// (minutes).
fn jitter(text: &str) -> ConfigResult<Duration, String> {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    match values::duration(text)? {
        long if long > DAY => {
            Err("it must be at most a day: 10m is ten minutes, 10M is ten months".to_owned())
        }
        jitter => Ok(jitter),
    }
}

fn command(item: &ConfigItem<'_>) -> ConfigResult<Vec<String>> {
    let command = item.texts()?;
    match command.first().and_then(|program| mistake(program)) {
        Some(why) => Err(item.wrong(why)),
        None => Ok(command),
    }
}

/// Reads the settings of an object store. Error messages do not quote them, because some are secrets.
fn storage(item: &ConfigItem<'_>) -> ConfigResult<StorageOptions> {
    item.pairs().map(|pairs| {
        let options = StorageOptions::default();
        pairs.into_iter().fold(options, |options, (key, value)| options.with(key, value))
    })
}

fn keep(item: &ConfigItem<'_>) -> ConfigResult<Keep> {
    let mut section = item
        .section()
        .map_err(|_| item.wrong("give counts, such as { last = 30, monthly = 12 }"))?;
    let keep = Keep {
        last: section.read("last", ConfigItem::integer)?.unwrap_or(0),
        daily: section.read("daily", ConfigItem::integer)?.unwrap_or(0),
        weekly: section.read("weekly", ConfigItem::integer)?.unwrap_or(0),
        monthly: section.read("monthly", ConfigItem::integer)?.unwrap_or(0),
    };
    section.finish()?;
    if keep == Keep::default() {
        return Err(item.wrong("it keeps nothing; leave it out to keep everything"));
    }
    Ok(keep)
}
