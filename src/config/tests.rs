use std::path::Path;

use super::*;
use crate::{
    client::ApiKey,
    sink::{JsonColumns, ParquetEncoding},
};

const ID: &str = "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e";

fn read(text: &str) -> Result<Config> {
    Config::parse(text, Path::new("/etc/overmind/snapshots.toml"))
}

/// Returns the causes of the error for an invalid file.
#[track_caller]
fn wrong(text: &str) -> String {
    let error = read(text).unwrap_err();
    assert_eq!(error.exit_code(), 78);
    let told = error.report().to_string();
    let told =
        told.replace("error: cannot use the configuration /etc/overmind/snapshots.toml\n", "");
    told.replace("  cause: ", "").replace(ID, "ID")
}

/// Returns the error for a job with this line in addition to valid lines.
#[track_caller]
fn wrong_in_job(line: &str) -> String {
    wrong(&format!("[[job]]\nname = \"nightly\"\ndataset = \"{ID}\"\nroot = \"out\"\n{line}\n"))
}

#[test]
fn empty_file_has_no_jobs() {
    assert_eq!(read("").unwrap().jobs.len(), 0);
}

#[test]
fn defaults_fill_missing_keys() {
    let config = read(&format!(
        "[api]\napi_key_file = \"overmind.key\"\nconcurrency = 4\ntimeout = \"5s\"\nretry_for = \"90\"\n\
         [defaults]\nroot = \"snapshots\"\ntimezone = \"Europe/London\"\nkeep = {{ last = 30 }}\n\
         source = \"production\"\njitter = \"10m\"\n\
         [[job]]\nname = \"a\"\ndataset = \"{ID}\"\nschedule = \"0 2 * * *\"\n\
         [[job]]\nname = \"b\"\nselect = \"all\"\nroot = \"s3://bucket/prefix\"\n\
         timezone = \"America/New_York\"\nkeep = {{ daily = 7 }}\nsource = \"seed\"\n\
         on_result = [\"bin/tell\", \"x\"]\nschedule = \"30 2 * * mon-fri\"\n"
    ))
    .unwrap();
    // A bare number is in seconds, as on the command line.
    assert_eq!(config.api.timeout, Some(std::time::Duration::from_secs(5)));
    assert_eq!(config.api.retry_for, Some(std::time::Duration::from_secs(90)));
    assert_eq!(
        config.api.api_key.as_ref().and_then(ApiKey::file),
        Some(Path::new("/etc/overmind/overmind.key"))
    );
    let [a, b] = &config.jobs[..] else { panic!("{config:?}") };
    assert_eq!((a.name.as_str(), a.line), ("a", 13));
    assert_eq!(a.selection, Selection::Dataset(ID.parse().unwrap()));
    assert_eq!(a.root.to_str(), Some("/etc/overmind/snapshots"));
    assert_eq!((a.relative_root.as_deref(), &b.relative_root), (Some("snapshots"), &None));
    assert_eq!(a.timezone, chrono_tz::Europe::London);
    assert_eq!(a.keep, Some(Keep { last: 30, ..Keep::default() }));
    assert_eq!(a.query.to_string(), "source=production");
    assert_eq!(a.jitter, std::time::Duration::from_secs(600));
    assert!(a.catch_up && a.on_result.is_none());
    assert_eq!(a.schedule.as_ref().unwrap().as_str(), "0 2 * * *");
    assert_eq!(b.selection, Selection::All(DatasetName::default()));
    assert_eq!(b.root.to_str(), Some("s3://bucket/prefix"));
    assert_eq!(b.timezone, chrono_tz::America::New_York);
    assert_eq!(b.keep, Some(Keep { daily: 7, ..Keep::default() }));
    assert_eq!(b.query.to_string(), "source=seed");
    assert_eq!(b.on_result, Some(vec!["/etc/overmind/bin/tell".into(), "x".into()]));
}

#[test]
fn default_for_another_format_does_not_apply() {
    let config = read(
        "[defaults]\nroot = \"r\"\nselect = \"all\"\nparquet_encoding = \"plain\"\n\
         json_columns = \"value\"\ncsv_safe = true\n[[job]]\nname = \"a\"\n[[job]]\nname = \"b\"\n\
         format = \"jsonl\"\n[[job]]\nname = \"c\"\nformat = \"arrow\"\n[[job]]\nname = \"d\"\n\
         format = \"csv\"\ncsv_bom = true\n[[job]]\nname = \"e\"\nformat = \"csv\"\ncsv_safe = false\n",
    );
    let forms = |job: &Job| (job.parquet_encoding, job.json_columns, job.csv_bom, job.csv_safe);
    let forms: Vec<_> = config.unwrap().jobs.iter().map(forms).collect();
    let (plain, value) = (Some(ParquetEncoding::Plain), Some(JsonColumns::Value));
    let none = (None, None, false, false);
    let csv = (None, None, true, true);
    assert_eq!(forms, [(plain, None, false, false), (None, value, false, false), none, csv, none]);
}

#[test]
fn own_dataset_or_choice_overrides_the_default() {
    let defaults = "[defaults]\nroot = \"r\"\nselect = \"all\"\ndataset_name = \"a*\"\n";
    let job = format!("[[job]]\nname = \"a\"\ndataset = \"{ID}\"\n");
    let job = &read(&(defaults.to_owned() + &job)).unwrap().jobs[0];
    assert_eq!(job.selection, Selection::Dataset(ID.parse().unwrap()));
    let defaults = format!("[defaults]\nroot = \"r\"\ndataset = \"{ID}\"\n");
    let job = "[[job]]\nname = \"a\"\ndataset_name = \"support-*\"\n";
    let job = &read(&(defaults + job)).unwrap().jobs[0];
    let Selection::Latest(name) = &job.selection else { panic!("{job:?}") };
    assert!(name.matches(Some("support-chat")));
    assert!(!name.matches(Some("a support-chat")) && !name.matches(None));
}

#[test]
fn unknown_key_error_names_line_and_nearest_key() {
    let told = [
        wrong("\n[apis]\n"),
        wrong("[api]\nbase-url = \"x\"\n"),
        wrong("[defaults]\nroot = \"r\"\nname = \"x\"\n"),
        wrong("[[jobs]]\nname = \"x\"\n"),
        wrong("[defualts]\nroot = \"r\"\n[[job]]\nname = \"a\"\nselect = \"all\"\n"),
        wrong("root = \"r\"\n[[job]]\nname = \"a\"\nselect = \"all\"\n"),
        wrong("[settings]\nroot = \"r\"\n"),
        wrong_in_job("time_zone = \"UTC\""),
        wrong_in_job("keep = { last = 1, hourly = 3 }"),
        wrong_in_job("keep = { last = 1, zz = 3 }"),
        wrong_in_job("page_size = 5\nzz = 1\nSchedule = \"@daily\""),
        wrong("[api]\napi_key = \"ovr_secret\"\n"),
    ];
    insta::assert_snapshot!(told.concat(), @r#"
    line 2: unknown table [apis]: did you mean [api]?
    line 2: unknown key "base-url" in [api]: did you mean "base_url"?
    line 3: name = "x" in [defaults]: each job has its own: give it in [[job]]
    line 1: unknown table [[jobs]]: did you mean [[job]]?
    line 1: unknown table [defualts]: did you mean [defaults]?
    line 1: "root" is in no table: the tables are [api], [defaults] and [[job]]
    line 1: unknown table [settings]: the tables are [api], [defaults] and [[job]]
    line 5: unknown key "time_zone" in [[job]] "nightly": did you mean "timezone"?
    line 5: unknown key "hourly" in keep of [[job]] "nightly": the keys are last, daily, weekly, monthly
    line 5: unknown key "zz" in keep of [[job]] "nightly": the keys are last, daily, weekly, monthly
    line 6: unknown key "zz" in [[job]] "nightly": the keys are name, dataset, select, dataset_name, agent, generator_model, search, source, version, version_min, version_max, ordering, root, link, storage, format, compression, parquet_encoding, json_columns, nest, text, max_columns, schema, csv_bom, csv_safe, dataset_card, where, column, map, sample, split, split_by, seed, dedupe, mask, pseudonymise, pseudonym_key_file, on_error, expression_timeout, columns, drop, page_size, rows_per_file, max_passes, temp_dir, unchanged, keep, schedule, timezone, catch_up, jitter, on_result
    line 2: unknown key "api_key" in [api]: did you mean "api_key_file"?
    "#);
}

#[test]
fn typographic_quotes_are_named() {
    let told = [
        wrong("[[job]]\nname = “nightly”\n"),
        wrong("[[job]]\nname = \"nightly”\n"),
        wrong("[api]\n‘base_url’ = \"x\"\n"),
        // In a text or in a comment they are not a mistake.
        wrong("[[job]]\nname = \"a\" x # “nightly”\n"),
        wrong("[[job]]\nname = \"it’s\" x\n"),
    ];
    insta::assert_snapshot!(told.concat(), @r#"
    line 2: “ is a typographic quotation mark: write " instead
    line 2: ” is a typographic quotation mark: write " instead
    line 2: ‘ is a typographic quotation mark: write " instead
    line 2: unexpected key or value, expected newline, `#`
    line 2: unexpected key or value, expected newline, `#`
    "#);
}

#[test]
fn invalid_value_is_quoted_with_its_line() {
    let told = [
        "dataset_name = \"a\"",
        "select = \"newest\"",
        "agent = \"me\"",
        "source = \"prod\"",
        "version = \"3\"",
        "version = 99999999999999999999",
        "version_min = 3\nversion_max = 2",
        "search = \" \"",
        "format = \"xml\"",
        "compression = \"gzip\"",
        "parquet_encoding = \"delta\"",
        "format = \"jsonl\"\nparquet_encoding = \"plain\"",
        "json_columns = \"value\"",
        "csv_safe = true",
        "format = \"jsonl\"\ncsv_bom = false",
        "format = \"csv\"\ncsv_bom = 1",
        "columns = [\"id\", \"label\"]",
        "columns = [\"id\"]\ndrop = [\"tags\"]",
        "where = \".a b\"",
        "where = [\".a\",\n\n\".b |\"]",
        "where = 5",
        "where = [5]",
        "sample = 2",
        "sample = \"0.1\"",
        "split = \"a=0.5,b=0.6\"",
        "split = \"train\"",
        "split = { train = 1 }",
        "split = \"a=0.5,b=0.5\"\nsplit_by = \".[\"",
        "split_by = \".id\"",
        "seed = 1",
        "on_error = \"skip\"",
        "where = \".a\"\nexpression_timeout = \"0s\"",
        "column = [\"topic\"]",
        "column = [\"topic:text=.tags\"]",
        "column = [\"topic=.tags\",\n\"a=now\"]",
        "column = [\"topic=.tags\", \"topic=.id\"]",
        "page_size = 0",
        "rows_per_file = -1",
        "unchanged = \"yes\"",
        "keep = 5",
        "keep = { last = 0 }",
        "keep = { last = -1 }",
        "schedule = \"0 2 * *\"",
        "schedule = \"0 0 2 * * *\"",
        "schedule = \"60 2 * * *\"",
        "schedule = \"0 25 * * *\"",
        "schedule = \"0 2 32 * *\"",
        "schedule = \"0 2 * 0-12 *\"",
        "schedule = \"0 2 * * funday\"",
        "schedule = \"0 0 30 2 *\"",
        "schedule = \"@nightly\"",
        "timezone = \"Europe/Londn\"",
        "timezone = \"Berlin\"",
        "timezone = \"new york\"",
        "timezone = \"europe/berlin\"",
        "catch_up = \"no\"",
        "jitter = \"soon\"",
        "jitter = 10",
        "jitter = \"10M\"",
        "jitter = \"9999999999years\"",
        "on_result = \"mail me\"",
    ]
    .map(wrong_in_job);
    insta::assert_snapshot!(told.concat(), @r#"
    line 1: [[job]] "nightly": dataset cannot be combined with select or dataset_name: use one or the other
    line 5: select = "newest" in [[job]] "nightly": use latest or all
    line 5: agent = "me" in [[job]] "nightly": an id is a UUID, such as ID
    line 5: source = "prod" in [[job]] "nightly": use seed, synthetic, augmented or production
    line 5: version = "3" in [[job]] "nightly": give a whole number
    line 5: version = 99999999999999999999 in [[job]] "nightly": the number is out of range
    line 1: [[job]] "nightly": "3..2" is not a valid version range: version_min must not be above version_max
    line 5: search = " " in [[job]] "nightly": it is empty
    line 5: format = "xml" in [[job]] "nightly": use parquet, arrow, jsonl or csv
    line 1: [[job]] "nightly": "gzip" is not a valid compression: parquet takes none, snappy, lz4, zstd or zstd:LEVEL
    line 5: parquet_encoding = "delta" in [[job]] "nightly": use delta-length or plain
    line 6: parquet_encoding = "plain" in [[job]] "nightly": parquet_encoding is for Parquet, but the format is jsonl: leave it out
    line 5: json_columns = "value" in [[job]] "nightly": json_columns value is not for Parquet: use text or nested
    line 5: csv_safe = true in [[job]] "nightly": csv_safe is for CSV, but the format is parquet: leave it out
    line 6: csv_bom = false in [[job]] "nightly": csv_bom is for CSV, but the format is jsonl: leave it out
    line 6: csv_bom = 1 in [[job]] "nightly": give true or false
    line 1: [[job]] "nightly": "label" is not a valid column: the columns are id, order, input, expected_output, persona, tags, additional_properties
    line 5: columns = ["id"] in [[job]] "nightly": columns names all columns of the output, so drop has no effect
    line 5: where = ".a b" in [[job]] "nightly": the expression should end before this, at character 4
    line 7: where = ".b |" in [[job]] "nightly": an expression is missing at the end, at character 5
    line 5: where = 5 in [[job]] "nightly": give a text in quotes, or a list of such texts
    line 5: where = 5 in [[job]] "nightly": give a text in quotes
    line 5: sample = 2 in [[job]] "nightly": use a number above 0 and up to 1, such as 0.05
    line 5: sample = "0.1" in [[job]] "nightly": give a decimal number, such as 0.05
    line 5: split = "a=0.5,b=0.6" in [[job]] "nightly": the fractions sum to 1.1, not to 1
    line 5: split = "train" in [[job]] "nightly": give names and fractions, such as train=0.9,test=0.1
    line 5: split = { train = 1 } in [[job]] "nightly": give a text in quotes
    line 6: split_by = ".[" in [[job]] "nightly": the closing ] is missing, at character 3
    line 5: split_by = ".id" in [[job]] "nightly": split_by has no effect without split or sample
    line 5: seed = 1 in [[job]] "nightly": seed has no effect without sample or split
    line 5: on_error = "skip" in [[job]] "nightly": on_error has no effect without where, column, map, dedupe or split_by
    line 1: [[job]] "nightly": "0s" is not a valid expression timeout: it must be longer than zero
    line 5: column = "topic" in [[job]] "nightly": give a name and an expression, such as topic=.tags.topic
    line 5: column = "topic:text=.tags" in [[job]] "nightly": the types are string, int, float, bool, timestamp, json, and lists of them, such as string[]
    line 6: column = "a=now" in [[job]] "nightly": now is not allowed: it depends on the time or the machine, at character 3
    line 1: [[job]] "nightly": "topic" is not a valid column: it is computed twice
    line 5: page_size = 0 in [[job]] "nightly": it must be at least 1
    line 5: rows_per_file = -1 in [[job]] "nightly": the number is out of range
    line 5: unchanged = "yes" in [[job]] "nightly": use metadata, content or never
    line 5: keep = 5 in [[job]] "nightly": give counts, such as { last = 30, monthly = 12 }
    line 5: keep = { last = 0 } in [[job]] "nightly": it keeps nothing; leave it out to keep everything
    line 5: last = -1 in keep of [[job]] "nightly": the number is out of range
    line 5: schedule = "0 2 * *" in [[job]] "nightly": it has 4 fields, not the five: minute, hour, day of the month, month, day of the week
    line 5: schedule = "0 0 2 * * *" in [[job]] "nightly": it has 6 fields, not the five: minute, hour, day of the month, month, day of the week
    line 5: schedule = "60 2 * * *" in [[job]] "nightly": its minute is "60": use 0 to 59
    line 5: schedule = "0 25 * * *" in [[job]] "nightly": its hour is "25": use 0 to 23
    line 5: schedule = "0 2 32 * *" in [[job]] "nightly": its day of the month is "32": use 1 to 31, or L for the last
    line 5: schedule = "0 2 * 0-12 *" in [[job]] "nightly": its month is "0-12": use 1 to 12, or jan to dec
    line 5: schedule = "0 2 * * funday" in [[job]] "nightly": its day of the week is "funday": use 0 to 7, or sun to sat
    line 5: schedule = "0 0 30 2 *" in [[job]] "nightly": no date ever matches it
    line 5: schedule = "@nightly" in [[job]] "nightly": the shortcuts are @hourly, @daily, @weekly, @monthly and @yearly
    line 5: timezone = "Europe/Londn" in [[job]] "nightly": there is no such time zone: did you mean "Europe/London"?
    line 5: timezone = "Berlin" in [[job]] "nightly": there is no such time zone: did you mean "Europe/Berlin"?
    line 5: timezone = "new york" in [[job]] "nightly": there is no such time zone: did you mean "America/New_York"?
    line 5: timezone = "europe/berlin" in [[job]] "nightly": there is no such time zone: did you mean "Europe/Berlin"?
    line 5: catch_up = "no" in [[job]] "nightly": give true or false
    line 5: jitter = "soon" in [[job]] "nightly": give a number with a unit, such as 50ms, 10s or 2min
    line 5: jitter = 10 in [[job]] "nightly": give a text in quotes
    line 5: jitter = "10M" in [[job]] "nightly": it must be at most a day: 10m is ten minutes, 10M is ten months
    line 5: jitter = "9999999999years" in [[job]] "nightly": it must be at most a day: 10m is ten minutes, 10M is ten months
    line 5: on_result = "mail me" in [[job]] "nightly": give a list of texts, such as ["a", "b"]
    "#);
}

#[test]
fn incomplete_job_error_names_its_line() {
    let told = [
        wrong("[[job]]\ndataset = \"x\"\n"),
        wrong("[[job]]\nname = \"a/b\"\n"),
        wrong("[[job]]\nname = \"..\"\n"),
        wrong("[[job]]\nname = \"_latest\"\n"),
        wrong("# a comment\n[[job]]\nname = \"a\"\nroot = \"r\"\n"),
        wrong("[[job]]\nname = \"a\"\nselect = \"latest\"\n"),
        wrong(
            "[defaults]\nroot = \"r\"\nselect = \"all\"\n[[job]]\nname = \"a\"\n[[job]]\nname = \"A\"\n",
        ),
        wrong("[job]\nname = \"a\"\n"),
        wrong("[[job]]\nname = \n"),
        wrong("[api]\n[api]\n"),
        wrong("[api]\nconcurrency = 65\n"),
        wrong("[api]\nrate_limit = \"fast\"\ntimeout = \"0s\"\n"),
    ];
    insta::assert_snapshot!(told.concat(), @r#"
    line 1: [[job]]: it has no name
    line 2: name = "a/b" in [[job]]: a name is also a folder: use letters, digits, - _ . and at most 100 characters
    line 2: name = ".." in [[job]]: a name begins with a letter or a digit
    line 2: name = "_latest" in [[job]]: a name begins with a letter or a digit
    line 2: [[job]] "a": it names no dataset and has no filter to choose one: give dataset, agent, dataset_name, source, … or select
    line 1: [[job]] "a": it has no root: give one here or in [defaults]
    line 7: name = "A" in [[job]]: the job on line 5 has that name already
    line 1: job = [job]: begin each one with [[job]]
    line 2: string values must be quoted, expected literal string
    line 2: duplicate key
    line 2: concurrency = 65 in [api]: give "auto" or a number from 1 to 64
    line 2: rate_limit = "fast" in [api]: give requests per second, minute or hour, such as 20/s, 600/min or 0.5/s
    "#);
}

#[test]
fn unknown_job_name_suggests_the_nearest() {
    let config = read(
        "[defaults]\nroot = \"r\"\nselect = \"all\"\n\
         [[job]]\nname = \"triage-eval\"\n[[job]]\nname = \"support\"\n",
    )
    .unwrap();
    let names = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let jobs = config.jobs_named(&names)?;
        Ok::<_, Error>(jobs.into_iter().map(|job| job.name).collect::<Vec<_>>())
    };
    assert_eq!(names(&[]).unwrap(), ["triage-eval", "support"]);
    assert_eq!(names(&["support", "triage-eval"]).unwrap(), ["triage-eval", "support"]);
    assert_eq!(
        names(&["triage_eval"]).unwrap_err().to_string(),
        "\"triage_eval\" is not a valid job: /etc/overmind/snapshots.toml has no such job; try \
         \"triage-eval\""
    );
}
