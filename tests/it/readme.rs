//! The readme says what the command has.

use crate::support::{Ran, command};

const README: &str = include_str!("../../README.md");

#[test]
fn every_option_of_export_is_explained() {
    explained("export");
}

#[test]
fn every_option_of_diff_is_explained() {
    explained("diff");
}

fn explained(subcommand: &str) {
    let folder = tempfile::tempdir().unwrap();
    let help = Ran::of(command(folder.path()).args([subcommand, "--help"])).ok().stdout;
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

#[test]
fn the_example_environment_is_what_the_command_reads() {
    let folder = tempfile::tempdir().unwrap();
    let example = include_str!("../../config/environment.example");
    let variables = example.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut export = command(folder.path());
    let export = export.args(["export", "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e", "-o", "a.jsonl"]);
    let variables = variables.map(|line| line.split_once('=').unwrap());
    export.envs(variables.clone()).arg("--max-retries").arg("0");
    // The key and the base URL of the example are taken; a base URL that leads nowhere ends it.
    export.env("OVERMIND_LAB_BASE_URL", "http://127.0.0.1:9");
    let ran = Ran::of(export);
    assert_eq!(ran.code, Some(69), "{ran:?}");
    for (name, _) in variables {
        assert!(README.contains(&format!("`{name}`")), "{name}");
    }
}
