//! The rules of the architecture page, read from the source: which module may use which, and what no module may use.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, File, Item, Lit, UseTree, visit::Visit};

/// Crates that only some modules may use.
const RESERVED: [(&[&str], &[&str]); 6] = [
    (&["jaq_core", "jaq_json", "jaq_std", "regex"], &["transform"]),
    (
        &["clap", "clap_complete", "clap_mangen", "indicatif", "console", "anstream", "anstyle"],
        &["cli"],
    ),
    (
        &["arrow_array", "arrow_buffer", "arrow_schema", "arrow_ipc", "parquet"],
        &[
            "nested",
            "transform",
            "batch",
            "sink",
            "readback",
            "destination",
            "record",
            "location",
            "export",
            "convert",
            "diff",
            "report",
            "cli",
            "fuzzing",
            "lib",
        ],
    ),
    (
        &["reqwest", "rustls", "rustls_platform_verifier", "hyper_util"],
        &["client", "net", "error", "location", "demo", "schedule"],
    ),
    (&["object_store"], &["location", "destination"]),
    (&["maud", "datasketches", "hdrhistogram", "similar"], &["report"]),
];

/// Modules that a module must not use.
const FORBIDDEN: [(&str, &[&str]); 11] = [
    (
        "nested",
        &["paginator", "transform", "batch", "sink", "destination", "record", "export", "files"],
    ),
    ("transform", &["paginator", "proof", "sink", "destination", "record", "export", "files"]),
    ("client", &["paginator", "batch", "sink", "destination", "export"]),
    ("paginator", &["batch", "sink", "destination", "export"]),
    ("batch", &["paginator", "transform", "sink", "destination", "export"]),
    ("sink", &["client", "paginator", "destination", "export", "net"]),
    ("destination", &["client", "paginator", "batch", "export"]),
    ("export", &["config", "snapshots", "schedule", "cli", "demo", "convert", "cluster"]),
    ("cluster", &["config", "snapshots", "schedule", "cli", "demo", "convert", "batch"]),
    ("convert", &["config", "snapshots", "schedule", "cli", "demo", "net"]),
    ("report", &["cli", "demo", "net", "paginator", "export", "convert"]),
];

/// Modules that only these modules may use.
const USERS: [(&str, &[&str]); 7] = [
    ("cli", &["cli"]),
    ("report", &["cli", "schedule"]),
    ("schedule", &["cli", "fuzzing"]),
    ("demo", &["cli"]),
    ("snapshots", &["cli", "config", "schedule", "report", "fuzzing"]),
    ("config", &["cli", "snapshots", "schedule", "fuzzing"]),
    ("fuzzing", &[]),
];

const MOST_LINES: usize = 500;

/// Programs that messages name in backticks.
const COMMANDS: [&str; 1] = ["ulimit"];

/// A source file that is compiled into the crate, without its tests.
struct Module {
    path: PathBuf,
    /// Names from the root of the crate: `["client", "page"]`.
    names: Vec<String>,
    /// Paths that it uses; those within the crate begin with `crate`.
    uses: BTreeSet<Vec<String>>,
    types: Vec<String>,
    /// String literals, also those in macros, without documentation.
    texts: Vec<String>,
    lines: usize,
}

impl Module {
    fn room(&self) -> &str {
        self.names.first().map_or("lib", String::as_str)
    }
}

#[test]
fn modules_use_only_what_is_below_them() {
    let modules = modules();
    let rooms: BTreeSet<&str> = modules.iter().map(Module::room).collect();
    let mut arrows = BTreeMap::<&str, BTreeSet<&str>>::new();
    for module in modules.iter().filter(|module| module.room() != "lib") {
        let used = used_names(module).into_iter().filter_map(|names| {
            let room = names.first()?.as_str();
            rooms.get(room).copied().filter(|room| *room != module.room())
        });
        arrows.entry(module.room()).or_default().extend(used);
    }
    for (room, forbidden) in FORBIDDEN {
        let used = &arrows[room];
        let wrong: Vec<_> = forbidden.iter().filter(|name| used.contains(*name)).collect();
        assert!(wrong.is_empty(), "{room} uses {wrong:?}");
    }
    for (room, used) in &arrows {
        for (lower, users) in USERS {
            assert!(users.contains(room) || !used.contains(lower), "{room} uses {lower}");
        }
    }
    assert_eq!(circle(&arrows), None);
    assert!(arrows["export"].contains("client"), "the test sees no uses at all");
}

#[test]
fn files_of_a_folder_form_no_circle() {
    let modules = modules();
    let mut arrows = BTreeMap::<String, BTreeSet<String>>::new();
    let is_leaf = |path: &Path| !path.ends_with("mod.rs") && !path.with_extension("").is_dir();
    let leaves: BTreeMap<String, &Module> = modules
        .iter()
        .filter(|module| is_leaf(&module.path))
        .map(|module| (module.names.join("::"), module))
        .collect();
    for (name, module) in &leaves {
        let used = used_names(module).into_iter().filter_map(|names| {
            let mut names = names;
            while !names.is_empty() {
                let joined = names.join("::");
                if leaves.contains_key(&joined) && joined != *name {
                    return Some(joined);
                }
                names.pop();
            }
            None
        });
        arrows.entry(name.clone()).or_default().extend(used);
    }
    let arrows = arrows
        .iter()
        .map(|(name, used)| (name.as_str(), used.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(circle(&arrows), None);
}

#[test]
fn reserved_crates_stay_in_their_modules() {
    let mut wrong = BTreeSet::new();
    for module in modules() {
        for (crates, rooms) in RESERVED {
            let used = module.uses.iter().filter_map(|path| path.first());
            let used = used.filter(|name| crates.contains(&name.as_str()));
            if !rooms.contains(&module.room()) {
                wrong.extend(used.map(|name| format!("{} uses {name}", module.path.display())));
            }
        }
    }
    assert_eq!(wrong, BTreeSet::new());
}

#[test]
fn type_names_are_unique() {
    let mut places = BTreeMap::<String, Vec<String>>::new();
    for module in modules() {
        for name in module.types {
            places.entry(name).or_default().push(module.path.display().to_string());
        }
    }
    places.retain(|_, paths| {
        paths.dedup();
        // One for each platform, or one for builds without object stores.
        paths.retain(|path| !path.contains("portable") && !path.contains("no_remote"));
        paths.len() > 1
    });
    assert_eq!(places, BTreeMap::new());
}

/// In the library, a message names an option like the field: `` `base_url` ``. The command makes it `--base-url`.
#[test]
fn library_texts_name_fields_instead_of_flags() {
    let options = include_str!("../../src/guide/options.md");
    let mut wrong = BTreeSet::new();
    let mut named = 0;
    for module in modules().iter().filter(|module| !["cli", "demo"].contains(&module.room())) {
        for text in &module.texts {
            let words = || text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '`');
            let is_flag = |word: &&str| {
                let name = word.strip_prefix("--");
                name.is_some_and(|name| options.contains(&format!("`--{name}")))
            };
            // The text of a command to copy has its flags.
            if !text.contains("`overmind-export ") && words().any(|word| is_flag(&word)) {
                wrong.insert(format!("{}: {text:?} names a flag", module.path.display()));
            }
            for quoted in text.split('`').skip(1).step_by(2) {
                let name = quoted.split(' ').next().unwrap_or_default();
                let is_field = |c: char| c.is_ascii_lowercase() || c == '_';
                if name.is_empty() || !name.chars().all(is_field) || COMMANDS.contains(&name) {
                    continue;
                }
                named += 1;
                if !options.contains(&format!("`--{}", name.replace('_', "-"))) {
                    wrong.insert(format!("{}: {quoted:?} is not a flag", module.path.display()));
                }
            }
        }
    }
    assert_eq!(wrong, BTreeSet::new());
    assert!(named > 20, "the test sees only {named} names");
}

#[test]
fn files_stay_short() {
    let long = modules()
        .into_iter()
        .filter(|module| module.lines > MOST_LINES)
        .map(|module| format!("{}: {} lines", module.path.display(), module.lines));
    assert_eq!(long.collect::<Vec<_>>(), Vec::<String>::new());
}

/// The first circle that is found, as a path from a name to itself.
fn circle(arrows: &BTreeMap<&str, BTreeSet<&str>>) -> Option<Vec<String>> {
    fn walk<'a>(
        at: &'a str,
        arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>,
        path: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(begin) = path.iter().position(|name| *name == at) {
            return Some(
                path[begin..].iter().chain([&at]).map(|name| (*name).to_owned()).collect(),
            );
        }
        if !done.insert(at) {
            return None;
        }
        path.push(at);
        let found =
            arrows.get(at).into_iter().flatten().find_map(|next| walk(next, arrows, path, done));
        path.pop();
        found
    }
    let mut done = BTreeSet::new();
    arrows.keys().find_map(|name| walk(name, arrows, &mut Vec::new(), &mut done))
}

/// The names that a module uses within the crate, from its root.
fn used_names(module: &Module) -> Vec<Vec<String>> {
    let absolute = module.uses.iter().filter_map(|path| {
        let mut base = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" => module.names.clone(),
            "super" => module.names[..module.names.len().saturating_sub(1)].to_vec(),
            _ => return None,
        };
        for name in &path[1..] {
            if name == "super" {
                base.pop();
            } else {
                base.push(name.clone());
            }
        }
        Some(base)
    });
    absolute.collect()
}

fn modules() -> Vec<Module> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = Vec::new();
    read(&root, &root.join("lib.rs"), Vec::new(), &mut modules);
    assert!(modules.len() > 100, "{} modules found", modules.len());
    modules
}

/// Reads a file and the modules that it declares, except test modules.
fn read(folder: &Path, path: &Path, names: Vec<String>, modules: &mut Vec<Module>) {
    let text = fs::read_to_string(path).unwrap();
    let file: File = syn::parse_file(&text).unwrap();
    let mut reader = Reader::default();
    for item in &file.items {
        if is_test(attributes(item)) {
            continue;
        }
        if let Item::Mod(declared) = item
            && declared.content.is_none()
        {
            let name = declared.ident.to_string();
            let below = folder.join(&name);
            let places = [below.join("mod.rs"), folder.join(format!("{name}.rs"))];
            // An attribute names a module with another path, or in a folder with another name.
            if let Some(place) = places.iter().find(|place| place.is_file()) {
                let names = names.iter().cloned().chain([name]).collect();
                read(&below, place, names, modules);
            }
            continue;
        }
        reader.visit_item(item);
    }
    let short = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().to_owned();
    let lines = text.lines().count();
    let Reader { uses, types, texts } = reader;
    modules.push(Module { path: short, names, uses, types, texts, lines });
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        _ => &[],
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|ident| ident == "test")
    })
}

#[derive(Default)]
struct Reader {
    uses: BTreeSet<Vec<String>>,
    types: Vec<String>,
    texts: Vec<String>,
}

impl Reader {
    fn tree(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: String| before.iter().cloned().chain([name]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => self.tree(&path.tree, &with(path.ident.to_string())),
            UseTree::Name(name) => drop(self.uses.insert(with(name.ident.to_string()))),
            UseTree::Rename(name) => drop(self.uses.insert(with(name.ident.to_string()))),
            UseTree::Glob(_) => drop(self.uses.insert(before.to_vec())),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree, before)),
        }
    }
}

impl Reader {
    fn tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Literal(literal) => {
                    if let Lit::Str(text) = Lit::new(literal) {
                        self.texts.push(text.value());
                    }
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    // Documentation is an attribute.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.texts.push(text.value());
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(item.tokens.clone());
        syn::visit::visit_macro(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.uses.insert(path.segments.iter().map(|part| part.ident.to_string()).collect());
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.types.push(item.ident.to_string());
        syn::visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.types.push(item.ident.to_string());
        syn::visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.types.push(item.ident.to_string());
        syn::visit::visit_item_trait(self, item);
    }
}

/// The code of fuzzers and of faults asserts and panics, so no user's build may have it.
#[test]
fn default_features_have_no_test_code() {
    let manifest = include_str!("../../Cargo.toml");
    let section = manifest.split("\n[features]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let lines = section.lines().filter(|line| !line.starts_with('#'));
    let text: String = lines.collect::<Vec<_>>().join(" ");
    let features: BTreeMap<&str, &str> = text
        .split(']')
        .filter_map(|feature| feature.split_once(" = ["))
        .map(|(name, parts)| (name.trim(), parts))
        .collect();
    let (mut reached, mut next) = (BTreeSet::new(), vec!["default"]);
    while let Some(feature) = next.pop() {
        let Some(parts) = features.get(feature) else { continue };
        if reached.insert(feature) {
            next.extend(parts.split('"').skip(1).step_by(2));
        }
    }
    assert!(reached.contains("cli") && reached.contains("demo"), "{reached:?}");
    assert!(!reached.contains("fuzzing") && !reached.contains("faults"), "{reached:?}");
}

/// Targets of fuzzers panic where an invariant is broken, so only the feature `fuzzing` compiles them.
#[test]
fn no_feature_switches_fuzzing_on() {
    let cargo = include_str!("../../Cargo.toml");
    let (_, rest) = cargo.split_once("\n[features]\n").unwrap();
    let features = rest.split("\n[").next().unwrap();
    let names: Vec<&str> = features.lines().filter(|line| line.contains("fuzzing")).collect();
    assert_eq!(names, ["fuzzing = []"]);
    let modules = include_str!("../../src/lib.rs");
    assert!(modules.contains("#[cfg(feature = \"fuzzing\")]\npub mod fuzzing;"));
}
