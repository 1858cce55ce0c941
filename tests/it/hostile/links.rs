//! Names that are links: to files of this user, and along the way to an output.

use std::{fs, process::Command, time::Duration};

use overmind_export::demo::Dataset;

use super::{
    staging::{PARTS, victim},
    waiting, world,
};
use crate::{snapshots::Nightly, support::ID, tree::tree};

#[test]
fn a_hard_link_as_staging_is_refused() {
    for (name, output) in [
        (".rows.parquet.partial", "rows.parquet"),
        (".rows.jsonl.manifest.json.partial", "rows.jsonl"),
        (".rows.partial/journal.jsonl", "rows"),
        (".rows.partial/lock", "rows"),
        (".rows.partial/data/part-00000.parquet", "rows"),
        (".rows.partial/ids/0", "rows"),
    ] {
        let world = world();
        let victim = victim(&world);
        let before = tree(&victim);
        let planted = world.path(name);
        fs::create_dir_all(planted.parent().unwrap()).unwrap();
        fs::hard_link(victim.join("letter.txt"), &planted).unwrap();
        for more in [&["--manifest"][..], &["--manifest", "--overwrite"]] {
            let more = if output == "rows" { &more[1..] } else { more };
            let ran = world.export(&[&["-o", output], more].concat());
            assert_eq!(ran.code, Some(73), "{name}: {ran:?}");
            let told = format!("{name} is a hard link: the file has another name, too\n  hint: ");
            assert!(ran.stderr.replace("./", "").contains(&told), "{name}: {ran:?}");
        }
        assert!(!world.path(output).exists());
        assert!(tree(&victim) == before, "{name}");
    }
}

#[test]
fn a_linked_backup_of_an_interrupted_run_stays() {
    let (world, mut run) = waiting(7, Duration::from_secs(100), &PARTS);
    run.kill().unwrap();
    run.wait().unwrap();
    let copy = |from: &str, to: &str| {
        let mut cp = Command::new("cp");
        let copied = cp.arg("-al").arg(world.path(from)).arg(world.path(to)).status();
        copied.is_ok_and(|status| status.success())
    };
    if !copy(".rows.partial", "backup") {
        eprintln!("SKIPPED: cp makes no links here");
        return;
    }
    let before = tree(&world.path("backup"));
    let ran = world.export(&PARTS);
    assert_eq!(ran.code, Some(73), "{ran:?}");
    assert!(ran.stderr.contains("remove this name, or copy it\n"), "{ran:?}");
    assert!(tree(&world.path("backup")) == before);
    fs::remove_dir_all(world.path("backup")).unwrap();
    world.export(&PARTS).ok();
}

#[test]
fn a_hard_link_as_history_is_refused() {
    for name in ["_history.jsonl", ".lock"] {
        let job = format!("[[job]]\nname = \"nightly\"\ndataset = \"{ID}\"\n");
        let nightly = Nightly::new(vec![Dataset::generated(100, 7).with_id(ID)], &job);
        let victim = victim(&nightly.world);
        let before = tree(&victim);
        let folder = nightly.world.path("snaps/nightly");
        fs::create_dir_all(&folder).unwrap();
        fs::hard_link(victim.join("letter.txt"), folder.join(name)).unwrap();
        let ran = nightly.snapshot(&[]);
        assert_eq!(ran.code, Some(73), "{name}: {ran:?}");
        let told = format!("{name}: is a hard link: the file has another name, too\n");
        assert!(ran.stderr.contains(&told), "{ran:?}");
        assert!(tree(&victim) == before, "{name}");
        fs::remove_file(folder.join(name)).unwrap();
        nightly.snapshot(&[]).ok();
    }
}
