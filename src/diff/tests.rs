//! Tests of memory use, of changes between the two passes, and of cancellation.

use std::{fs, path::Path, sync::atomic::Ordering};

use crate::readback::ReadOptions;

use super::{gather::gather_one, table::TableEntry, *};

fn lines(rows: u64, output: &str) -> String {
    (0..rows).map(|row| format!("{{\"id\":\"{row}\",\"input\":\"{row} {output}\"}}\n")).collect()
}

fn by_id(a: &Path, b: &Path) -> Diff {
    diff(&a.into(), &b.into(), DiffOptions::default()).unwrap()
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

#[test]
fn table_needs_at_most_64_bytes_per_row() {
    // This holds for any number of differences and for any size of the values.
    assert!(size_of::<TableEntry>() <= 64);
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
    write(&a, &lines(3001, "old"));
    for (rows, output) in [(3001, "old"), (2500, "new"), (3500, &*"long ".repeat(200))] {
        write(&b, &lines(rows, output));
        let found = by_id(&a, &b);
        let held: usize = found.tables.iter().map(Table::bytes).sum();
        assert!(held as u64 <= 64 * (3001 + rows), "{held}");
        // Equal rows leave no entry: the second pass does not need them.
        let differences = found.summary.added + found.summary.removed + 2 * found.summary.changed;
        assert!(held as u64 <= 64 * differences, "{held} for {differences}");
    }
}

#[test]
fn table_reserves_memory_for_exactly_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    for text in [lines(3001, "x"), lines(3001, "x").trim_end().to_owned()] {
        write(&path, &text);
        let side = Side::open(&path.as_path().into(), ReadOptions::default(), &[]).unwrap();
        let compared = compared(&side, &side, &DiffOptions::default()).unwrap();
        let mut table = Table::default();
        assert_eq!(gather_one(&side, &compared, &mut table).unwrap(), 3001);
        assert_eq!(table.bytes(), 64 * 3001);
    }
}

#[test]
fn change_between_passes_is_an_error() {
    // Without the error, an incomplete list of differences would look complete.
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
    for moved in [&a, &b] {
        write(&a, &lines(10, "old"));
        write(&b, &lines(10, "new"));
        let found = by_id(&a, &b);
        write(moved, &lines(9, if *moved == a { "old" } else { "new" }));
        let error = found.differences(None, |_| Ok(())).unwrap_err();
        assert_eq!(error.exit_code(), 65);
        assert_eq!(
            error.to_string(),
            format!("{}: it changed while it was compared", moved.display())
        );
    }
}

#[test]
fn change_before_respelled_rows_are_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
    for moved in [&a, &b] {
        write(&a, &lines(10, "old"));
        write(&b, &lines(10, "new"));
        let options = DiffOptions::default();
        let (mut found, JsonChanges { rows, .. }) =
            compare(&(&*a).into(), &(&*b).into(), options, &[]).unwrap();
        assert_eq!(rows, 10);
        write(moved, &lines(9, if *moved == a { "old" } else { "new" }));
        let sides = [&found.before, &found.after];
        let counted = count_respelled(sides, &mut found.tables, &found.compared, rows);
        let expected = format!("{}: it changed while it was compared", moved.display());
        assert_eq!(counted.unwrap_err().to_string(), expected);
    }
}

#[test]
fn counting_respelled_rows_needs_no_more_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
    write(&a, &lines(3000, "/"));
    write(&b, &lines(3000, "\\/"));
    let found = by_id(&a, &b);
    assert_eq!((found.summary.changed, found.summary.respelled), (3000, 3000));
    assert_eq!(found.tables.iter().map(Table::bytes).sum::<usize>(), 2 * 64 * 3000);
    // The hashes do not stay in the words that the next pass uses.
    let mut rows = 0;
    let count = |_| {
        rows += 1;
        Ok(())
    };
    found.differences(None, count).unwrap();
    assert_eq!(rows, 3000);
}

#[test]
fn error_of_visitor_ends_reading() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
    write(&a, &lines(10, "old"));
    write(&b, &lines(10, "new"));
    let found = by_id(&a, &b);
    let error = found.differences(None, |_| Err(Error::OutputClosed)).unwrap_err();
    assert!(matches!(error, Error::OutputClosed));
}

#[cfg(feature = "clouds")]
#[test]
fn export_in_store_compares_like_one_on_disk() {
    use crate::{Client, Export, ExportOptions, ExportPlan, demo};
    let folder = tempfile::tempdir().unwrap();
    let exported = folder.path().join("out");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let dataset = demo::Dataset::generated(300, 7);
        let id = dataset.id;
        let server = demo::Server::start(demo::Options::default(), vec![dataset]).await.unwrap();
        let client = Client::builder().base_url(server.url()).api_key("demo").build().unwrap();
        let options =
            ExportOptions { rows_per_file: Some(100), ..ExportOptions::new(id, &exported) };
        Export::new(client, ExportPlan::new(options).unwrap()).run().await.unwrap();
    });
    let prefix = Location::in_memory("nightly");
    for entry in fs::read_dir(&exported).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        prefix.child(&name).write(&fs::read(entry.path()).unwrap()).unwrap();
    }
    let record = fs::read(folder.path().join("out.manifest.json")).unwrap();
    prefix.sibling("nightly.manifest.json").write(&record).unwrap();
    let local = Location::from(exported);
    let found = diff(&local, &prefix, DiffOptions::default()).unwrap();
    assert_eq!((found.summary.unchanged, found.summary.is_equal()), (300, true));

    let part = prefix.child("part-00001.parquet");
    let found = diff(&prefix, &part, DiffOptions::default()).unwrap();
    let mut removed = 0;
    assert_eq!(found.summary.removed, 200);
    let count = |_| {
        removed += 1;
        Ok(())
    };
    found.differences(None, count).unwrap();
    assert_eq!(removed, 200);

    part.remove().unwrap();
    let error = diff(&local, &prefix, DiffOptions::default()).unwrap_err();
    assert_eq!(error.exit_code(), 65, "{error}");
    assert!(error.to_string().ends_with(": part-00001.parquet is missing"), "{error}");
    let error = diff(&local, &Location::in_memory("nothing"), DiffOptions::default()).unwrap_err();
    assert_eq!(error.exit_code(), 74, "{error}");
}

#[test]
fn stop_flag_ends_either_pass() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    write(&path, &lines(10, "x"));
    let empty = folder.path().join("b.jsonl");
    write(&empty, "");
    let place = |path: &Path| Location::from(path);
    let options = DiffOptions::default();
    let found = diff(&place(&path), &place(&empty), options.clone()).unwrap();
    options.stop.store(true, Ordering::Relaxed);
    let error = found.differences(None, |_| Ok(())).unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
    let error = diff(&place(&path), &place(&empty), options.clone()).unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
}
