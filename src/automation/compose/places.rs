//! Where programs keep what belongs to a user, as the user's environment says.

use std::path::PathBuf;

use model::fault::Fault;

use crate::compose::home;

/// The folders of a user, and the shell.
#[derive(Debug, Clone)]
pub struct Places {
    /// Data (`XDG_DATA_HOME`).
    pub data: PathBuf,
    /// Configuration (`XDG_CONFIG_HOME`).
    pub config: PathBuf,
    /// What bash's completion looks into (`BASH_COMPLETION_USER_DIR`).
    pub bash: PathBuf,
    /// The shell that the user logs in with.
    pub shell: Option<PathBuf>,
}

impl Places {
    /// Those of the user who runs this. A relative path in a variable has no meaning (XDG Base Directory Specification).
    pub fn of_user() -> Result<Self, Fault> {
        let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = home()?;
        let data = named("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share"));
        let config = named("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        let bash = named("BASH_COMPLETION_USER_DIR").unwrap_or_else(|| data.join("bash-completion"));
        Ok(Self { data, config, bash, shell: named("SHELL") })
    }
}
