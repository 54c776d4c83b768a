//! The Pythons of a Windows machine: which there are, and where.

use serde::{Deserialize, Serialize};

/// A Python of a Windows machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowsPython {
    /// Its version, `3.N`.
    pub version: String,
    /// The architecture that it was made for.
    pub arch: WindowsArch,
}

/// An architecture of Windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowsArch {
    /// Intel, 32 bits.
    X86,
    /// Intel, 64 bits.
    X64,
    /// ARM, 64 bits.
    Arm64,
}

impl WindowsArch {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::X86, Self::X64, Self::Arm64];

    /// Those whose programs run on a machine of [`WindowsArch::X64`], on which all of them are built.
    pub const RUN: [Self; 2] = [Self::X86, Self::X64];

    /// Its name on the command line and in paths of machines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86",
            Self::X64 => "x64",
            Self::Arm64 => "arm64",
        }
    }

    /// The architecture that is called so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|arch| arch.name() == name)
    }
}

impl WindowsPython {
    /// The program, as `docs/remote-machine.md` places it.
    pub fn program(&self) -> String {
        format!("C:/hgdev/python{}-{}/python.exe", self.version.replace('.', ""), self.arch.name())
    }

    /// Reads a version for the command line.
    pub fn parse_version(text: &str) -> Result<String, String> {
        let minor = text.strip_prefix("3.").and_then(|minor| minor.parse::<u8>().ok());
        match minor {
            Some(minor) if text == format!("3.{minor}") => Ok(text.to_owned()),
            _ => Err("write it as `3.N`, such as `3.13`".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_is_a_version_and_an_architecture() {
        let python = |version: &str, arch| WindowsPython { version: version.to_owned(), arch }.program();
        assert_eq!(python("3.9", WindowsArch::X64), "C:/hgdev/python39-x64/python.exe");
        assert_eq!(python("3.13", WindowsArch::X86), "C:/hgdev/python313-x86/python.exe");
        for bad in ["3", "3.", "3.x", "2.7", "3.09", "3.13.2", "../3.1", "3.999"] {
            assert!(WindowsPython::parse_version(bad).is_err(), "{bad}");
        }
        assert_eq!(WindowsPython::parse_version("3.9"), Ok("3.9".to_owned()));
        assert!(WindowsArch::ALL.into_iter().all(|arch| WindowsArch::named(arch.name()) == Some(arch)));
    }
}
