#![no_main]

overmind_export_fuzz::target!("json_lines");
