//! The binary: everything is in the library.

fn main() {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    if let Some(code) = automation::provider::local::internal(&arguments) {
        std::process::exit(code);
    }
}
