//! `automation upgrade`.

use std::path::Path;

use index::ReleasePlace;
use jiff::Timestamp;
use model::base::{escapes, quote};
use model::fault::Fault;
use model::upgrade::NewestRelease;
use semver::Version;
use serde::Serialize;

use crate::command::error::exit;
use crate::command::signals;
use crate::compose::releases;
use crate::globals::Globals;
use crate::ui;

/// The options of `automation upgrade`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Say whether there is a newer version, and the command that installs it; nothing is changed
    #[arg(long, required = true)]
    check: bool,
    /// Where releases are: an address by `https`, or a folder [default: the settings' `releases`]
    #[arg(long, value_name = "URL|DIR", env = "AUTOMATION_RELEASES")]
    from: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Serialize)]
struct UpgradeSummary {
    /// The version of this program.
    version: String,
    newest: String,
    released_at: Option<Timestamp>,
    is_newer: bool,
    from: String,
    /// The command that installs the newest release; none where this program is as new.
    command: Option<String>,
}

/// Looks.
pub async fn run(globals: &Globals, args: Args) -> Result<i32, Fault> {
    let place = releases::place(globals, args.from.as_deref())?;
    let looking = releases::newest(&place);
    let newest = signals::until_signal(looking, "Nothing was changed.").await?;
    let own = Version::parse(env!("CARGO_PKG_VERSION"))
        .map_err(|error| Fault::outside("this program does not know its version").because(error))?;
    let is_newer = newest.is_newer_than(&own);
    let prefix = releases::prefix();
    let summary = UpgradeSummary {
        version: own.to_string(),
        newest: newest.version.to_string(),
        released_at: newest.released_at,
        is_newer,
        from: place.text(),
        command: is_newer.then(|| command(&place, &newest, prefix.as_deref())),
    };
    if args.json {
        let text = serde_json::to_string_pretty(&summary);
        let text = text.map_err(|error| Fault::outside("cannot write JSON").because(error))?;
        ui::print(&format!("{}\n", escapes::json(&text)));
    } else {
        ui::print(&escapes::plain(&words(&summary)));
    }
    Ok(if is_newer { exit::FAILED } else { exit::OK })
}

fn words(summary: &UpgradeSummary) -> String {
    let UpgradeSummary { version, newest, command, .. } = summary;
    match command {
        Some(command) => {
            format!("There is a newer version: {newest}, and this is {version}. Install it:\n\n  {command}\n")
        }
        None if newest == version => format!("This is the newest version: {version}\n"),
        None => format!("The newest release is {newest}, and this is {version}\n"),
    }
}

/// The command that installs a release as this program was installed, which is below `prefix`.
fn command(place: &ReleasePlace, newest: &NewestRelease, prefix: Option<&Path>) -> String {
    let quoted = |text: String| quote::word(&text).unwrap_or(text);
    let is_packaged = prefix == Some(Path::new("/usr"));
    if let Some(package) = newest.debian_package().filter(|_| is_packaged) {
        let file = quoted(place.file(package));
        return match place {
            ReleasePlace::Folder(_) => format!("apt install {file}"),
            ReleasePlace::Address(_) => format!("curl -fsSLO {file} && apt install ./{package}"),
        };
    }
    let script = quoted(place.file("install.sh"));
    let script = match place {
        ReleasePlace::Folder(_) => format!("sh {script}"),
        ReleasePlace::Address(_) => format!("curl -fsSL {script} | sh -s --"),
    };
    let into =
        prefix.filter(|_| !is_packaged).map(|prefix| format!(" --prefix {}", quoted(prefix.display().to_string())));
    let (from, version) = (quoted(place.text()), &newest.version);
    format!("{script} --from {from} --version {version}{}", into.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_installs_as_this_program_was_installed() {
        let newest = NewestRelease::read(br#"{"version": "0.2.0", "files": [{"name": "a_0.2.0_amd64.deb"}]}"#).unwrap();
        let line = |place: &str, prefix: Option<&str>| {
            command(&ReleasePlace::parse(place, "--from").unwrap(), &newest, prefix.map(Path::new))
        };
        for (place, prefix, expected) in [
            ("/r", None, "sh /r/install.sh --from /r --version 0.2.0"),
            ("/r/a b", Some("/opt"), "sh '/r/a b/install.sh' --from '/r/a b' --version 0.2.0 --prefix /opt"),
            ("/r", Some("/usr"), "apt install /r/a_0.2.0_amd64.deb"),
            (
                "https://example.org/r/",
                Some("/home/me/.local"),
                "curl -fsSL https://example.org/r/install.sh | sh -s -- --from https://example.org/r --version 0.2.0 --prefix /home/me/.local",
            ),
            (
                "https://example.org/r",
                Some("/usr"),
                "curl -fsSLO https://example.org/r/a_0.2.0_amd64.deb && apt install ./a_0.2.0_amd64.deb",
            ),
        ] {
            assert_eq!(line(place, prefix), expected);
        }
    }
}
