//! Files and pipes as outputs: obstacles to an export, and files that it must not touch.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    time::Duration,
};

use overmind_export::demo::{Fault, FaultAttempt::*, Faults, Options};

use super::{session, tell};
use crate::support::{ID, Ran, World, command};

const TIME_LIMIT: Duration = Duration::from_secs(60);

fn world() -> World {
    World::generated(Options::default(), 1000)
}

#[test]
fn existing_output_is_not_touched() {
    let world = world();
    fs::write(world.path("rows.parquet"), "mine").unwrap();
    fs::write(world.path("rows.jsonl.manifest.json"), "mine").unwrap();
    fs::create_dir(world.path("folder")).unwrap();
    fs::write(world.path("folder/mine"), "").unwrap();
    let told = session(
        &world,
        &[
            "export ID -o rows.parquet",
            "export ID -o rows.parquet --dry-run",
            "export ID -o rows.jsonl --manifest",
            "export ID -o folder",
            "export ID -o folder/mine",
        ],
    );
    insta::assert_snapshot!(told, @"
    $ overmind-export export ID -o rows.parquet
    exit 73
    error: rows.parquet: exists already
      hint: give --overwrite to replace it, or another path

    $ overmind-export export ID -o rows.parquet --dry-run
    exit 73
    error: rows.parquet: exists already
      hint: give --overwrite to replace it, or another path

    $ overmind-export export ID -o rows.jsonl --manifest
    exit 73
    error: rows.jsonl.manifest.json: exists already
      hint: give --overwrite to replace it, or another path

    $ overmind-export export ID -o folder
    exit 73
    error: folder: exists already and is not empty
      hint: give --overwrite to replace an export, or another path

    $ overmind-export export ID -o folder/mine
    exit 73
    error: folder/mine: exists and is not a directory
      hint: a path without a known extension is a directory of parts: give another path, or one that ends in .parquet, .arrow, .jsonl or .csv
    ");
    assert_eq!(world.read("rows.parquet"), b"mine");
    assert_eq!(world.read("rows.jsonl.manifest.json"), b"mine");
    assert_eq!(world.entries(), ["folder", "rows.jsonl.manifest.json", "rows.parquet"]);
    assert_eq!(world.server.stats().connections, 0);
}

#[test]
fn missing_folder_is_not_created() {
    let world = world();
    fs::write(world.path("file"), "").unwrap();
    let told = session(
        &world,
        &[
            "export ID -o missing/rows.jsonl",
            "export ID -o missing/deeper/parts/",
            "export ID -o file/rows.jsonl",
        ],
    );
    insta::assert_snapshot!(told, @"
    $ overmind-export export ID -o missing/rows.jsonl
    exit 73
    error: missing/rows.jsonl: there is no folder missing
      hint: make the folder first, for example with mkdir -p

    $ overmind-export export ID -o missing/deeper/parts/
    exit 73
    error: missing/deeper/parts: there is no folder missing/deeper
      hint: make the folder first, for example with mkdir -p

    $ overmind-export export ID -o file/rows.jsonl
    exit 73
    error: file/rows.jsonl: file is not a folder
      hint: give another path
    ");
    assert_eq!(world.entries(), ["file"]);
    assert_eq!(world.server.stats().connections, 0);
}

#[test]
fn overwrite_refuses_folders_with_foreign_files() {
    let world = world();
    fs::create_dir(world.path("Documents")).unwrap();
    fs::write(world.path("Documents/thesis.txt"), "years").unwrap();
    world.export(&["-o", "parts/"]).ok();
    fs::write(world.path("parts/notes.txt"), "mine").unwrap();
    let told =
        session(&world, &["export ID -o Documents --overwrite", "export ID -o parts --overwrite"]);
    insta::assert_snapshot!(told, @r#"
    $ overmind-export export ID -o Documents --overwrite
    exit 73
    error: Documents: is not an export: it has no valid record
      hint: only an empty directory or an earlier export is replaced; if the record is elsewhere, name it with --record

    $ overmind-export export ID -o parts --overwrite
    exit 73
    error: parts: holds "notes.txt", which its manifest does not list
      hint: only files of an earlier export are replaced: move the file, or give another path
    "#);
    assert_eq!(world.read("Documents/thesis.txt"), b"years");
    assert_eq!(world.read("parts/notes.txt"), b"mine");
    assert_eq!(world.entries(), ["Documents", "parts", "parts.manifest.json"]);
}

#[test]
fn empty_directory_and_old_export_are_replaced() {
    let world = world();
    fs::create_dir(world.path("parts")).unwrap();
    let told = session(
        &world,
        &[
            "export ID -o parts -q",
            "export ID -o parts -q --limit 5",
            "export ID -o parts -q --limit 5 --overwrite",
        ],
    );
    insta::assert_snapshot!(told, @"
    $ overmind-export export ID -o parts -q
    exit 0

    $ overmind-export export ID -o parts -q --limit 5
    exit 73
    error: parts: exists already and is not empty
      hint: give --overwrite to replace an export, or another path

    $ overmind-export export ID -o parts -q --limit 5 --overwrite
    exit 0
    ");
}

/// Runs a script with a file system of `size` mounted on `small`. Prints a notice and returns `None`
/// if it cannot be mounted.
fn on_small_disk(world: &World, size: &str, script: &str) -> Option<Ran> {
    fs::create_dir(world.path("small")).unwrap();
    let mount = format!("mount -t tmpfs -o size={size} tmpfs small");
    let unshare = |script: &str| {
        let mut unshared = Command::new("unshare");
        unshared.args(["-rm", "sh", "-c", script]).current_dir(world.folder.path());
        unshared.envs([("OVERMIND_LAB_BASE_URL", world.server.url().as_str())]);
        unshared.env("OVERMIND_LAB_API_KEY", crate::support::KEY);
        unshared.output().map(Ran::from)
    };
    if !unshare(&mount).is_ok_and(|ran| ran.code == Some(0)) {
        // Not with `eprintln!`: the test harness hides its output when the test passes.
        let skipped = "\nSKIPPED: no small file system can be mounted here (unshare -rm)\n";
        io::stderr().write_all(skipped.as_bytes()).unwrap();
        return None;
    }
    let binary = env!("CARGO_BIN_EXE_overmind-export");
    let script = script.replace("EXPORT", &format!("{binary} export {ID}"));
    Some(unshare(&format!("{mount}; {script}")).unwrap())
}

#[test]
fn full_disk_leaves_nothing_behind() {
    let world = world();
    let script = "EXPORT -o small/rows.jsonl; echo exit $?; EXPORT -o small/parts/ --format jsonl; \
                  echo exit $?; EXPORT -o small/rows.parquet --compression none; echo exit $?; ls -A small";
    let Some(ran) = on_small_disk(&world, "64k", script) else { return };
    // The free space that the file system reports decides which runs print the warning.
    let told = tell(&world, &ran);
    let told = told.lines().filter(|line| !line.starts_with("the output may take about "));
    insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"), @"
    exit 0
    exit 74
    exit 74
    exit 74
    error: cannot write small/rows.jsonl
      cause: No space left on device (os error 28)
      hint: make room, or write somewhere else; nothing was published
    error: cannot write small/parts/part-00000.jsonl
      cause: No space left on device (os error 28)
      hint: make room, or write somewhere else; nothing was published
    error: cannot write small/rows.parquet
      cause: No space left on device (os error 28)
      hint: make room, or write somewhere else; nothing was published
    ");
}

#[test]
fn mount_point_is_not_replaced() {
    let world = world();
    let Some(ran) = on_small_disk(&world, "16m", "EXPORT -o small --overwrite") else { return };
    insta::assert_snapshot!(tell(&world, &ran), @"
    exit 73
    error: small: is a mount point, which cannot be replaced in one step
      hint: export to a directory inside it
    ");
}

#[test]
fn full_standard_output_is_an_error() {
    let world = world();
    let to_full = |line: &str| {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = world.command();
        command.args(line.replace("ID", &ID.to_string()).split_whitespace());
        let output = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
        tell(&world, &output.wait_with_output().unwrap().into())
    };
    let expected = to_full("export ID -o -");
    insta::assert_snapshot!(expected, @"
    exit 74
    error: cannot write standard output
      cause: No space left on device (os error 28)
      hint: make room where standard output goes, and run again: the output is incomplete
    ");
    for line in [
        "export ID -o - --format arrow",
        "preview ID",
        "preview ID --json",
        "datasets",
        "completions zsh",
    ] {
        assert_eq!(to_full(line), expected, "{line}");
    }
}

#[test]
fn closed_pipe_ends_quietly() {
    let world = World::generated(Options::default(), 5000);
    for line in ["export ID -o -", "export ID -o - --format arrow", "preview ID --json --rows 5000"]
    {
        let mut command = world.command();
        // A slow machine prints progress.
        command.arg("--quiet").args(line.replace("ID", &ID.to_string()).split_whitespace());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        reader.fill_buf().unwrap();
        drop(reader);
        assert_eq!(tell(&world, &child.wait_with_output().unwrap().into()), "exit 0\n", "{line}");
    }
}

/// A process that is killed on drop, also when the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn second_run_is_refused_while_the_first_runs() {
    for output in ["rows.jsonl", "parts/"] {
        let faults = Faults::none().on(2, Always, Fault::Delay(TIME_LIMIT));
        let world = World::generated(Options { faults, ..Options::default() }, 1000);
        let mut first = world.command();
        first.args(["export", &ID.to_string(), "-o", output, "--concurrency", "1"]);
        let first = Running(first.stderr(Stdio::null()).spawn().unwrap());
        assert!(world.server.wait_until(TIME_LIMIT, |stats| stats.attempts(ID, 2) == 1));

        let told = session(&world, &[&format!("export ID -o {output}")]);
        insta::allow_duplicates! {
            insta::assert_snapshot!(told.replace(output, "OUTPUT"), @"
            $ overmind-export export ID -o OUTPUT
            exit 75
            error: another run is writing OUTPUT
              hint: wait for the other run to end, or write somewhere else
            ");
        }
        assert_eq!(world.server.stats().requests, 2);

        drop(first);
        world.server.set_faults(Faults::none());
        world.export(&["-o", output]).ok();
        assert_eq!(world.entries(), world.exported(output.trim_end_matches('/')));
    }
}

#[test]
fn changed_plan_does_not_resume_the_export() {
    let faults = Faults::none().on(5, Always, Fault::status(403));
    let world = World::generated(Options { faults, ..Options::default() }, 1000);
    let told = session(
        &world,
        &[
            "export ID -o parts/ --rows-per-file 100 --concurrency 1",
            "export ID -o parts/ --rows-per-file 200",
        ],
    );
    insta::assert_snapshot!(told, @"
    $ overmind-export export ID -o parts/ --rows-per-file 100 --concurrency 1
    exit 77
    error: the API does not allow this
      cause: GET http://API/api/datasets/ID/datapoints/?page=5&page_size=100 answered 403 Forbidden: You do not have permission to perform this action.
      hint: the key's plan or permissions do not allow this; the key comes from the variable OVERMIND_LAB_API_KEY

    $ overmind-export export ID -o parts/ --rows-per-file 200
    exit 73
    error: parts/: an interrupted export to it cannot be resumed: --rows-per-file was 100, now it is 200
      hint: give --restart to delete its parts and start over
    ");
    world.server.set_faults(Faults::none());
    let told = session(&world, &["export ID -o parts/ --rows-per-file 200 --restart"]);
    insta::assert_snapshot!(told, @"
    $ overmind-export export ID -o parts/ --rows-per-file 200 --restart
    exit 0
    1,000 rows in 5 files (294.39 KiB) · T s · N rows/s · complete: every row once
      parts/
    ");
}

#[test]
fn demo_reports_when_it_cannot_write_or_listen() {
    let world = world();
    fs::write(world.path("overmind-demo"), "a file").unwrap();
    fs::write(world.path("rows.jsonl"), "{\"id\":\"182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e\"}\n{}\n")
        .unwrap();
    let port = world.server.addr().port();
    let run = |line: &str| {
        let mut command = command(world.folder.path());
        tell(&world, &Ran::of(command.args(line.split_whitespace())))
    };
    insta::assert_snapshot!(run("demo"), @"
    exit 73
    error: overmind-demo: cannot be created
      cause: File exists (os error 17)
      hint: run the demo in a folder that you may write to
    ");
    insta::assert_snapshot!(run(&format!("demo --serve --port {port}")), @"
    exit 73
    error: API: cannot start the server
      cause: Address already in use (os error 98)
      hint: choose another --port, or 0 for any free one
    ");
    insta::assert_snapshot!(run("demo --serve --from missing.jsonl"), @"
    exit 78
    error: cannot use the datapoints file missing.jsonl
      cause: No such file or directory (os error 2)
    ");
    insta::assert_snapshot!(run("demo --serve --from rows.jsonl"), @"
    exit 78
    error: cannot use the datapoints file rows.jsonl
      cause: line 2: missing field `id`
    ");
}
