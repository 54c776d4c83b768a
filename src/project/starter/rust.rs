//! What a Rust project asks for.

use std::path::Path;

use model::base::quote;

use crate::starter::{Kind, apt, read};

/// The version of Rust that Debian 13 has.
const DEBIAN_13: (u32, u32) = (1, 85);

/// Where root installs toolchains, so that every user finds them.
const RUSTUP_HOME: &str = "/opt/rustup";

/// What a project wants of Rust beyond what the distribution has.
struct Wish {
    /// The toolchain, as `rustup` calls it.
    toolchain: String,
    /// Why, a sentence.
    note: String,
}

/// The project in `folder`.
pub(super) fn kind(folder: &Path) -> Kind {
    let kind = Kind {
        what: "a Rust project",
        distro: Some("debian13"),
        setup: Some(apt("cargo")),
        fetches: true,
        check: "cargo test \"$@\"".to_owned(),
        suite: Some(
            "preset = \"cargo-nextest\"\n\
             # No package brings it: it is fetched for each run.\n\
             setup = \"curl -LsSf https://get.nexte.st/latest/linux | sudo tar -xzf - -C /usr/local/bin\""
                .to_owned(),
        ),
        ..Kind::default()
    };
    let Some(Wish { toolchain, note }) = pinned(folder).or_else(|| newer(folder)) else { return kind };
    let setup = format!(
        "{} && export RUSTUP_HOME={RUSTUP_HOME} && rustup set profile minimal && rustup default {toolchain} && \
         chmod -R a+rwX {RUSTUP_HOME}",
        apt("rustup")
    );
    Kind { note: Some(note), setup: Some(setup), env: Some(format!("RUSTUP_HOME = \"{RUSTUP_HOME}\"")), ..kind }
}

/// The toolchain that the project names in a file of its own.
fn pinned(folder: &Path) -> Option<Wish> {
    let found = ["rust-toolchain.toml", "rust-toolchain"].into_iter().find(|name| folder.join(name).is_file())?;
    let text = read(folder, found);
    let channel = match text.parse::<toml::Table>() {
        Ok(table) => table.get("toolchain")?.get("channel")?.as_str()?.to_owned(),
        // The older form is nothing but the name.
        Err(_) => text.trim().to_owned(),
    };
    let toolchain =
        quote::word(&channel).ok().filter(|_| !channel.starts_with('-') && channel.split_whitespace().count() == 1)?;
    Some(Wish { note: format!("`{found}` names a toolchain of Rust: `rustup` brings it."), toolchain })
}

/// The newest toolchain, where the version that the project needs at least is newer than that of the distribution.
fn newer(folder: &Path) -> Option<Wish> {
    let manifest: toml::Table = read(folder, "Cargo.toml").parse().ok()?;
    let of = |table: Option<&toml::Value>| table?.get("package")?.get("rust-version")?.as_str().map(str::to_owned);
    let own = manifest.get("package").and_then(|package| package.get("rust-version")?.as_str().map(str::to_owned));
    let version = own.or_else(|| of(manifest.get("workspace")))?;
    let mut parts = version.split('.').map_while(|part| part.parse::<u32>().ok());
    let wanted = (parts.next()?, parts.next().unwrap_or_default());
    let (major, minor) = DEBIAN_13;
    (wanted > DEBIAN_13).then(|| Wish {
        toolchain: "stable".to_owned(),
        note: format!(
            "Debian 13 has Rust {major}.{minor}, and `Cargo.toml` asks for {version}: `rustup` brings the newest."
        ),
    })
}
