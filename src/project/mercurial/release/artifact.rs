//! Whether a file is what its name says, and whole: nobody can take back what was published.

use std::io::{Cursor, Read};
use std::path::Path;

use model::fault::Fault;
use model::release::{BuiltArtifact, PackageDetails, ReleaseFile};
use model::sum::Sha256Sum;
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::PROJECT;

/// The beginning of a program for Windows.
const PROGRAM: &[u8] = b"MZ";

/// The beginning of a compound file, which an MSI is.
const COMPOUND: &[u8] = &[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1];

/// Most bytes that are read of a text within a wheel. That of Mercurial 7.2.4 has 4 KiB.
const TEXT_CAP: u64 = 1 << 20;

/// Whether the name is that of a wheel.
pub(super) fn is_wheel(name: &str) -> bool {
    name.ends_with(".whl")
}

/// Whether the name is that of an installer.
pub(super) fn is_installer(name: &str) -> bool {
    name.ends_with(".exe") || name.ends_with(".msi")
}

/// The parts of a wheel's name: project, version, interpreter, ABI, platform.
fn parts(name: &str) -> Option<[&str; 5]> {
    let parts: Vec<&str> = name.strip_suffix(".whl")?.split('-').collect();
    parts.try_into().ok()
}

/// The version in the name of a wheel of ours.
pub(super) fn version_of(name: &str) -> Option<&str> {
    parts(name).filter(|[project, ..]| *project == PROJECT).map(|[_, version, ..]| version)
}

/// Reads the file `name` of `folder`, and refuses one that is not what its name says, or not what was `built`.
pub(super) fn check(
    folder: &Path,
    name: &str,
    version: &str,
    built: Option<&BuiltArtifact>,
) -> Result<ReleaseFile, Fault> {
    let path = folder.join(name);
    let failed = |error| Fault::outside(format!("cannot read `{}`", path.display())).because(error);
    let modified = std::fs::metadata(&path).and_then(|found| found.modified()).map_err(failed)?;
    let bytes = std::fs::read(&path).map_err(failed)?;
    let wrong = |why: String| {
        Fault::outside(format!("`{}` is not what its name says, and must not be published", path.display()))
            .because(why)
            .hint("Build it again, or fetch it again. Nothing was sent.")
    };
    let size = bytes.len() as u64;
    let sum = Sha256Sum::of_bytes(&Sha256::digest(&bytes)).ok_or_else(|| wrong("it has no sum".to_owned()))?;
    if let Some(built) = built {
        same_as_built(built, size, &sum).map_err(wrong)?;
    }
    let package = if is_wheel(name) {
        Some(wheel(name, version, &bytes).map_err(wrong)?)
    } else {
        installer(name, version, &bytes).map_err(wrong)?;
        None
    };
    Ok(ReleaseFile { path, name: name.to_owned(), size, modified, sha256: sum, package })
}

fn same_as_built(built: &BuiltArtifact, size: u64, sum: &Sha256Sum) -> Result<(), String> {
    if built.size != size {
        return Err(format!("it has {size} bytes, and the manifest beside it says {}", built.size));
    }
    match built.sha256 == *sum {
        true => Ok(()),
        false => Err(format!("its SHA-256 is {sum}, and the manifest beside it says {}", built.sha256)),
    }
}

fn installer(name: &str, version: &str, bytes: &[u8]) -> Result<(), String> {
    if !name.contains(&format!("-{version}-")) {
        return Err(format!("its name is not that of an installer of {version}"));
    }
    match name.ends_with(".exe") {
        true if !bytes.starts_with(PROGRAM) => Err("it does not begin as a program for Windows does (`MZ`)".to_owned()),
        false if !bytes.starts_with(COMPOUND) => {
            Err("it does not begin as an MSI does (the mark of a compound file)".to_owned())
        }
        _ => Ok(()),
    }
}

/// Checks a wheel: its name, every byte of it by the archive's own sums, and what it says of itself.
fn wheel(name: &str, version: &str, bytes: &[u8]) -> Result<PackageDetails, String> {
    let Some([project, of, interpreter, abi, platform]) = parts(name) else {
        return Err("its name is not that of a wheel".to_owned());
    };
    if project != PROJECT || of != version || !platform.starts_with("win") {
        return Err(format!("its name is not that of a wheel of {PROJECT} {version} for Windows"));
    }
    let mut archive =
        ZipArchive::new(Cursor::new(bytes)).map_err(|error| format!("it is no whole ZIP archive: {error}"))?;
    for at in 0..archive.len() {
        let mut entry = archive.by_index(at).map_err(|error| format!("its entry {at} cannot be read: {error}"))?;
        let name = entry.name().escape_debug().to_string();
        std::io::copy(&mut entry, &mut std::io::sink())
            .map_err(|error| format!("`{name}` in it is damaged: {error}"))?;
    }
    let metadata = text(&mut archive, version, "METADATA")?;
    let field = |wanted: &str| {
        let head = metadata.lines().take_while(|line| !line.is_empty());
        let found = head.filter_map(|line| line.split_once(':')).find(|(key, _)| key.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    for (key, expected) in [("Name", PROJECT), ("Version", version)] {
        let told = field(key);
        if told != expected {
            return Err(format!("its metadata says `{key}: {}`", told.escape_debug()));
        }
    }
    let tag = format!("{interpreter}-{abi}-{platform}");
    let tags = text(&mut archive, version, "WHEEL")?;
    let mut tags = tags.lines().filter_map(|line| line.strip_prefix("Tag:")).map(str::trim);
    if !tags.any(|known| known == tag) {
        return Err(format!("it does not say that it is for `{tag}`"));
    }
    Ok(PackageDetails { interpreter: interpreter.to_owned(), metadata })
}

/// The text of a file of the wheel about itself.
fn text(archive: &mut ZipArchive<Cursor<&[u8]>>, version: &str, name: &str) -> Result<String, String> {
    let path = format!("{PROJECT}-{version}.dist-info/{name}");
    let mut entry = archive.by_name(&path).map_err(|_| format!("it has no `{path}`"))?;
    let mut text = String::new();
    let read = entry.by_ref().take(TEXT_CAP).read_to_string(&mut text);
    match read {
        Ok(length) if (length as u64) < TEXT_CAP => Ok(text),
        Ok(_) => Err(format!("`{path}` in it is too long")),
        Err(error) => Err(format!("`{path}` in it cannot be read: {error}")),
    }
}
