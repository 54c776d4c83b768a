//! Which wheels a release has: what its source tells `cibuildwheel` to build.
//!
//! The rules are those of cibuildwheel's documentation: `build` and `skip` are patterns of build identifiers
//! (`cp313-win_amd64`), `archs` chooses architectures, and interpreters that `requires-python` excludes are left out.
//! One rule is not in the file: wheels for ARM64 begin with 3.11. cibuildwheel could build older ones, but python.org's
//! own builds for ARM64 begin there, and the jobs of `contrib/heptapod-ci.yml` in Mercurial's source (7.2.4) build
//! ARM64 from 3.11 on.

use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};
use model::fault::Fault;
use pep440_rs::{Version, VersionSpecifiers};
use serde::Deserialize;
use std::str::FromStr;

use super::PROJECT;
use crate::mercurial::windows_python::WindowsArch;

/// The minor versions that a pattern without a number means; others count where a pattern names them.
const USUAL: std::ops::RangeInclusive<u64> = 8..=14;

/// The first minor version with wheels for ARM64.
const FIRST_ARM64: u64 = 11;

#[derive(Deserialize)]
struct PyProject {
    #[serde(default)]
    project: Project,
    tool: Option<Tool>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
struct Project {
    requires_python: Option<String>,
}

#[derive(Deserialize)]
struct Tool {
    cibuildwheel: Option<Options>,
}

#[derive(Deserialize)]
struct Options {
    build: Option<Words>,
    skip: Option<Words>,
    archs: Option<Words>,
    windows: Option<WindowsOptions>,
}

#[derive(Deserialize)]
struct WindowsOptions {
    archs: Option<Words>,
}

/// Words as a list, or with blanks between them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Line(String),
    List(Vec<String>),
}

impl Words {
    fn words(&self) -> Vec<&str> {
        match self {
            Self::Line(line) => line.split_whitespace().collect(),
            Self::List(list) => list.iter().flat_map(|word| word.split_whitespace()).collect(),
        }
    }
}

/// An interpreter: the minor version of 3, and whether it is the build without the global lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Interpreter {
    minor: u64,
    free: bool,
}

/// A wheel for Windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowsWheel {
    interpreter: Interpreter,
    platform: &'static str,
}

impl WindowsWheel {
    /// The version of its Python: `3.13`, or `3.14t` for the build without the global lock.
    pub fn python(&self) -> String {
        format!("3.{}{}", self.interpreter.minor, if self.interpreter.free { "t" } else { "" })
    }

    /// Its architecture.
    pub fn arch(&self) -> WindowsArch {
        match self.platform {
            "win32" => WindowsArch::X86,
            "win_arm64" => WindowsArch::Arm64,
            _ => WindowsArch::X64,
        }
    }

    /// The name of its file.
    fn name(&self, version: &str) -> String {
        let tag = format!("cp3{}", self.interpreter.minor);
        let abi = format!("{tag}{}", if self.interpreter.free { "t" } else { "" });
        format!("{PROJECT}-{version}-{tag}-{abi}-{}.whl", self.platform)
    }
}

/// The names of all wheels for Windows.
pub(super) fn expected(build_file: &str, version: &str) -> Result<Vec<String>, Fault> {
    Ok(table(build_file)?.iter().map(|wheel| wheel.name(version)).collect())
}

/// All wheels for Windows that a source says it has, by the text of its `pyproject.toml`.
pub fn table(build_file: &str) -> Result<Vec<WindowsWheel>, Fault> {
    let fault = |why: &str| {
        Fault::outside("the source's `pyproject.toml` does not say which wheels a release has")
            .because(why.to_owned())
            .hint("Name a source of Mercurial 7.0 or newer with `--source DIR`.")
    };
    let document: PyProject = toml::from_str(build_file).map_err(|error| fault(&error.to_string()))?;
    let options =
        document.tool.and_then(|tool| tool.cibuildwheel).ok_or_else(|| fault("it has no `[tool.cibuildwheel]`"))?;
    let build = options.build.as_ref().map_or_else(|| vec!["*"], Words::words);
    let skip = options.skip.as_ref().map_or_else(Vec::new, Words::words);
    let archs = options.windows.as_ref().and_then(|windows| windows.archs.as_ref()).or(options.archs.as_ref());
    let platforms = platforms(&archs.map_or_else(|| vec!["auto"], Words::words)).map_err(|why| fault(&why))?;
    let required = document.project.requires_python.as_deref().map(VersionSpecifiers::from_str).transpose();
    let required = required.map_err(|error| fault(&format!("`requires-python`: {error}")))?;
    let (wanted, unwanted) =
        (matchers(&build).map_err(|why| fault(&why))?, matchers(&skip).map_err(|why| fault(&why))?);

    let mut wheels = Vec::new();
    for interpreter in interpreters(&build) {
        let number = Version::new([3, interpreter.minor]);
        if required.as_ref().is_some_and(|required| !required.contains(&number)) {
            continue;
        }
        for platform in &platforms {
            let identifier = format!("cp3{}{}-{platform}", interpreter.minor, if interpreter.free { "t" } else { "" });
            let any = |patterns: &[GlobMatcher]| patterns.iter().any(|pattern| pattern.is_match(&identifier));
            let too_old = *platform == "win_arm64" && interpreter.minor < FIRST_ARM64;
            if any(&wanted) && !any(&unwanted) && !too_old {
                wheels.push(WindowsWheel { interpreter, platform });
            }
        }
    }
    if wheels.is_empty() {
        return Err(fault("its `build` and `skip` leave none for Windows"));
    }
    Ok(wheels)
}

/// The platform tags of architectures by cibuildwheel's names.
fn platforms(archs: &[&str]) -> Result<BTreeSet<&'static str>, String> {
    let mut tags = BTreeSet::new();
    for arch in archs {
        tags.extend(match *arch {
            "x86" | "auto32" => &["win32"][..],
            "AMD64" | "auto64" | "native" => &["win_amd64"],
            "ARM64" => &["win_arm64"],
            // On an ordinary Windows machine.
            "auto" => &["win32", "win_amd64"],
            "all" => &["win32", "win_amd64", "win_arm64"],
            other => return Err(format!("`archs` names `{other}`, which is none of Windows")),
        });
    }
    Ok(tags)
}

/// Patterns of build identifiers; braces hold alternatives.
fn matchers(patterns: &[&str]) -> Result<Vec<GlobMatcher>, String> {
    let of = |pattern: &&str| GlobBuilder::new(pattern).build().map(|glob| glob.compile_matcher());
    patterns.iter().map(of).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// The interpreters that the patterns can mean, in order.
fn interpreters(patterns: &[&str]) -> BTreeSet<Interpreter> {
    let mut found: BTreeSet<Interpreter> = USUAL.map(|minor| Interpreter { minor, free: false }).collect();
    for pattern in patterns {
        for rest in pattern.split("cp3").skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            if let Ok(minor) = rest[..end].parse() {
                found.insert(Interpreter { minor, free: rest[end..].starts_with('t') });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Mercurial 7.2.4 says, without its comments.
    const NEWEST: &str = r#"
        [project]
        name = "mercurial"
        requires-python = ">=3.9"
        [tool.cibuildwheel]
        build = ["cp39-*", "cp310-*", "cp311-*", "cp312-*", "cp313-*", "cp314-*"]
        build-frontend = { name = "pip", args = ["--no-cache-dir"] }
        skip = "pp*"
        test-skip = "*"
        [tool.cibuildwheel.macos]
        archs = ["universal2"]
        [[tool.cibuildwheel.overrides]]
        select = "*-macosx_*"
        inherit.environment = "append"
        [tool.cibuildwheel.windows]
        archs = ["x86", "AMD64", "ARM64"]
    "#;

    fn tags(text: &str) -> Vec<String> {
        let names = expected(text, "1").unwrap();
        let tags = names.iter().map(|name| {
            let name = name.strip_prefix("mercurial-1-cp3").unwrap().strip_suffix(".whl").unwrap();
            let (tag, rest) = name.split_once("-cp3").unwrap();
            assert!(rest.starts_with(tag), "{name}");
            rest.replacen('-', " ", 1)
        });
        tags.collect()
    }

    #[test]
    fn the_newest_release_has_sixteen() {
        let names = expected(NEWEST, "7.2.4").unwrap();
        assert_eq!(names.len(), 16, "{names:?}");
        let arm: Vec<_> = names.iter().filter(|name| name.ends_with("win_arm64.whl")).collect();
        assert_eq!(arm.len(), 4);
        for name in [
            "mercurial-7.2.4-cp39-cp39-win32.whl",
            "mercurial-7.2.4-cp310-cp310-win_amd64.whl",
            "mercurial-7.2.4-cp311-cp311-win_arm64.whl",
            "mercurial-7.2.4-cp314-cp314-win_arm64.whl",
        ] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }

    #[test]
    fn the_options_mean_what_cibuildwheel_means_by_them() {
        let with =
            |options: &str| tags(&format!("[project]\nrequires-python = '>=3.12'\n[tool.cibuildwheel]\n{options}"));
        assert_eq!(with("build = 'cp312-* cp313-win32'"), ["12 win32", "12 win_amd64", "13 win32"]);
        assert_eq!(with("build = '*'\nskip = ['*-win32', 'cp31{2,3}-*']"), ["14 win_amd64"]);
        assert_eq!(with("build = ['cp39-*', 'cp315-win_amd64']"), ["15 win_amd64"]);
        assert_eq!(with("build = 'cp314t-win_arm64'\narchs = 'all'"), ["14t win_arm64"]);
        assert_eq!(with("build = 'cp312-*'\narchs = 'all'\nwindows.archs = 'auto32'"), ["12 win32"]);
        assert_eq!(with("windows.archs = 'native'"), ["12 win_amd64", "13 win_amd64", "14 win_amd64"]);
    }

    #[test]
    fn a_file_that_does_not_say_it_is_refused() {
        for (text, told) in [
            ("", "no `[tool.cibuildwheel]`"),
            ("[tool.cibuildwheel]\nbuild = 'pp*'", "leave none"),
            ("[tool.cibuildwheel]\nwindows.archs = 'mips'", "`mips`"),
            ("[tool.cibuildwheel]\nbuild = 'cp[39-*'", "cp[39"),
            ("[tool.cibuildwheel]\nbuild = 3", "build = 3"),
            ("[project]\nrequires-python = 'new'\n[tool.cibuildwheel]", "requires-python"),
        ] {
            let fault = expected(text, "1").unwrap_err();
            assert!(fault.line().to_lowercase().contains(&told.to_lowercase()), "{text}: {}", fault.line());
        }
    }
}
