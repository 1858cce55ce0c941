//! The simplest export: one command, one file.

use overmind_export::demo::Options;

use crate::support::World;

#[test]
fn export_leaves_exactly_one_complete_file() {
    let world = World::generated(Options::default(), 1234);
    let ran = world.export(&["-o", "rows.jsonl"]).ok();
    assert!(ran.stderr.contains("1,234 rows in 1 file"), "{}", ran.stderr);
    assert_eq!(world.entries(), ["rows.jsonl"]);
    let text = String::from_utf8(world.read("rows.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 1234);
}
