//! Commits that ended while they published: what `status` says of them, and what the next step does.

use std::fs;

use super::{Lake, OUTPUT};
use crate::{stores::server::Fate, support::ID};

const COMPLETE: &str = "POST /bucket/rows/part-";

/// Two finished ranges whose commit ended when the store no longer completed uploads, from this one on.
fn begun_commit(nth: u32, more: &[&str]) -> Lake {
    let lake = Lake::new();
    if more.contains(&"--overwrite") {
        lake.step(&["export", &ID.to_string(), "-o", OUTPUT, "--limit", "50"]).ok();
    }
    lake.begin(2, more).ok();
    lake.write_parts(2);
    lake.store.rule(COMPLETE, Fate::RefusedFrom(nth, 403, "AccessDenied"));
    let ran = lake.commit();
    assert_eq!(ran.code, Some(74), "{ran:?}");
    lake.store.no_rules();
    lake
}

impl Lake {
    /// Removes the record of the upload of the first part of the second range.
    fn lose_an_upload(&self) {
        let keys = self.store.keys();
        let pending = keys.iter().find(|key| key.contains("_rows.partial/part-0000200001-"));
        fs::remove_file(self.store.path(pending.unwrap())).unwrap();
    }

    /// The problems that `status` has, by range.
    fn problems(&self) -> Vec<(u64, String)> {
        let status = self.step(&["status", "-o", OUTPUT, "--json"]).ok();
        let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
        let states = status["states"].as_array().unwrap().iter();
        let problem = states.filter_map(|it| {
            Some((it["range"].as_u64().unwrap(), it.get("problem")?.as_str().unwrap().to_owned()))
        });
        problem.collect()
    }

    fn visible_parts(&self) -> Vec<String> {
        let keys = self.store.keys().into_iter();
        keys.filter(|key| key.starts_with("rows/part-")).collect()
    }
}

#[test]
fn status_says_what_a_commit_would_say() {
    // None of the parts is visible, or some. Those are removed when the commit cannot be finished.
    for nth in [1, 7] {
        let lake = begun_commit(nth, &[]);
        let visible = lake.visible_parts();
        assert_eq!(visible.len() as u32, nth - 1);
        assert_eq!(lake.problems(), []);
        lake.lose_an_upload();
        let problems = lake.problems();
        let lost = [1, 2].into_iter().filter(|range| {
            *range == 2 || visible.iter().any(|part| part.starts_with("rows/part-00001"))
        });
        let lost: Vec<u64> = lost.collect();
        assert_eq!(problems.iter().map(|(range, _)| *range).collect::<Vec<_>>(), lost);
        let ran = lake.commit();
        assert_eq!(ran.code, Some(65), "{ran:?}");
        for (range, problem) in &problems {
            let words = format!("range {range} of 2: pages ");
            let said = ran.stderr.split("; ").find(|said| said.contains(&words)).unwrap();
            assert!(said.contains(&format!(" cannot be used: {problem}")), "{said}: {problem}");
        }
        assert_eq!(ran.stderr.matches(" cannot be used: ").count(), lost.len(), "{ran:?}");
        assert!(lake.visible_parts().is_empty());
        assert_eq!(lake.problems(), problems);
        lake.write_parts(2);
        lake.commit().ok();
        assert!(lake.objects().0 == lake.truth().0);
    }
}

#[test]
fn parts_without_a_readable_commit_are_named() {
    let lake = begun_commit(7, &[]);
    let keys = lake.store.keys();
    let commit = keys.iter().find(|key| key.contains("_rows.partial/commit-")).unwrap();
    fs::write(lake.store.path(commit), "{}").unwrap();
    let problems = lake.problems();
    assert!(problems.len() == 2 && problems[0].1.ends_with("by another program"), "{problems:?}");
    let ran = lake.commit();
    assert_eq!(ran.code, Some(65), "{ran:?}");
    for (_, problem) in &problems {
        assert!(ran.stderr.contains(problem), "{ran:?}: {problem}");
    }
}

#[test]
fn replaced_export_stays_when_a_commit_is_undone() {
    for nth in [1, 7] {
        for end in ["commit", "abort"] {
            let before = Lake::new();
            before.step(&["export", &ID.to_string(), "-o", OUTPUT, "--limit", "50"]).ok();
            let lake = begun_commit(nth, &["--overwrite"]);
            assert_eq!(lake.visible_parts().len() as u32, nth);
            lake.lose_an_upload();
            let ran = lake.step(&[end, "-o", OUTPUT]);
            let is_abort = end == "abort";
            assert_eq!(ran.code, Some(if is_abort { 0 } else { 65 }), "{ran:?}");
            // The replaced export is as it was.
            let (parts, others) = lake.objects();
            assert!(parts == before.objects().0, "{end}");
            lake.step(&["verify", OUTPUT]).ok();
            if is_abort {
                assert_eq!(others, ["rows.manifest.json"]);
                continue;
            }
            lake.write_parts(2);
            lake.commit().ok();
            assert!(lake.objects().0 == lake.truth().0);
            lake.step(&["verify", OUTPUT]).ok();
        }
    }
}

#[test]
fn changed_part_after_the_record_is_left_to_verify() {
    for end in ["commit", "abort"] {
        let lake = Lake::new();
        lake.begin(2, &[]).ok();
        lake.write_parts(2);
        let at = "DELETE /bucket/_rows.partial/plan.state";
        lake.kill_at(&["commit", "-o", OUTPUT], at, 1);
        assert_eq!(lake.problems(), []);
        let part = lake.visible_parts().remove(0);
        fs::write(lake.store.path(&part), "changed").unwrap();
        let ran = lake.step(&[end, "-o", OUTPUT]);
        assert_eq!(ran.code, Some(if end == "commit" { 0 } else { 73 }), "{ran:?}");
        if end == "abort" {
            assert!(ran.stderr.contains("a commit had begun to publish it"), "{ran:?}");
        }
        // The export was complete. The change is one of a published export.
        assert_eq!(lake.objects().1, ["rows.manifest.json"]);
        assert_eq!(lake.step(&["verify", OUTPUT]).code, Some(65), "{end}");
    }
}
