//! The two sides of a copy: a path here, or `ID:PATH` on a machine; `:PATH` is on the machine that is there alone.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use model::fault::{Fault, FaultKind};
use model::machine::Machine;

use crate::command::machine::chosen::choose;
use crate::compose::Context;

/// One side of a copy.
#[derive(Debug)]
pub(super) enum Side {
    /// A path here.
    Local(PathBuf),
    /// A path on a machine.
    Remote {
        /// The machine.
        machine: Box<Machine>,
        /// The path there, absolute or relative to the home of the machine's user.
        path: String,
    },
}

/// The side that `text` names. The part before the first colon names a machine, unless it contains a slash; where it is empty, the
/// one that is there alone is meant. A name with a colon that exists here as a whole is a path here; where it might name a machine as well, it is refused.
pub(super) fn parse_side(context: &Context, text: &OsStr) -> Result<Side, Fault> {
    let Some((name, path)) = split(text) else { return Ok(Side::Local(PathBuf::from(text))) };
    let shown = text.to_string_lossy();
    let is_here = Path::new(text).symlink_metadata().is_ok();
    let found = match std::str::from_utf8(name) {
        Ok(name) => choose(context, Some(name).filter(|name| !name.is_empty())),
        Err(_) => Err(Fault::usage(format!("`{shown}` names no machine"))),
    };
    let machine = match found {
        Ok(machine) if is_here && machine.id.as_str().as_bytes() != name => {
            return Err(Fault::usage(format!("`{shown}` is here, and may be a path on `{}` as well", machine.id))
                .hint(format!("Write `./{shown}`, or the machine's whole id.")));
        }
        Ok(machine) => machine,
        Err(fault) if is_here && fault.kind == FaultKind::Usage => return Ok(Side::Local(PathBuf::from(text))),
        Err(mut fault) if fault.kind == FaultKind::Usage => {
            let way = format!("A path here with a colon in it is written `./{shown}`.");
            fault.hint = Some(fault.hint.map_or_else(|| way.clone(), |hint| format!("{hint} {way}")));
            return Err(fault);
        }
        Err(fault) => return Err(fault),
    };
    let Ok(path) = std::str::from_utf8(path) else {
        return Err(Fault::usage(format!("`{shown}` is on a machine, and not UTF-8"))
            .hint("Name the folder that it is in; what is in a folder may have any name."));
    };
    let path = resolve_remote(path, &machine.user)?;
    Ok(Side::Remote { machine: Box::new(machine), path })
}

/// The parts before and after the first colon, where the first may name a machine.
fn split(text: &OsStr) -> Option<(&[u8], &[u8])> {
    let bytes = text.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b':')?;
    let (name, path) = (&bytes[..at], &bytes[at + 1..]);
    (!name.contains(&b'/')).then_some((name, path))
}

/// Resolves a path on a machine: an empty one, `~` and `~USER` are the home of its `user`, in which every command and copy
/// begins.
fn resolve_remote(path: &str, user: &str) -> Result<String, Fault> {
    let is_home = |rest: &&str| rest.is_empty() || rest.starts_with('/');
    let below = match path.strip_prefix('~') {
        None => path,
        Some(rest) => {
            let own = [Some(rest), rest.strip_prefix(user)].into_iter().flatten().find(is_home);
            let others = || {
                Fault::usage(format!("`{path}` would be in the home of another user of the machine"))
                    .hint(format!("Name it in full; a name that begins with a tilde is written `./{path}`."))
            };
            own.ok_or_else(others)?.trim_start_matches('/')
        }
    };
    Ok(if below.is_empty() { ".".to_owned() } else { below.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_after_a_slash_is_no_machine() {
        let split = |text: &'static [u8]| split(OsStr::from_bytes(text));
        assert_eq!(split(b"hg-1:/tmp/x"), Some((&b"hg-1"[..], &b"/tmp/x"[..])));
        assert_eq!(split(b"hg-1:a:b"), Some((&b"hg-1"[..], &b"a:b"[..])));
        assert_eq!(split(b"hg-1:"), Some((&b"hg-1"[..], &b""[..])));
        assert_eq!(split(b"hg-1:bad\xff"), Some((&b"hg-1"[..], &b"bad\xff"[..])));
        assert_eq!(split(b":b"), Some((&b""[..], &b"b"[..])));
        for here in [&b"./a:b"[..], b"/tmp/a:b", b"bad\xff", b""] {
            assert_eq!(split(here), None);
        }
    }

    #[test]
    fn a_tilde_is_the_home_of_the_machines_user() {
        for (path, real) in
            [("", "."), ("~", "."), ("~/", "."), ("~/x", "x"), ("~//x/", "x/"), ("./~/x", "./~/x"), ("/~", "/~")]
        {
            assert_eq!(resolve_remote(path, "hg").unwrap(), real, "{path}");
        }
        for (path, real) in [("~hg", "."), ("~hg/", "."), ("~hg/x", "x")] {
            assert_eq!(resolve_remote(path, "hg").unwrap(), real, "{path}");
        }
        for path in ["~root/x", "~hgx", "~hghg/x"] {
            assert!(resolve_remote(path, "hg").unwrap_err().hint.unwrap().contains(&format!("`./{path}`")));
        }
    }
}
