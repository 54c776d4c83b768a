//! The binary: everything is in the library.

fn main() {
    std::process::exit(automation::cli::run(std::env::args_os().collect()));
}
