//! The readme says what the command has.

use crate::support::{Ran, command};

const README: &str = include_str!("../../README.md");

#[test]
fn every_option_of_export_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let help = Ran::of(command(folder.path()).args(["export", "--help"])).ok().stdout;
    let options = help.split_whitespace().filter_map(|word| word.strip_prefix("--"));
    let options = options.map(|name| name.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()));
    let missing: Vec<&str> =
        options.filter(|name| *name != "help" && !README.contains(&format!("`--{name}"))).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn every_subcommand_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let help = Ran::of(command(folder.path()).arg("--help")).ok().stdout;
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let names = commands.lines().filter_map(|line| line.strip_prefix("  "));
    // A description that wraps is indented further.
    let names = names.filter(|line| !line.starts_with(' '));
    for name in names.filter_map(|line| line.split_whitespace().next()) {
        assert!(
            name == "help"
                || README.contains(&format!("overmind-export {name}"))
                || README.contains(&format!("-- {name}")),
            "{name}"
        );
    }
}
