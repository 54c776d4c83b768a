//! The binary; all of its code is in the library.

fn main() {
    std::process::exit(automation::cli::run(std::env::args_os().collect()));
}
