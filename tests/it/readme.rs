//! The readme says what the command has.

use overmind_export::Config;

use crate::support::{Ran, command};

const README: &str = include_str!("../../README.md");

/// The lines of the readme from the one that holds the first text to the one that holds the second.
fn between(from: &str, to: &str) -> Vec<&'static str> {
    let lines = README.lines().skip_while(|line| !line.contains(from)).skip(1);
    lines.take_while(|line| !line.contains(to)).collect()
}

/// The options of these lines of a table: those that a row begins with, or names as its own.
fn rows(lines: &[&'static str]) -> Vec<&'static str> {
    let cells = lines.iter().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells
        .flat_map(|cell| cell.split(['`', ' ']).filter_map(|word| word.strip_prefix("--")))
        .collect()
}

/// The options that work with every subcommand.
fn global() -> Vec<&'static str> {
    rows(&between("| *Connection* |", "### Environment"))
}

/// The options in the help of a subcommand that are not among these rows.
fn missing(subcommand: &str, rows: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let help = Ran::of(command(folder.path()).args([subcommand, "--help"])).ok().stdout;
    // Descriptions name options too; an option's own line begins with it.
    let own = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let names = own.filter_map(|line| line.split_once("--")?.1.split([' ', '.', ',']).next());
    let names: Vec<&str> = names.filter(|name| *name != "help").collect();
    assert!(names.len() > 10, "{help}");
    names.into_iter().filter(|name| !rows.contains(name)).map(str::to_owned).collect()
}

#[test]
fn every_option_of_export_is_in_its_rows() {
    let own = rows(&between("| `-o`, `--output PATH` | required", "| *Snapshots* |"));
    let rows = [own, vec!["output"], global()].concat();
    assert_eq!(missing("export", &rows), Vec::<String>::new());
}

#[test]
fn every_option_of_diff_is_in_its_table() {
    let own = rows(&between("| option of `diff` |", "## Every night"));
    assert_eq!(missing("diff", &[own, storage("diff"), global()].concat()), Vec::<String>::new());
}

#[test]
fn every_option_of_the_snapshot_commands_is_in_their_rows() {
    let snapshots = rows(&between("| *Snapshots* |", "| *Schedule* |"));
    let schedule = [rows(&between("| *Schedule* |", "| *Connection* |")), vec!["jobs", "json"]];
    for (name, own) in
        [("snapshot", &snapshots), ("snapshots", &snapshots), ("schedule", &schedule.concat())]
    {
        let rows = [own.clone(), storage(name), global()].concat();
        assert_eq!(missing(name, &rows), Vec::<String>::new(), "{name}");
    }
}

/// The option whose row names the other subcommands that take it.
fn storage(subcommand: &str) -> Vec<&'static str> {
    let row = README.lines().find(|line| line.starts_with("| `--storage-option ")).unwrap();
    assert!(row.contains(&format!("`{subcommand}`")), "{subcommand}: {row}");
    vec!["storage-option"]
}

#[test]
fn the_example_configuration_is_read_and_so_is_every_key_that_it_only_mentions() {
    let example = include_str!("../../config/snapshots.toml");
    let path = std::path::Path::new("/etc/snapshots.toml");
    let config = Config::parse(example, path).unwrap();
    let names: Vec<&str> = config.jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["triage-eval", "support-agent"]);
    assert!(config.jobs.iter().all(|job| job.schedule.is_some() && job.keep.is_some()));
    let whole: String = example
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if key.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => key,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let config = Config::parse(&whole, path).unwrap();
    assert!(config.jobs[1].on_result.is_some() && config.api.rate_limit.is_some());
}

#[test]
fn the_configuration_in_the_readme_is_the_example_without_most_of_its_comments() {
    let of = |text: &str| {
        let lines = text.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let shown = README.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(of(shown), of(include_str!("../../config/snapshots.toml")));
}

#[test]
fn every_metric_is_in_the_table() {
    let text = overmind_export::schedule::Metrics::new().text();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE overmind_export_"));
    for (name, kind) in types.filter_map(|line| line.split_once(' ')) {
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        assert!(README.contains(&format!("`{name}{suffix}`")), "{name}");
    }
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
    // The key of the example is taken, and is none; a base URL that leads nowhere ends the next run.
    let ran = Ran::of(export);
    assert!(ran.code == Some(78) && ran.stderr.contains("is the placeholder"), "{ran:?}");
    export.env("OVERMIND_LAB_API_KEY", "ovr_x").env("OVERMIND_LAB_BASE_URL", "http://127.0.0.1:9");
    let ran = Ran::of(export);
    assert_eq!(ran.code, Some(69), "{ran:?}");
    for (name, _) in variables {
        assert!(README.contains(&format!("`{name}`")), "{name}");
    }
}
