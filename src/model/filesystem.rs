//! File systems for the work folder of tests, which a user chooses by name.

use serde::{Deserialize, Serialize};

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filesystem {
    /// The file system of the machine's root, whichever that is. Records of builds before this one say nothing for it.
    #[default]
    #[serde(alias = "")]
    Default,
    /// On a volume of its own.
    Btrfs,
    /// On a volume of its own.
    Ext3,
    /// On a volume of its own.
    Ext4,
    /// On a volume of its own.
    Jfs,
    /// In memory.
    Tmpfs,
    /// On a volume of its own.
    Xfs,
}

impl Filesystem {
    /// Every one.
    pub const ALL: [Self; 7] = [Self::Default, Self::Btrfs, Self::Ext3, Self::Ext4, Self::Jfs, Self::Tmpfs, Self::Xfs];

    /// The names of all, in the same order.
    pub const NAMES: [&str; 7] = {
        let mut names = [""; 7];
        let mut at = 0;
        while at < names.len() {
            names[at] = Self::ALL[at].name();
            at += 1;
        }
        names
    };

    /// The name on the command line, in settings, in JSON, and for the scripts that make it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Btrfs => "btrfs",
            Self::Ext3 => "ext3",
            Self::Ext4 => "ext4",
            Self::Jfs => "jfs",
            Self::Tmpfs => "tmpfs",
            Self::Xfs => "xfs",
        }
    }

    /// Whether it lies on a volume of its own.
    pub fn needs_volume(self) -> bool {
        !matches!(self, Self::Default | Self::Tmpfs)
    }

    /// Where it lies, for people.
    pub fn place(self) -> &'static str {
        match self {
            Self::Default => "The machine's root",
            Self::Tmpfs => "In memory",
            _ => "On a volume of its own",
        }
    }
}

impl std::fmt::Display for Filesystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no file system of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no file system `{0}`")]
pub struct NoFilesystem(String);

impl std::str::FromStr for Filesystem {
    type Err = NoFilesystem;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|it| it.name() == name).ok_or_else(|| NoFilesystem(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_has_one_name_everywhere() {
        for filesystem in Filesystem::ALL {
            assert_eq!(filesystem.name().parse(), Ok(filesystem));
            assert_eq!(serde_json::to_value(filesystem).unwrap(), filesystem.name());
        }
        assert_eq!(Filesystem::NAMES, Filesystem::ALL.map(Filesystem::name));
        assert!("ext5".parse::<Filesystem>().is_err() && "".parse::<Filesystem>().is_err());
    }

    #[test]
    fn a_record_that_names_none_means_the_default() {
        assert_eq!(serde_json::from_str::<Filesystem>(r#""""#).unwrap(), Filesystem::Default);
    }
}
