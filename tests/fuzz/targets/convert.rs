#![no_main]

overmind_export_fuzz::target!("convert");
