//! Invalid arguments are refused before any request. The message names the valid values.

use overmind_export::demo::Options;

use super::{session, session_with};
use crate::support::World;

/// The transcript of these commands. Panics if one of them connects to the server or writes to the folder.
#[track_caller]
pub(super) fn refused(lines: &[&str]) -> String {
    let world = World::generated(Options::default(), 300);
    let told = session(&world, lines);
    assert_eq!(world.server.stats().connections, 0);
    assert_eq!(world.entries(), [""; 0]);
    told
}

#[test]
fn invalid_id_or_filter_is_refused() {
    let told = refused(&[
        "export my-dataset -o rows.parquet",
        "preview 182bd5e5-6e1a",
        "export ID -o rows.parquet --agent support",
        "export ID -o rows.parquet --source crawled",
        "datasets --source Seed",
        "export ID -o rows.parquet --version latest",
        "export ID -o rows.parquet --version-max 9223372036854775808",
        "export ID -o rows.parquet --version-min 5 --version-max 2",
        "datasets --version-min 5 --version-max 2",
        "preview ID --version-min 5 --version-max 2",
        "export ID -o rows.parquet --search=",
    ]);
    insta::assert_snapshot!(told, @r#"
    $ overmind-export export my-dataset -o rows.parquet
    exit 2
    error: invalid value 'my-dataset' for '<DATASET_ID>': an id is a UUID, such as ID; `overmind-export datasets` lists names with their ids

    For more information, try '--help'.

    $ overmind-export preview 182bd5e5-6e1a
    exit 2
    error: invalid value '182bd5e5-6e1a' for '<DATASET_ID|PATH>': an id is a UUID, such as ID; `overmind-export datasets` lists names with their ids

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --agent support
    exit 2
    error: invalid value 'support' for '--agent <UUID>': an id is a UUID, such as ID

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --source crawled
    exit 2
    error: invalid value 'crawled' for '--source <SOURCE>': use seed, synthetic, augmented or production

    For more information, try '--help'.

    $ overmind-export datasets --source Seed
    exit 2
    error: invalid value 'Seed' for '--source <SOURCE>': use seed, synthetic, augmented or production

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --version latest
    exit 2
    error: invalid value 'latest' for '--version <N>': give a whole number

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --version-max 9223372036854775808
    exit 2
    error: invalid value '9223372036854775808' for '--version-max <N>': it is too large

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --version-min 5 --version-max 2
    exit 2
    error: "5..2" is not a valid version range: version_min must not be above version_max

    $ overmind-export datasets --version-min 5 --version-max 2
    exit 2
    error: "5..2" is not a valid version range: version_min must not be above version_max

    $ overmind-export preview ID --version-min 5 --version-max 2
    exit 2
    error: "5..2" is not a valid version range: version_min must not be above version_max

    $ overmind-export export ID -o rows.parquet --search=
    exit 2
    error: "" is not a valid search term: it is empty
    "#);
}

#[test]
fn invalid_output_or_format_is_refused() {
    let told = refused(&[
        "export ID",
        "export ID -o rows.tsv",
        "export ID -o rows.json",
        "export ID -o ftp://host/rows.parquet",
        "export ID -o .",
        "export ID -o=",
        "export ID -o rows.parquet --format xml",
        "export ID -o rows.parquet --format jsonl",
        "export ID -o - --format parquet",
        "export ID -o rows.parquet --compression brotli",
        "export ID -o rows.parquet --compression zstd:23",
        "export ID -o rows.parquet --compression gzip",
        "export ID -o rows.arrow --compression snappy",
        "export ID -o rows.jsonl --compression lz4",
        "export ID -o rows.jsonl.gz --compression zstd",
        "export ID -o rows.jsonl --compression gzip",
        "export ID -o rows.parquet --parquet-encoding dictionary",
        "export ID -o rows.jsonl --parquet-encoding plain",
        "export ID -o rows.jsonl --json-columns struct",
        "export ID -o out/ --json-columns value",
        "export ID -o rows.csv --json-columns value",
        "export ID -o rows.jsonl --json-columns nested",
        "export ID -o rows.jsonl --json-columns tags=text",
        "export ID -o out/ --json-columns nested,text",
        "export ID -o out/ --json-columns persona=nested",
        "export ID -o out/ --json-columns tags=value",
        "export ID -o out/ --text .tags",
        "export ID -o out/ --json-columns nested --nest tags",
        "export ID -o out/ --json-columns nested,tags=text --nest .tags.a",
        "export ID -o out/ --json-columns nested --max-columns 0",
        "export ID -o out/ --json-columns nested --max-columns 3",
        "export ID -o out/ --json-columns nested --text .input,.tags",
        "export ID -o out/ --json-columns nested --nest .tags.a --text .tags",
        "export ID -o rows.jsonl --csv-bom",
        "export ID -o out/ --csv-safe",
        "export ID -o - --csv-safe",
        "export ID -o rows.csv.gz --compression zstd",
        "export ID -o rows.parquet --columns id,inputs",
        "export ID -o rows.parquet --columns=",
    ]);
    insta::assert_snapshot!(told, @r#"
    $ overmind-export export ID
    exit 2
    error: the following required arguments were not provided:
      --output <PATH>

    Usage: overmind-export export --output <PATH> <DATASET_ID>

    For more information, try '--help'.

    $ overmind-export export ID -o rows.tsv
    exit 2
    error: "rows.tsv" is not a valid output: use .parquet, .arrow, .jsonl or .csv, the last two also with .gz or .zst; a path that ends in a slash is a directory of parts

    $ overmind-export export ID -o rows.json
    exit 2
    error: "rows.json" is not a valid output: use .parquet, .arrow, .jsonl or .csv, the last two also with .gz or .zst; a path that ends in a slash is a directory of parts

    $ overmind-export export ID -o ftp://host/rows.parquet
    exit 2
    error: "ftp://host/rows.parquet" is not a valid location: the known schemes are s3, gs, az, abfs, abfss and file; anything without :// is a local path

    $ overmind-export export ID -o .
    exit 2
    error: "." is not a valid output: give the name of the directory itself, because the export replaces it

    $ overmind-export export ID -o=
    exit 2
    error: a value is required for '--output <PATH>' but none was supplied

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --format xml
    exit 2
    error: invalid value 'xml' for '--format <FORMAT>': use parquet, arrow, jsonl or csv

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --format jsonl
    exit 2
    error: rows.parquet is named as parquet but --format is jsonl: change one of them

    $ overmind-export export ID -o - --format parquet
    exit 2
    error: Parquet cannot be read from a pipe: use --format jsonl, --format csv or --format arrow for standard output

    $ overmind-export export ID -o rows.parquet --compression brotli
    exit 2
    error: invalid value 'brotli' for '--compression <CODEC>': use none, snappy, lz4, gzip, zstd or zstd:LEVEL

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --compression zstd:23
    exit 2
    error: invalid value 'zstd:23' for '--compression <CODEC>': levels are 1 to 22

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --compression gzip
    exit 2
    error: "gzip" is not a valid compression: parquet takes none, snappy, lz4, zstd or zstd:LEVEL

    $ overmind-export export ID -o rows.arrow --compression snappy
    exit 2
    error: "snappy" is not a valid compression: arrow takes none, lz4, zstd or zstd:LEVEL

    $ overmind-export export ID -o rows.jsonl --compression lz4
    exit 2
    error: "lz4" is not a valid compression: jsonl takes none, gzip, zstd or zstd:LEVEL up to 19

    $ overmind-export export ID -o rows.jsonl.gz --compression zstd
    exit 2
    error: rows.jsonl.gz is named as jsonl.gz but --compression is zstd:3: name it rows.jsonl.zst, or leave out --compression

    $ overmind-export export ID -o rows.jsonl --compression gzip
    exit 2
    error: rows.jsonl is named as jsonl but --compression is gzip: name it rows.jsonl.gz, or leave out --compression

    $ overmind-export export ID -o rows.parquet --parquet-encoding dictionary
    exit 2
    error: invalid value 'dictionary' for '--parquet-encoding <ENCODING>': use delta-length or plain

    For more information, try '--help'.

    $ overmind-export export ID -o rows.jsonl --parquet-encoding plain
    exit 2
    error: --parquet-encoding is for Parquet, but the format is jsonl: leave it out

    $ overmind-export export ID -o rows.jsonl --json-columns struct
    exit 2
    error: invalid value 'struct' for '--json-columns <FORM>': use text, value or nested

    For more information, try '--help'.

    $ overmind-export export ID -o out/ --json-columns value
    exit 2
    error: --json-columns value is not for Parquet: use text or nested

    $ overmind-export export ID -o rows.csv --json-columns value
    exit 2
    error: --json-columns value is not for CSV: leave it out, CSV has JSON text

    $ overmind-export export ID -o rows.jsonl --json-columns nested
    exit 2
    error: --json-columns nested is not for JSON Lines: use value, whose values are nested, or text

    $ overmind-export export ID -o rows.jsonl --json-columns tags=text
    exit 2
    error: --json-columns has one form for all columns of jsonl: leave out the name of the column

    $ overmind-export export ID -o out/ --json-columns nested,text
    exit 2
    error: --json-columns has two forms for all columns: give one, or COLUMN=FORM

    $ overmind-export export ID -o out/ --json-columns persona=nested
    exit 2
    error: "persona" is not a valid JSON column: the JSON columns are input, expected_output, tags, additional_properties

    $ overmind-export export ID -o out/ --json-columns tags=value
    exit 2
    error: "tags=value" is not a valid form of a JSON column: value is for JSON Lines: use text or nested

    $ overmind-export export ID -o out/ --text .tags
    exit 2
    error: --text is for nested columns: give --json-columns nested

    $ overmind-export export ID -o out/ --json-columns nested --nest tags
    exit 2
    error: "tags" is not a valid path of --nest: a path looks like .input.messages[].content or .tags["a b"]

    $ overmind-export export ID -o out/ --json-columns nested,tags=text --nest .tags.a
    exit 2
    error: ".tags.a" is not a valid path of --nest: the nested columns are input, expected_output, additional_properties

    $ overmind-export export ID -o out/ --json-columns nested --max-columns 0
    exit 2
    error: invalid value '0' for '--max-columns <N>': it must be at least 1

    For more information, try '--help'.

    $ overmind-export export ID -o out/ --json-columns nested --max-columns 3
    exit 2
    error: "3" is not a valid number of columns: the output has 7 columns, and each needs one

    $ overmind-export export ID -o out/ --json-columns nested --text .input,.tags
    exit 2
    error: ".input,.tags" is not a valid path of --text: give each path with an option of its own, and a name with other characters as ["a b"]

    $ overmind-export export ID -o out/ --json-columns nested --nest .tags.a --text .tags
    exit 2
    error: ".tags.a" is not a valid path of --nest: --text keeps it JSON text: leave out one of the two

    $ overmind-export export ID -o rows.jsonl --csv-bom
    exit 2
    error: --csv-bom is for CSV, but the format is jsonl: leave it out

    $ overmind-export export ID -o out/ --csv-safe
    exit 2
    error: --csv-safe is for CSV, but the format is parquet: leave it out

    $ overmind-export export ID -o - --csv-safe
    exit 2
    error: --csv-safe is for CSV, but the format is jsonl: leave it out

    $ overmind-export export ID -o rows.csv.gz --compression zstd
    exit 2
    error: rows.csv.gz is named as csv.gz but --compression is zstd:3: name it rows.csv.zst, or leave out --compression

    $ overmind-export export ID -o rows.parquet --columns id,inputs
    exit 2
    error: "inputs" is not a valid column: did you mean input? the columns are id, order, input, expected_output, persona, tags, additional_properties

    $ overmind-export export ID -o rows.parquet --columns=
    exit 2
    error: "" is not a valid column: the columns are id, order, input, expected_output, persona, tags, additional_properties
    "#);
}

#[test]
fn conflicting_options_are_refused() {
    let told = refused(&[
        "export ID -o - --json",
        "export ID -o - --json --dry-run",
        "export ID -o rows.parquet --rows-per-file 1000",
        "export ID -o - --rows-per-file 1000",
        "export ID -o - --manifest",
        "demo --port 8080",
    ]);
    insta::assert_snapshot!(told, @"
    $ overmind-export export ID -o - --json
    exit 2
    error: --json and -o - both write to standard output: leave one out

    $ overmind-export export ID -o - --json --dry-run
    exit 2
    error: --json and -o - both write to standard output: leave one out

    $ overmind-export export ID -o rows.parquet --rows-per-file 1000
    exit 2
    error: --rows-per-file needs a directory of parts, but rows.parquet is not one: give a path that ends in a slash

    $ overmind-export export ID -o - --rows-per-file 1000
    exit 2
    error: --rows-per-file needs a directory of parts, but standard output is not one: give a path that ends in a slash

    $ overmind-export export ID -o - --manifest
    exit 2
    error: --manifest needs an output file: the manifest is written next to it

    $ overmind-export demo --port 8080
    exit 2
    error: the following required arguments were not provided:
      --serve

    Usage: overmind-export demo --serve --port <PORT>

    For more information, try '--help'.
    ");
}

#[test]
fn unknown_command_or_option_is_refused() {
    let told =
        refused(&["exprot ID", "completions powerbash", "export ID -o rows.parquet --quite"]);
    insta::assert_snapshot!(told, @"
    $ overmind-export exprot ID
    exit 2
    error: unrecognized subcommand 'exprot'

      tip: some similar subcommands exist: 'part', 'report', 'export'

    Usage: overmind-export [OPTIONS] <COMMAND>

    For more information, try '--help'.

    $ overmind-export completions powerbash
    exit 2
    error: invalid value 'powerbash' for '<SHELL>'
      [possible values: bash, elvish, fish, powershell, zsh]

      tip: a similar value exists: 'powershell'

    For more information, try '--help'.

    $ overmind-export export ID -o rows.parquet --quite
    exit 2
    error: unexpected argument '--quite' found

      tip: a similar argument exists: '--quiet'

    Usage: overmind-export export --output <PATH> --quiet <DATASET_ID>

    For more information, try '--help'.
    ");
}

#[test]
fn arguments_are_checked_before_the_key() {
    let world = World::generated(Options::default(), 300);
    let told = session_with(&world, &["export ID -o rows.tsv", "export ID -o rows.jsonl"], |it| {
        it.env_remove("OVERMIND_LAB_API_KEY");
    });
    insta::assert_snapshot!(told, @r#"
    $ overmind-export export ID -o rows.tsv
    exit 2
    error: "rows.tsv" is not a valid output: use .parquet, .arrow, .jsonl or .csv, the last two also with .gz or .zst; a path that ends in a slash is a directory of parts

    $ overmind-export export ID -o rows.jsonl
    exit 77
    error: no API key
      hint: set OVERMIND_LAB_API_KEY (or OVERMIND_API_KEY), or give --api-key-file; `overmind-export demo` needs no key
    "#);
}
