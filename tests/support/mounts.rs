//! Commands of the tool, and mounts around them, in a mount namespace that ends with the script.

use std::process::Command;

use crate::tool::{Done, Place, Running, clear, is_root, skip};

/// Runs a shell script in which `a WORDS` runs the tool here and `$S` is the state directory. None, said aloud, where nobody may
/// mount anything.
#[track_caller]
pub fn script(place: &Place, script: &str) -> Option<Done> {
    let mut command = Command::new("unshare");
    clear(&mut command, &place.home);
    command.arg("--mount");
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let inner = place.command::<&str>(&[]);
    let whole =
        format!("S=$1; shift; mount -t tmpfs none /mnt || exit 77; umount /mnt\na() {{ {} \"$@\"; }}\n{script}", {
            let words = [inner.get_program()].into_iter().chain(inner.get_args());
            words.map(|word| model::base::quote::word(&word.to_string_lossy()).unwrap()).collect::<Vec<_>>().join(" ")
        });
    command.current_dir(place.path()).args(["--", "sh", "-eux", "-c", &whole, "sh"]).arg(&place.state);
    let done = Running::start(command).end();
    if done.code() == 77 {
        skip("nobody may mount anything here");
        return None;
    }
    Some(done)
}
