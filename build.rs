//! Links `src/cli/closed_stdout.c` into the program. The library has no such code.

fn main() {
    #[cfg(feature = "cli")]
    {
        let source = "src/cli/closed_stdout.c";
        println!("cargo::rerun-if-changed={source}");
        if std::env::var_os("CARGO_CFG_UNIX").is_some() {
            for object in cc::Build::new().file(source).compile_intermediates() {
                println!("cargo::rustc-link-arg-bins={}", object.display());
            }
        }
    }
    println!("cargo::rerun-if-changed=build.rs");
}
