//! The file of differences: its content, and its publication, which works like that of an export.

use std::fs;

use arrow_array::{Array, RecordBatch, cast::AsArray};
use arrow_ipc::reader::FileReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{Exports, row, support_chat};
use crate::{
    read::{gunzip, unzstd},
    support::{entries, wait_until},
};

fn rows(batches: impl Iterator<Item = RecordBatch>) -> Vec<Vec<Option<String>>> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch.columns().iter().map(|it| it.as_string::<i32>()).collect();
        for row in 0..batch.num_rows() {
            let value = |column: &&arrow_array::StringArray| {
                column.is_valid(row).then(|| column.value(row).to_owned())
            };
            rows.push(columns.iter().map(value).collect());
        }
    }
    rows
}

#[test]
fn json_lines_contain_plain_json_values() {
    let exports = support_chat();
    let ran = exports.diff(&["old.jsonl", "new.jsonl", "-o", "d.jsonl", "--show", "0"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stdout.ends_with("\n4 differences in d.jsonl\n"), "{ran:?}");
    let text = fs::read_to_string(exports.path().join("d.jsonl")).unwrap();
    insta::assert_snapshot!(text, @r#"
    {"kind":"removed","key":"00000000-0000-4000-8000-000000000004","before_id":"00000000-0000-4000-8000-000000000004","after_id":null,"columns":null,"before":{"id":"00000000-0000-4000-8000-000000000004","order":3,"input":{"messages":[{"role":"user","content":"Goodbye"}]},"expected_output":null,"persona":null,"tags":null,"additional_properties":null},"after":null}
    {"kind":"added","key":"00000000-0000-4000-8000-000000000005","before_id":null,"after_id":"00000000-0000-4000-8000-000000000005","columns":null,"before":null,"after":{"id":"00000000-0000-4000-8000-000000000005","order":4,"input":{"messages":[{"role":"user","content":"Do you ship to Ghent?"}]},"expected_output":{"answer":true},"persona":"curious","tags":null,"additional_properties":null}}
    {"kind":"changed","key":"00000000-0000-4000-8000-000000000003","before_id":"00000000-0000-4000-8000-000000000003","after_id":"00000000-0000-4000-8000-000000000003","columns":["expected_output","persona"],"before":{"expected_output":[1.50],"persona":null},"after":{"expected_output":[1.5],"persona":"curious"}}
    {"kind":"changed","key":"00000000-0000-4000-8000-000000000002","before_id":"00000000-0000-4000-8000-000000000002","after_id":"00000000-0000-4000-8000-000000000002","columns":["expected_output"],"before":{"expected_output":"I ordered a lamp two weeks ago and it has not come, and nobody answers my letters. We are sorry."},"after":{"expected_output":"I ordered a lamp two weeks ago and it has not come, and nobody answers my letters. We are very sorry."}}
    "#);
}

#[test]
fn all_formats_have_the_same_rows() {
    let exports = support_chat();
    for name in [
        "d.jsonl",
        "d.jsonl.gz",
        "d.jsonl.zst",
        "d.csv",
        "d.csv.gz",
        "d.csv.zst",
        "d.parquet",
        "d.arrow",
    ] {
        let ran = exports.diff(&["old.jsonl", "new.jsonl", "-o", name, "-q"]);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(1), "", ""));
    }
    let read = |name: &str| fs::read(exports.path().join(name)).unwrap();
    let lines = read("d.jsonl");
    assert_eq!(gunzip(&read("d.jsonl.gz")), lines);
    assert_eq!(unzstd(&read("d.jsonl.zst")), lines);

    let parquet = bytes::Bytes::from(read("d.parquet"));
    let parquet = ParquetRecordBatchReaderBuilder::try_new(parquet).unwrap().build().unwrap();
    let parquet = rows(parquet.map(Result::unwrap));
    let arrow = FileReader::try_new(std::io::Cursor::new(read("d.arrow")), None).unwrap();
    assert_eq!(parquet, rows(arrow.map(Result::unwrap)));

    // The texts in the columns equal the JSON texts in the lines.
    let lines: Vec<Vec<Option<String>>> = str::from_utf8(&lines)
        .unwrap()
        .lines()
        .map(|line| {
            let crate::rows::Fields(fields) = serde_json::from_str(line).unwrap();
            let value = |(name, value): (String, String)| match name.as_str() {
                _ if value == "null" => None,
                "columns" | "before" | "after" => Some(value),
                _ => Some(serde_json::from_str(&value).unwrap()),
            };
            fields.into_iter().map(value).collect()
        })
        .collect();
    assert_eq!(parquet, lines);
}

#[test]
fn rows_go_to_stdout_and_the_summary_to_stderr() {
    let exports = support_chat();
    exports.diff(&["old.jsonl", "new.jsonl", "-o", "d.jsonl", "-q"]);
    let ran = exports.diff(&["old.jsonl", "new.jsonl", "-o", "-"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.stdout, fs::read_to_string(exports.path().join("d.jsonl")).unwrap());
    assert!(ran.stderr.starts_with("old.jsonl → new.jsonl, by id\n1 added · "), "{ran:?}");
    assert!(ran.stderr.contains("\nremoved 00000000-"), "{ran:?}");
}

#[test]
fn no_difference_gives_a_file_without_rows() {
    let exports = support_chat();
    let ran = exports.diff(&["old.jsonl", "old.jsonl", "-o", "d.parquet"]).ok();
    assert!(ran.stdout.ends_with("\n0 differences in d.parquet\n"), "{ran:?}");
    let bytes = bytes::Bytes::from(fs::read(exports.path().join("d.parquet")).unwrap());
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let names: Vec<_> = reader.schema().fields().iter().map(|it| it.name().clone()).collect();
    assert_eq!(names, ["kind", "key", "before_id", "after_id", "columns", "before", "after"]);
    assert_eq!(rows(reader.build().unwrap().map(Result::unwrap)), Vec::<Vec<_>>::new());
}

#[test]
fn invalid_output_is_refused_before_reading() {
    let exports = support_chat();
    exports.write("there.jsonl", &["precious"]);
    fs::create_dir(exports.path().join("folder")).unwrap();
    let before = entries(exports.path());
    let mut told = String::new();
    for arguments in [
        &["-o", "there.jsonl"][..],
        &["-o", "old.jsonl", "--overwrite"],
        &["-o", "./new.jsonl", "--overwrite"],
        &["-o", "folder"],
        &["-o", "d.tsv"],
        &["-o", "missing/d.jsonl"],
        &["-o", "-", "--json"],
        &["--overwrite"],
        &["--by", "persona"],
        &["--show", "few"],
    ] {
        told += &format!("$ diff old.jsonl new.jsonl {}\n", arguments.join(" "));
        told += &exports.told(&[&["old.jsonl", "new.jsonl"], arguments].concat());
        told += "\n";
    }
    insta::assert_snapshot!(told, @r#"
    $ diff old.jsonl new.jsonl -o there.jsonl
    exit 73
    error: there.jsonl: exists already
      hint: give --overwrite to replace it, or another path

    $ diff old.jsonl new.jsonl -o old.jsonl --overwrite
    exit 2
    error: "old.jsonl" is not a valid output: it is one of the compared exports, or inside one

    $ diff old.jsonl new.jsonl -o ./new.jsonl --overwrite
    exit 2
    error: "./new.jsonl" is not a valid output: it is one of the compared exports, or inside one

    $ diff old.jsonl new.jsonl -o folder
    exit 2
    error: "folder" is not a valid output: differences are written to one file: use a name that ends in .parquet, .arrow, .jsonl or .csv, or - for standard output

    $ diff old.jsonl new.jsonl -o d.tsv
    exit 2
    error: "d.tsv" is not a valid output: use .parquet, .arrow, .jsonl or .csv, the last two also with .gz or .zst; a path that ends in a slash is a directory of parts

    $ diff old.jsonl new.jsonl -o missing/d.jsonl
    exit 73
    error: missing/d.jsonl: there is no folder missing
      hint: make the folder first, for example with mkdir -p

    $ diff old.jsonl new.jsonl -o - --json
    exit 2
    error: --json and -o - both write to standard output: leave one out

    $ diff old.jsonl new.jsonl --overwrite
    exit 2
    error: --overwrite replaces the output of -o: give both or neither

    $ diff old.jsonl new.jsonl --by persona
    exit 2
    error: invalid value 'persona' for '--by <KEY>': use id, order or input

    For more information, try '--help'.

    $ diff old.jsonl new.jsonl --show few
    exit 2
    error: invalid value 'few' for '--show <N>': give a whole number

    For more information, try '--help'.
    "#);
    assert_eq!(entries(exports.path()), before);
    let precious = fs::read_to_string(exports.path().join("there.jsonl")).unwrap();
    assert_eq!(precious, "precious\n");

    let overwrite = ["old.jsonl", "new.jsonl", "-o", "there.jsonl", "--overwrite", "-q"];
    assert_eq!(exports.diff(&overwrite).code, Some(1));
    let text = fs::read_to_string(exports.path().join("there.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 4);
    assert_eq!(entries(exports.path()), before);
}

#[test]
fn missing_temp_dir_is_named_and_nothing_published() {
    let exports = support_chat();
    let arguments = ["old.jsonl", "new.jsonl", "-o", "d.jsonl", "--temp-dir", "nowhere", "-q"];
    insta::assert_snapshot!(exports.told(&arguments), @"
    exit 74
    error: cannot keep changed rows in nowhere
      cause: No such file or directory (os error 2)
    ");
    assert_eq!(entries(exports.path()), ["new.jsonl", "old.jsonl"]);
}

#[test]
fn thousands_of_reordered_changes_are_paired() {
    let lines = |output: &str, ids: &mut dyn Iterator<Item = u32>| -> Vec<String> {
        ids.map(|id| row(id, "1", "2", &format!("\"{id} {output}\""), "null")).collect()
    };
    let (old, new) = (lines("old", &mut (0..5000)), lines("new", &mut (0..5000).rev()));
    let exports = Exports::of(&old, &new);
    let ran = exports.diff(&["old.jsonl", "new.jsonl", "-o", "-", "-q"]);
    let expected: Vec<String> = (0..5000)
        .rev()
        .map(|id| {
            let key = format!("00000000-0000-4000-8000-{id:012}");
            format!(
                r#"{{"kind":"changed","key":"{key}","before_id":"{key}","after_id":"{key}","columns":["expected_output"],"before":{{"expected_output":"{id} old"}},"after":{{"expected_output":"{id} new"}}}}"#
            )
        })
        .collect();
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn closed_pipe_keeps_the_exit_code_and_the_file() {
    let exports = support_chat();
    let table: [&[&str]; 5] = [
        &["-o", "d.jsonl"],
        &["-o", "d.jsonl", "--overwrite", "--json"],
        &["-o", "-", "-q"],
        &["--json"],
        &[],
    ];
    for arguments in table {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut diff = crate::support::command(exports.path());
        diff.args(["diff", "old.jsonl", "new.jsonl"]).args(arguments);
        let ran = crate::support::Ran::of(diff.stdout(writer));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{arguments:?}");
        if arguments.contains(&"d.jsonl") {
            let text = fs::read_to_string(exports.path().join("d.jsonl")).unwrap();
            assert_eq!(text.lines().count(), 4, "{arguments:?}");
            fs::write(exports.path().join("d.jsonl"), "").unwrap();
        }
    }
}

#[cfg(unix)]
#[test]
fn interrupted_diff_leaves_no_files() {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };
    let exports = support_chat();
    // A small file with 4 GB of rows: the comparison cannot end before the signal.
    let text = format!("\"{}\"", "x".repeat(100_000));
    let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for number in 0..20 {
        writeln!(member, "{}", row(number, "1", &text, "1", "null")).unwrap();
    }
    let members = member.finish().unwrap().repeat(2000);
    fs::write(exports.path().join("endless.jsonl.gz"), members).unwrap();
    let mut diff = crate::support::command(exports.path());
    diff.args(["diff", "old.jsonl", "endless.jsonl.gz", "-o", "d.jsonl"]);
    let mut child = diff.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until(|| {
        assert!(child.try_wait().unwrap().is_none());
        entries(exports.path()).contains(&".d.jsonl.partial".to_owned())
    });
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    let ran = crate::support::Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(130), "error: interrupted by SIGINT\n"));
    assert_eq!(entries(exports.path()), ["endless.jsonl.gz", "new.jsonl", "old.jsonl"]);
}
