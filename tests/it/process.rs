//! Faults of the machine: resource limits, a wrong clock, a panic. Each gives a clear message. No command
//! hangs or publishes an incomplete export.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use overmind_export::demo::{Dataset, Options};

use crate::support::{ID, Ran, World};

/// Runs the command in a shell that first sets a limit. A command that hangs is killed after 60 seconds.
fn limited(world: &World, limit: &str, arguments: &str) -> Ran {
    let script = format!("ulimit {limit}; exec timeout 60 \"$0\" {arguments}");
    let mut shell = world.command();
    let program = shell.get_program().to_owned();
    let mut command = Command::new("sh");
    command.env_clear().current_dir(world.folder.path());
    command.envs(shell.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env_clear();
    Ran::of(command.arg("-c").arg(script.replace("ID", &ID.to_string())).arg(program))
}

/// The path of the `LD_PRELOAD` library from `process.c`, which is compiled on first use. `None` if this system
/// cannot compile or load it.
pub(crate) fn faults() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<(tempfile::TempDir, PathBuf)>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        if !cfg!(all(target_os = "linux", target_env = "gnu")) {
            println!("skipped: LD_PRELOAD needs the GNU C library");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("faults.so");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-o"]).arg(&library);
        compile.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/process.c")).arg("-ldl");
        match compile.status() {
            Ok(status) if status.success() => Some((folder, library)),
            ended => {
                println!("skipped: cc cannot compile the library: {ended:?}");
                None
            }
        }
    });
    built.as_ref().map(|(_, library)| library.as_path())
}

/// Runs the command with this fault. A command that hangs is killed after 60 seconds. `None` if this
/// system cannot compile or load the library.
fn faulty(world: &World, fault: &[(&str, &str)], arguments: &[&str]) -> Option<Ran> {
    let library = faults()?;
    let plain = world.command();
    let mut command = Command::new("timeout");
    command.env_clear().current_dir(world.folder.path());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.arg("60").arg("env").arg(format!("LD_PRELOAD={}", library.display()));
    command.args(fault.iter().map(|(name, value)| format!("{name}={value}")));
    let id = ID.to_string();
    command.arg(plain.get_program()).args(arguments.iter().map(|it| it.replace("ID", &id)));
    Some(Ran::of(&mut command))
}

/// Asserts that a run succeeded, or that it named the limit and left nothing at the target.
#[track_caller]
fn names_limit(world: &World, ran: &Ran, limit: &str, target: &str) {
    match ran.code {
        Some(0) => assert!(world.path(target).exists(), "{ran:?}"),
        Some(74) => {
            assert!(ran.stderr.contains(limit), "{ran:?}");
            assert!(!world.path(target).exists(), "{ran:?}");
        }
        _ => panic!("neither 0 nor 74: {ran:?}"),
    }
}

#[test]
fn file_size_limit_is_named_and_nothing_published() {
    let world = World::generated(Options::default(), 2000);
    for (target, arguments) in [
        ("rows.jsonl", "export ID -o rows.jsonl"),
        ("rows.parquet", "export ID -o rows.parquet"),
        ("rows.arrow", "export ID -o rows.arrow"),
        ("parts", "export ID -o parts/"),
        ("small", "export ID -o small/ --rows-per-file 10 --page-size 10 --limit 100"),
    ] {
        // The limit is 32 or 64 KiB: the size of a block depends on the shell.
        let ran = limited(&world, "-f 64", arguments);
        names_limit(&world, &ran, "RLIMIT_FSIZE", target);
        assert_eq!(ran.code == Some(0), target == "small", "{ran:?}");
    }
    world.export(&["-o", "whole.jsonl"]).ok();
    let ran = limited(&world, "-f 0", "preview whole.jsonl > shown");
    assert_eq!(ran.code, Some(74), "{ran:?}");
    assert!(ran.stderr.contains("RLIMIT_FSIZE"), "{ran:?}");
    assert!(ran.stderr.contains("the output is incomplete"), "{ran:?}");
}

#[test]
fn open_file_limit_is_named() {
    let world = World::generated(Options::default(), 2000);
    for most in [4, 6, 8, 10, 12, 16, 20, 24, 32, 48] {
        let target = format!("parts-{most}");
        let arguments = format!("export ID -o {target}/ --concurrency 32 --retry-for 5s");
        let ran = limited(&world, &format!("-n {most}"), &arguments);
        names_limit(&world, &ran, "RLIMIT_NOFILE", &target);
        assert!(ran.code == Some(74) || most > 16, "{most}: {ran:?}");
    }
    let ran = limited(&world, "-n 8", "demo --rows 10");
    insta::assert_snapshot!(ran.told(&world), @"
    exit 74
    error: cannot open 16 files at once
      cause: Too many open files (os error 24)
      hint: raise the limit of open files (RLIMIT_NOFILE), for example with `ulimit -n 1024`
    ");
}

#[test]
fn unread_files_are_not_called_damaged() {
    let world = World::generated(Options::default(), 900);
    for format in ["parquet", "arrow"] {
        let arguments =
            ["-o", &*format!("{format}/"), "--format", format, "--rows-per-file", "300"];
        world.export(&arguments).ok();
    }
    // Standard streams take three, a part that is hashed one, and a part that is read another one meanwhile.
    for path in ["parquet", "arrow"] {
        limited(&world, "-n 4", &format!("preview {path}")).ok();
        let ran = limited(&world, "-n 4", &format!("verify {path}"));
        assert_eq!(ran.code, Some(74), "{path}: {ran:?}");
        let told = format!("{}{}", ran.stdout, ran.stderr);
        assert!(told.contains("RLIMIT_NOFILE") && told.contains(path), "{told}");
        assert!(!told.contains("damaged"), "{told}");
    }
    let ran = limited(&world, "-n 4", "verify parquet");
    assert_eq!(ran.stdout.matches("parquet: cannot open parquet/part-0000").count(), 3, "{ran:?}");
    // Damage is worse, and both are named.
    fs::write(world.path("parquet/part-00001.parquet"), "PAR1").unwrap();
    let ran = limited(&world, "-n 4", "verify parquet");
    assert_eq!(ran.code, Some(65), "{ran:?}");
    assert!(ran.stdout.contains("part-00001.parquet: bytes 4, recorded"), "{ran:?}");
    assert!(ran.stdout.contains("cannot open parquet/part-00002.parquet"), "{ran:?}");
    let ran = limited(&world, "-n 4", "verify arrow parquet");
    assert!(ran.stdout.contains("arrow: cannot open arrow/part-00000.arrow: "), "{ran:?}");
    assert!(ran.stderr.starts_with("error: 1 of 2 exports are damaged\n"), "{ran:?}");
}

#[test]
fn process_limit_of_another_user_is_named() {
    let world = World::generated(Options::default(), 10);
    let program = world.command().get_program().to_owned();
    let run = |script: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(&program).current_dir("/");
        Ran::of(command.env("OVERMIND_LAB_API_KEY", "k"))
    };
    // Root has no such limit.
    let root = rustix::process::geteuid().is_root();
    let other = if root { "setpriv --reuid 65534 --clear-groups " } else { "" };
    if run(&format!("exec {other}\"$0\" --version")).code != Some(0) {
        return println!("skipped: no other user can run the command here");
    }
    let script = format!("exec {other}prlimit --nproc=1 \"$0\" datasets");
    insta::assert_snapshot!(run(&script).told(&world), @"
    exit 74
    error: cannot start a thread
      cause: Resource temporarily unavailable (os error 11)
      hint: the system refuses to start more threads: raise the limit of processes and threads (RLIMIT_NPROC, `ulimit -u`; in a container also its limit of PIDs)
    ");
}

#[test]
fn any_thread_limit_suffices_or_is_named() {
    // Pages above one megabyte are decoded on separate threads.
    let world = World::generated(Options::default(), 6000);
    for (errno, named) in [("11", "RLIMIT_NPROC"), ("1", "clone3")] {
        for most in 0..8 {
            let target = format!("parts-{errno}-{most}");
            let fault = [("FAULT_THREADS", &*most.to_string()), ("FAULT_ERRNO", errno)];
            let output = format!("{target}/");
            let arguments = ["export", "ID", "-o", &output, "--page-size", "3000"];
            let Some(ran) = faulty(&world, &fault, &arguments) else { return };
            names_limit(&world, &ran, named, &target);
            assert!(most > 0 || ran.code == Some(74), "{ran:?}");
        }
    }
    let fault = [("FAULT_THREADS", "9"), ("FAULT_ERRNO", "11")];
    let Some(ran) = faulty(&world, &fault, &["export", "ID", "-o", "parts/"]) else { return };
    ran.ok();
}

#[test]
fn clock_before_1970_does_not_panic() {
    let world = World::generated(Options::default(), 100);
    let text = format!(
        "[[job]]\nname = \"a\"\nroot = \"snapshots\"\ndataset = \"{ID}\"\nkeep = {{ last = 2 }}\n\
         schedule = \"0 2 * * *\"\n"
    );
    fs::write(world.path("snapshots.toml"), text).unwrap();
    // The clock shows the year 1963.
    let fault = [("FAULT_CLOCK", "2000000000")];
    for arguments in [
        "export ID -o parts/",
        "verify parts",
        "datasets",
        "snapshot --config snapshots.toml",
        "snapshots --config snapshots.toml",
        "schedule --config snapshots.toml --list 2",
    ] {
        let arguments: Vec<_> = arguments.split(' ').collect();
        let Some(ran) = faulty(&world, &fault, &arguments) else { return };
        ran.ok();
    }
    let manifest = String::from_utf8(world.read("parts.manifest.json")).unwrap();
    assert!(manifest.contains("\"started_at\": \"196"), "{manifest}");
    let ran = faulty(&world, &fault, &["demo", "--rows", "10"]).unwrap();
    insta::assert_snapshot!(ran.told(&world), @"
    exit 73
    error: 127.0.0.1:0: cannot start the server
      cause: the clock of this machine is before 1970
      hint: set the system clock
    ");
    // With such a clock, no certificate is valid, and no signed request to a store.
    let arguments = ["datasets", "--base-url", "https://127.0.0.1:9", "--retry-for", "0s"];
    let ran = faulty(&world, &fault, &arguments).unwrap();
    assert_eq!(ran.code, Some(69), "{ran:?}");
    if cfg!(feature = "clouds") {
        let arguments = ["export", "ID", "-o", "s3://bucket/parts/"];
        let ran = faulty(&world, &fault, &arguments).unwrap();
        assert_eq!(ran.code, Some(78), "{ran:?}");
        assert!(ran.stderr.contains("the clock of this machine is before 1970"), "{ran:?}");
    }
}

#[test]
fn panic_exits_with_70_and_its_location() {
    let world = World::generated(Options::default(), 10);
    let arguments = ["export", "ID", "-o", "rows.jsonl"];
    let Some(ran) = faulty(&world, &[("FAULT_RANDOM", "1")], &arguments) else { return };
    assert_eq!(ran.code, Some(70), "{ran:?}");
    assert!(ran.stderr.starts_with("error: internal error: "), "{ran:?}");
    assert!(ran.stderr.contains(" panicked at "), "{ran:?}");
    assert!(ran.stderr.contains("hint: this is a bug: please report it"), "{ran:?}");
    assert_eq!(world.entries(), [""; 0]);
}

#[test]
fn clock_beyond_the_calendar_does_not_panic() {
    let world = World::generated(Options::default(), 100);
    // As far ahead and as far behind as the system can say.
    for (number, slow) in ["-9223372034000000000", "9223372036854775807"].iter().enumerate() {
        let output = format!("parts-{number}/");
        for arguments in [&["export", "ID", "-o", &output][..], &["verify", &output], &["datasets"]]
        {
            let Some(ran) = faulty(&world, &[("FAULT_CLOCK", slow)], arguments) else { return };
            ran.ok();
        }
        let manifest =
            String::from_utf8(world.read(&format!("parts-{number}.manifest.json"))).unwrap();
        assert!(manifest.contains("\"started_at\": \"1970-01-01T"), "{manifest}");
        let ran = faulty(&world, &[("FAULT_CLOCK", slow)], &["demo", "--rows", "10"]).unwrap();
        assert_eq!(ran.code, Some(73), "{ran:?}");
        assert!(ran.stderr.contains("the clock of this machine is "), "{ran:?}");
    }
}

#[test]
fn kill_at_any_sync_leaves_old_or_new_export() {
    // Parts, ids, journal, record: every file is synced before the next step.
    let arguments = [
        "export",
        "ID",
        "-o",
        "out/",
        "--page-size",
        "25",
        "--rows-per-file",
        "100",
        "--overwrite",
    ];
    let rows = |world: &World| {
        let folder = world.path("out");
        let names = fs::read_dir(folder).into_iter().flatten().map(|it| it.unwrap().file_name());
        let names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        assert!(names.iter().all(|name| name.starts_with("part-")), "{names:?}");
        names.len()
    };
    for replaces in [false, true] {
        let mut finished = 0;
        for kills in 0.. {
            let world = World::generated(Options::default(), 100);
            if replaces {
                world.export(&["-o", "out/"]).ok();
            }
            let before = rows(&world);
            world.server.replace(vec![Dataset::generated(300, 8).with_id(ID)]);
            let kill = [("FAULT_KILL", &*kills.to_string())];
            let Some(ran) = faulty(&world, &kill, &arguments) else { return };
            if ran.code == Some(0) {
                assert!(kills > 10, "only {kills} syncs");
                break;
            }
            assert!([before, 3].contains(&rows(&world)), "{kills}: {} parts", rows(&world));
            let journal = fs::read_to_string(world.path(".out.partial/journal.jsonl"));
            let is_announced = journal.is_ok_and(|text| text.contains("\"publishing\""));
            let requests = world.server.stats().requests;
            let ran = world.export(&["-o", "out/", "--page-size", "25", "--rows-per-file", "100"]);
            if is_announced {
                // The next run finishes without a request, and finds the published output.
                finished += 1;
                assert_eq!(world.server.stats().requests, requests, "{kills}");
                assert_eq!((ran.code, rows(&world)), (Some(73), 3), "{kills}: {ran:?}");
                let words = "error: out/: is complete: this run has finished the publication of an";
                assert!(ran.stderr.starts_with(words), "{kills}: {ran:?}");
                Ran::of(world.command().args(["verify", "out"])).ok();
                assert_eq!(world.entries(), ["out", "out.manifest.json"], "{kills}");
            } else if replaces {
                assert_eq!((ran.code, rows(&world)), (Some(73), 1), "{kills}: {ran:?}");
                Ran::of(world.command().args(["verify", "out"])).ok();
            } else {
                ran.ok();
            }
        }
        // The kills at the journal's last sync and at any later one.
        assert!(finished >= 1, "no kill came after the announcement");
    }
}

#[test]
fn kill_at_any_sync_of_snapshot_leaves_nothing() {
    let text = format!(
        "[[job]]\nname = \"a\"\nroot = \"snaps\"\ndataset = \"{ID}\"\npage_size = 25\nrows_per_file = 100\n\
         unchanged = \"never\"\n"
    );
    let snapshot = ["snapshot", "--config", "snapshots.toml"];
    for kills in 0.. {
        let world = World::generated(Options::default(), 300);
        fs::write(world.path("snapshots.toml"), &text).unwrap();
        let kill = [("FAULT_KILL", &*kills.to_string())];
        let Some(ran) = faulty(&world, &kill, &snapshot) else { return };
        if ran.code == Some(0) {
            assert!(kills > 10, "only {kills} syncs");
            break;
        }
        Ran::of(world.command().args(snapshot)).ok();
        // Files with random names would become more with each kill.
        let names = crate::support::entries(&world.path("snaps/a"));
        assert!(names.iter().all(|name| name.starts_with("snapshot=")), "{kills}: {names:?}");
        let records = names.iter().map(|name| format!("{name}.manifest.json"));
        let hidden = ["history.jsonl", "latest.json"].map(str::to_owned).into_iter();
        let hidden: Vec<String> = hidden.chain(records).collect();
        assert_eq!(crate::support::entries(&world.path("snaps/.overmind/a")), hidden, "{kills}");
    }
}
