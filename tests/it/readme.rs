//! The README and the guide match the command: options, subcommands, metrics, variables and configuration.

use std::fs;

use overmind_export::{
    Config,
    chrono::Utc,
    schedule::{Metrics, RunEnd},
};

use crate::support::{Ran, command};

const README: &str = include_str!("../../README.md");
const EXPORTING: &str = include_str!("../../src/guide/exporting.md");
const SNAPSHOTS: &str = include_str!("../../src/guide/snapshots.md");
const SCHEDULE: &str = include_str!("../../src/guide/schedule.md");

/// The folder of the guide.
fn guide() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide")
}

/// The names and the texts of the guide's pages.
fn pages() -> Vec<(String, String)> {
    let entries = fs::read_dir(guide()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|it| it == "md"));
    let name = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mut pages: Vec<_> =
        paths.map(|path| (name(&path), fs::read_to_string(&path).unwrap())).collect();
    pages.sort();
    pages
}

/// The names of the subcommands in the help of the command.
fn subcommands() -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let help = Ran::of(command(folder.path()).arg("--help")).ok().stdout;
    let commands = help.split("Commands:").nth(1).unwrap().split("Options:").next().unwrap();
    let lines = commands.lines().filter_map(|line| line.strip_prefix("  "));
    // A description that wraps is indented further.
    let lines = lines.filter(|line| !line.starts_with(' '));
    let names = lines.filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// The long options in the help of a subcommand.
fn options(subcommand: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let help = Ran::of(command(folder.path()).args([subcommand, "--help"])).ok().stdout;
    // Descriptions name options too; an option's own line begins with it.
    let own = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let names = own.filter_map(|line| line.split_once("--")?.1.split([' ', '.', ',']).next());
    let names: Vec<_> = names.filter(|name| *name != "help").map(str::to_owned).collect();
    assert!(names.len() > 3, "{help}");
    names
}

/// Whether a text names this option, and not only a longer one that begins with it.
fn names(text: &str, option: &str) -> bool {
    let named = format!("--{option}");
    let mut after = text.split(&named).skip(1);
    after.any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '-'))
}

#[test]
fn guide_names_every_option() {
    let text: String = pages().into_iter().map(|(_, text)| text).collect();
    for subcommand in subcommands() {
        let missing: Vec<String> =
            options(&subcommand).into_iter().filter(|option| !names(&text, option)).collect();
        assert_eq!(missing, Vec::<String>::new(), "{subcommand}");
    }
}

#[test]
fn readme_and_module_have_every_guide_page() {
    let module = include_str!("../../src/guide/mod.rs");
    let pages = pages();
    assert!(pages.len() > 5);
    for (name, _) in pages {
        assert!(README.contains(&format!("](src/guide/{name})")), "README: {name}");
        assert!(module.contains(&format!("include_str!(\"{name}\")")), "mod.rs: {name}");
    }
}

#[test]
fn guide_links_lead_to_pages() {
    // rustdoc checks the paths in mod.rs; these are the files that other viewers follow.
    for (name, text) in pages() {
        let definitions = text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
        for (label, file) in definitions {
            assert!(guide().join(file).is_file(), "{name}: [{label}]: {file}");
        }
        assert!(!text.contains("](crate::"), "{name}: use a reference, as contributing.md says");
    }
}

#[test]
fn example_configuration_is_valid() {
    // With and without the keys that are only in comments.
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
fn guide_configuration_is_the_example() {
    // The guide has fewer comments.
    let of = |text: &str| {
        let lines = text.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let shown = SNAPSHOTS.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(of(shown), of(include_str!("../../config/snapshots.toml")));
}

#[test]
fn guide_has_every_metric() {
    // A family without a job has no text.
    let (metrics, now) = (Metrics::new(), Utc::now());
    metrics.known("a", now, None);
    metrics.expects("a", std::time::Duration::from_secs(1));
    metrics.ended("a", RunEnd::Stored, 1, 1, 1.0, now);
    let text = metrics.text();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE overmind_export_"));
    for (name, kind) in types.filter_map(|line| line.split_once(' ')) {
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        assert!(SCHEDULE.contains(&format!("`{name}{suffix}`")), "{name}");
    }
    let file = overmind_export::schedule::textfile(&[]);
    let names = file.lines().filter_map(|line| line.strip_prefix("# TYPE overmind_export_"));
    for name in names.filter_map(|line| line.split(' ').next()) {
        assert!(SCHEDULE.contains(&format!("`{name}`")), "{name}");
    }
    // The alerts name metrics that exist.
    let known = text + &file;
    let alerts = SCHEDULE.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let alerts: String = alerts.collect();
    let words = alerts.split_whitespace().filter(|word| word.starts_with("overmind_export_"));
    let words: Vec<_> = words.collect();
    assert!(words.len() > 4, "{words:?}");
    for word in words {
        assert!(known.contains(&format!("# TYPE {word} gauge\n")), "{word}");
    }
}

#[test]
fn readme_names_every_subcommand() {
    for name in subcommands() {
        assert!(README.contains(&format!("overmind-export {name}")), "{name}");
    }
}

#[test]
fn readme_configuration_is_valid() {
    let shown = README.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config = Config::parse(shown, std::path::Path::new("/etc/snapshots.toml")).unwrap();
    assert!(config.jobs.iter().all(|job| job.schedule.is_some() && job.keep.is_some()));
}

#[test]
fn example_environment_is_read_and_documented() {
    let folder = tempfile::tempdir().unwrap();
    let example = include_str!("../../config/environment.example");
    let variables = example.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let mut export = command(folder.path());
    let export = export.args(["export", "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e", "-o", "a.jsonl"]);
    let variables = variables.map(|line| line.split_once('=').unwrap());
    export.envs(variables.clone()).arg("--max-retries").arg("0");
    // The key of the example is read, and refused as a placeholder. An unreachable base URL ends the next run.
    let ran = Ran::of(export);
    assert!(ran.code == Some(78) && ran.stderr.contains("is the placeholder"), "{ran:?}");
    export.env("OVERMIND_LAB_API_KEY", "ovr_x").env("OVERMIND_LAB_BASE_URL", "http://127.0.0.1:9");
    let ran = Ran::of(export);
    assert_eq!(ran.code, Some(69), "{ran:?}");
    for (name, _) in variables {
        assert!(EXPORTING.contains(&format!("`{name}`")), "{name}");
    }
}

/// The help of an option names no option that its command does not have.
#[test]
fn help_names_options_of_its_command() {
    let page =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/guide/options.md")).unwrap();
    for command in page.split("\n## ").skip(1) {
        let options =
            || command.lines().filter_map(|line| line.strip_prefix("* `")?.split_once(" — "));
        let named = |text: &str| -> Vec<String> {
            let parts = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
            parts.filter(|part| part.starts_with("--")).map(str::to_owned).collect()
        };
        let own: Vec<String> = options().flat_map(|(names, _)| named(names)).collect();
        // These options belong to the command that has written the export, or to all workers together.
        let others = ["--record", "--rate-limit"].map(str::to_owned);
        for (names, help) in options() {
            let known = |name: &String| own.contains(name) || others.contains(name);
            let unknown = named(help).into_iter().find(|name| !known(name));
            assert_eq!(unknown, None, "{}: {names}: {help}", command.lines().next().unwrap());
        }
    }
}

/// To renew the page: `cargo run -- man --format markdown > src/guide/options.md`.
#[test]
fn options_page_is_current() {
    let folder = tempfile::tempdir().unwrap();
    let ran = Ran::of(command(folder.path()).args(["man", "--format", "markdown"])).ok();
    assert!(ran.stdout == include_str!("../../src/guide/options.md"), "renew src/guide/options.md");
}

#[test]
fn man_pages_describe_every_command() {
    let folder = tempfile::tempdir().unwrap();
    Ran::of(command(folder.path()).args(["man", "--dir", "pages"])).ok();
    let mut names: Vec<_> = fs::read_dir(folder.path().join("pages"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.contains(&"overmind-export.1".to_owned()), "{names:?}");
    let program = fs::read_to_string(folder.path().join("pages/overmind-export.1")).unwrap();
    for name in &names {
        let page = fs::read_to_string(folder.path().join("pages").join(name)).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{name}: {page}");
        // The program's page refers to the page of each command.
        let escaped = name.trim_end_matches(".1").replace('-', "\\-");
        assert!(program.contains(&escaped), "{name} is not in the program's page");
    }
    let export = Ran::of(command(folder.path()).args(["man", "export"])).ok().stdout;
    assert_eq!(
        export,
        fs::read_to_string(folder.path().join("pages/overmind-export-export.1")).unwrap()
    );
    let ran = Ran::of(command(folder.path()).args(["man", "exprt"]));
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.starts_with("error: \"exprt\" is not a valid command: use one of export,"));
}

/// Number of packages that a build needs, the project included.
fn packages(features: &[&str]) -> usize {
    let tree = ["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none"];
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(tree).arg("--no-dedupe").args(features);
    let listed = Ran::of(&mut cargo).ok().stdout;
    let package = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        words.join(" ")
    };
    let packages: std::collections::BTreeSet<String> = listed.lines().map(package).collect();
    packages.into_iter().filter(|package| !package.is_empty()).count()
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn package_counts_are_current() {
    let (alone, all) = (packages(&["--no-default-features"]), packages(&[]));
    let text = format!("from {alone} packages instead of {all}");
    assert!(README.contains(&text), "{text}");
}
